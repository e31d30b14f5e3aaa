"""The option that a free-form answer to a multiple-choice question names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from leakrepro.metrics.text import normalise

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WINDOW = 160  # characters before a letter in which a cue is looked for
_AFTER = 400  # characters after it that are compared with the options

# What does not change the answer: reasoning, tags, LaTeX fonts and delimiters, markdown.
_REASONING = re.compile(
    r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)|^.*</think(?:ing)?>", re.S | re.I
)
_TAG = re.compile(r"<\|[^|<>]*\|>|</?(?!answer\b)[a-z][^<>]{0,80}>", re.I)
_FONT = re.compile(r"\\(?:text|math|bold|rm|bf)[a-z]*\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"\\[()\[\],;! ]|[*_`$#~]|^[ \t]*[>+\u2022-][ \t]+", re.M)
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{([^{}]*)\}|<answer>(.*?)(?:</answer>|$)", re.S | re.I)
# A model that goes on after its answer often writes the next question.
_NEXT_QUESTION = re.compile(r"(?<=\S)\s*\n\s*(?:question|q)\s*\d*\s*[:.].*", re.S | re.I)
_WITHDRAWAL = re.compile(
    r"\b(?:wait|sorry|actually|correction|scratch that|on second thought|i mean"
    r"|let me re\w+)\s*[,.:!\u2014-]|(?<=[.!?\u2026])\s+no\s*[,.!]",
    re.I,
)

# A letter in brackets or quotes in either case; a bare capital; a bare small letter before
# punctuation or the end. "I" and "a" are words unless what follows says otherwise.
_MENTION = re.compile(
    r"[(\[{\"'\u201c\u2018\u00ab\u3010]\s*(?P<wrapped>[A-Za-z])\s*[.:]?\s*[)\]}\"'\u201d\u2019\u00bb\u3011]"
    r"|(?<![^\W\u3000-\u9fff]|['\u2019&/.])(?P<capital>[A-Z])(?![^\W\u3000-\u9fff]|['\u2019&]|\.\w)"
    r"|(?<![\w'\u2019&/.])(?P<small>[a-z])(?=\s*$|[).:,;!](?:\s|$))"
)
# What may follow a bare letter: punctuation, the end of the line, or a new clause.
_FREE = re.compile(
    r"[ \t]*(?:$|\n|[\u3000-\u9fff]|[^\w\s?\u2010-\u2015-]|\s*[\u2010-\u2015-](?!\w))"
    r"|[ \t]+(?:because|since|as|for|due|which|given|based|rather|instead|over|and|but|so|not"
    r"|here)\b",
    re.I,
)
_CORRECT = re.compile(
    r"[)\].\"']*\s+(?:is|must be|seems)\s+(?:(?:the|clearly|definitely|most|only|also)\s+)*"
    r"(?:correct|right|best|true|answer|accurate)\b",
    re.I,
)
_PREDICATE = re.compile(
    r"[)\].\"']*\s+(?:is|are|was|were|does|can|cannot|could|may|might|would|has|refers|describes"
    r"|means|seems|must|should|\w+n['\u2019]t)\b"
    r"|\W{0,4}(?:is\s+)?(?:wrong|incorrect|false|not (?:correct|right|it))\b|\W{0,2}\?",
    re.I,
)
# Another letter right behind: "A or B", "A/B", "A, B and C", "A: B".
_ANOTHER = re.compile(
    r"[).\]\"']*\s*(?:[,/&+:;|<>]|(?i:or|and|nor|und|oder|et|ou|y|o|vs\.?|versus)(?!\w)"
    r"|\.\s*(?=[A-Z]\W*$)|(?<=[)\]])(?=[(\[]))\s*(?:(?i:or|and)\b\s*)?"
    r"(?:(?i:option|choice|answer)\s+)?"
    r"(?:[(\[\"']\s*[A-Za-z]\s*[)\]\"']|[A-Z](?![\w'\u2019])(?!\s+(?!and\b|or\b)[a-z])|[b-hj-z](?=\W*$))"
)

_NOUN = (
    "answer|ans|option|choice|letter|solution|antwort|l\u00f6sung|respuesta|r\u00e9ponse|risposta|resposta"
    "|antwoord|svar|odpowied\u017a|cevap|\u043e\u0442\u0432\u0435\u0442"
)
_IS = r"is|are|was|be|ist|lautet|es|est|\u00e8|\u00e9|\u00e4r|er|jest|'s|\u2019s"
_FILLER = (
    r"(?:\s*\b(?:the|option|choice|answer|letter|definitely|clearly|most|likely|probably"
    r"|therefore|thus|then|simply|indeed|obviously|certainly|correct|right|la|die|el)\b:?)*\s*$"
)
_STATED = re.compile(
    # "the answer is", "Answer:", "the correct option here would be"
    rf"(?P<final>\bfinal\s+)?\b(?:{_NOUN})\b"
    r"(?:\s+correct\w*)?"
    r"(?:\s*,?\s*I (?:think|believe|guess|would say)\s*,?|\s+(?:to|for|here)\b[^:.!?\n]{0,60})?"
    rf"[\"')]?\s*(?:(?:(?:would|should|must|has to|will)\s+)?\b(?:{_IS})\b\s*:?|[:=\u2192]|->|=>"
    r"|\s[-\u2013\u2014]\s)"
    rf"{_FILLER}"
    # "I choose", "I think it is", "it must be", "correct:", "therefore"
    r"|\b(?:ch(?:oose|ose|oosing)|pick|select|go(?:ing)? with|think|believe|guess|say)\b"
    r"(?:\s+that\b)?"
    rf"(?:\s+(?:it|that)\b\s*(?:{_IS})\b)?{_FILLER}"
    rf"|\b(?:it|this|that|one)\s*(?:(?:would|should|must|has to|will)\s+)?(?:{_IS})\b{_FILLER}"
    r"|\bcorrect:\s*$|\b(?:so|thus|therefore|hence)\s*[,:]?\s*$"
    r"|(?:\u7b54\u6848|\u56de\u7b54|\u7b54\u3048|\u6b63\u89e3)\s*(?:\u662f|\u306f|\u4e3a)?\s*:?\s*$",
    re.I,
)
_NAMED = re.compile(rf"\b(?:{_NOUN})\s*$", re.I)
_CLAUSE = re.compile(r"[.!?;,\n]|\b(?:but|so|therefore|thus|hence|because)\b", re.I)
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|unlikely|if|whether|unless|than|suppose|assuming|except"
    r"|unlike|incorrect|wrong|false|eliminate|exclude|reject|rule out|instead of|opposed to|nicht"
    r"|kein\w*)\b|n['\u2019]t\b",
    re.I,
)


@dataclass
class _Found:
    """Options by the form in which an answer names them."""

    final: set[int] = field(default_factory=set)
    stated: set[int] = field(default_factory=set)
    labels: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)


def named_choice(text: str, choices: Sequence[str]) -> int | None:
    r"""Return the index of the option that an answer names, or None.

    An answer names an option if it equals the option's text. Otherwise its letters decide; the
    strongest of these forms counts, and two different letters in it are no answer:

    1. A box, ``\boxed{B}`` or ``<answer>B</answer>``, and "the final answer is B".
    2. A statement ("the answer is B", "I choose (b)", "it is B", "B is correct", "Antwort: B"),
       and a letter at the start of the answer or on its last line (``B``, ``(b)``, ``B. ...``).
    3. "option B" or "answer B" without a verb.

    A letter does not count if it is denied ("not A", "A is wrong"), asked ("A?"), conditional ("if
    the answer is A"), one of several ("A or B"), part of a list of all options, a word ("a
    retrovirus", "I think"), or labels the text of another option. Reasoning in ``<think>`` and
    what the answer itself takes back ("wait, no") do not count. A small letter counts in brackets,
    before punctuation, or in a statement. Markdown, LaTeX, tags and full-width letters are read as
    plain letters.

    Args:
        text: The answer.
        choices: Texts of the options.

    >>> named_choice("(B) water", ["air", "water"]), named_choice("The answer is A", ["x", "y"])
    (1, 0)
    >>> named_choice("A glass of it", ["x", "y"]) is None
    True
    """
    texts = [normalise(choice) for choice in choices]
    equal = _equal(text, choices, texts)
    if equal is not None:
        return equal
    text = _plain(text)
    boxes = _BOX.findall(text)
    if boxes:
        return _one({_boxed("".join(box), choices, texts) for box in boxes})
    *withdrawn, text = _WITHDRAWAL.split(text)
    found = _read(text, texts)
    if withdrawn:
        found.labels.clear()
        found.named.clear()
    for named in (found.final, found.stated | found.labels, found.named):
        if named:
            index = _one(named)
            return index if index is not None and index < len(choices) else None
    return None


def _one(indices: set[int | None] | set[int]) -> int | None:
    return next(iter(indices)) if len(indices) == 1 else None


def _equal(text: str, choices: Sequence[str], texts: Sequence[str]) -> int | None:
    """Return the option with this text; options that differ in symbols only must be equal to it."""
    plain = normalise(text)
    same = [i for i, choice in enumerate(texts) if plain and plain == choice]
    if len(same) > 1:
        same = [i for i in same if text.strip().casefold() == choices[i].strip().casefold()]
    return same[0] if len(same) == 1 else None


def _plain(text: str) -> str:
    """Return the text without reasoning, wrappers and invisible characters, in NFKC."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    text = _TAG.sub("", _REASONING.sub("", text))
    text = _FONT.sub(r"\1", _FONT.sub(r"\1", text))
    return _NEXT_QUESTION.sub("", _MARKUP.sub("", text)).strip()


def _boxed(content: str, choices: Sequence[str], texts: Sequence[str]) -> int | None:
    """Return the option that the content of a box names."""
    equal = _equal(content, choices, texts)
    if equal is not None:
        return equal
    content = content.strip()
    if re.fullmatch(r"[A-Za-z]", content):
        content = content.upper()
    found = _read(content, texts)
    index = _one(found.stated | found.labels or found.named)
    return index if index is not None and index < len(choices) else None


def _read(text: str, texts: Sequence[str]) -> _Found:
    """Collect the letters of an answer without wrappers; ``texts`` are normalised options."""
    found = _Found()
    listed = 0  # end of a list of several letters
    enumerated: set[int] = set()
    last_line = text.rfind("\n") + 1
    for mention in _MENTION.finditer(text):
        start, end = mention.span()
        before, after = text[max(0, start - _WINDOW) : start], text[end : end + _AFTER]
        index = LETTERS.index(mention.group(mention.lastgroup or 0).upper())
        starts_line = not before[before.rfind("\n") + 1 :].strip(" \t\"'([{")
        labelled = re.match(r"\W*", after)
        rest = normalise(after[labelled.end() if labelled else 0 :])
        own = index < len(texts) and bool(texts[index]) and _starts(rest, texts[index])
        several = None if own else _ANOTHER.match(text, end)
        in_list, listed = start < listed, max(listed, several.end() if several else 0)
        labels_text = mention["wrapped"] or after[:1] in (")", ".", ":")
        if labels_text and (starts_line or own) and index < len(texts):
            enumerated.add(index)
        if several or in_list or not _counts(mention, before, after, own):
            continue
        stated = _STATED.search(before)
        if stated is not None:
            (found.final if stated["final"] else found.stated).add(index)
        elif _CORRECT.match(after):
            if not before.strip() or _CLAUSE.search(before.rstrip()[-1:]) or _subject(before):
                found.stated.add(index)
        elif starts_line and start < _WINDOW and not before.strip(" \t\n\"'([{"):
            if not (mention["small"] and after[:1] not in (")", ".", ":")) and not _contradicted(
                index, text, rest, texts
            ):
                found.labels.add(index)
        elif starts_line and start >= last_line and not after.strip(" .)]\"'"):
            if not mention["small"]:
                found.labels.add(index)
        elif _NAMED.search(before):
            found.named.add(index)
    if len(enumerated) > 1:
        found.labels.clear()
    return found


def _counts(mention: re.Match[str], before: str, after: str, own: bool) -> bool:
    """Return whether a letter is neither a word nor denied."""
    clause = _CLAUSE.split(before)[-1]
    if _DENIED.search(clause):
        return False
    if _CORRECT.match(after):
        return True
    if _PREDICATE.match(after):
        return False
    if mention["wrapped"] or own:
        return True
    if mention["capital"] == "I" and not re.match(r"\s*(?:$|\n|[).:\]])", after):
        return False  # the pronoun
    if mention["small"] == "a" and not after.strip() and not before.rstrip().endswith(":"):
        return False  # an article at which the answer was cut
    return bool(_FREE.match(after))


def _subject(before: str) -> bool:
    return bool(
        re.search(
            rf"\b(?:{_NOUN}|letter|so|thus|therefore|hence|that|think|believe|because|but|only)\s*$",
            before,
            re.I,
        )
    )


def _starts(text: str, choice: str) -> bool:
    return text == choice or text.startswith(choice + " ")


def _contradicted(index: int, text: str, rest: str, texts: Sequence[str]) -> bool:
    """Return whether a letter labels, or with its word begins, the text of another option."""
    if index < len(texts) and texts[index] and _starts(rest, texts[index]):
        return False
    whole = normalise(text[:_AFTER])
    return any(
        choice and i != index and (_starts(rest, choice) or _starts(whole, choice))
        for i, choice in enumerate(texts)
    )
