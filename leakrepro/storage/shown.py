"""Escaping of names, captions and answers, which may hold anything, where they are shown."""

from __future__ import annotations

import re
import unicodedata
from html import escape

# MathJax leaves elements of these classes alone: a dollar sign in an answer is not a formula.
NO_MATHS = "tex2jax_ignore mathjax_ignore"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(
    r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?%?|[+-]?(?:inf|nan)|[+-]", re.I
)


def plain(text: str) -> str:
    r"""Return a text in which control characters can be seen and do nothing.

    Terminal sequences, characters that reverse the direction of text and invisible ones become
    ``\x1b``, ``\u202e`` and so on. Line breaks and tabs stay.

    >>> plain("a\x1b[31mb\u202ec\n")
    'a\\x1b[31mb\\u202ec\n'
    """
    return "".join(char if char in "\n\t" or _visible(char) else _code(char) for char in text)


def html(text: str) -> str:
    """Return a text as HTML."""
    return escape(plain(text))


def markdown(text: str) -> str:
    """Return a text for Markdown that shows it literally, without HTML, links or formulas.

    >>> markdown("leak@k (fact_match), n = 200")
    'leak@k (fact_match), n = 200'
    >>> markdown("[x](javascript:y) <b>")
    '&#91;x&#93;(javascript:y) &lt;b&gt;'
    """
    text = html(" ".join(text.split()))
    text = re.sub(r"[\[\]*`~|]|(?<!\w)_|_(?!\w)", lambda found: f"&#{ord(found[0])};", text)
    # An element of its own, so that MathJax does not find pairs of them.
    return re.sub(
        r"[$\\]", lambda found: f'<span class="{NO_MATHS}">&#{ord(found[0])};</span>', text
    )


def cell(text: str) -> str:
    """Return a text for a CSV file, with an apostrophe if a spreadsheet takes it for a formula.

    ``from_cell`` removes the apostrophe. Numbers stay as they are.

    >>> cell("=1+1"), cell("-0.5"), cell("ash")
    ("'=1+1", '-0.5', 'ash')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """Return the text that ``cell`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _visible(char: str) -> bool:
    return (
        unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or char in "\u200c\u200d"
    )


def _code(char: str) -> str:
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
