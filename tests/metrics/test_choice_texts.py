"""A table of answers to one question, and the option that each names."""

from __future__ import annotations

import pytest

from leakrepro.metrics.choice import ChoiceAccuracy, named_choice
from leakrepro.types import Prompt

CHOICES = ("a prion", "retrovirus", "E. coli", "none of the above")

A = [
    *["A", "(A)", "(a)", "[a]", "A.", "A)", "a)", "a. a prion", "**A**", "*A*", "__A__", "`A`"],
    *["a prion", "A prion.", "A. A prion", "A a prion", "The answer is A.", "The answer is: A"],
    *["The answer is a.", "answer: a", "The answer is (a)", "the correct option is A"],
    *[
        "A is correct.",
        "Option A is the right answer",
        "It's A.",
        "Option A.",
        "A because it folds",
    ],
    "The answer is A because it is a protein.",
    "The answer is A, not B.",
    "It is not option B, so the answer is A.",
]
B = [
    *["B", " B\n", "(B)", "(b)", "b)", "[B]", "[b]", "{B}", "B:", "B,", "'B'", '"B"', "B!"],
    *["\u201cB\u201d", "**B**", "**(B)**", "**B.** retrovirus", "### B", "> B", "- B", "* B"],
    *["`B`", "<b>B</b>", "B</s>", "B<|im_end|>", "\uff22", "\uff08\uff22\uff09", "\u24b7"],
    *["\u200bB", "\ufeffB", "$B$", r"\(B\)", r"\[B\]", r"\text{B}", r"$\mathrm{B}$"],
    *[r"\boxed{B}", r"\boxed{\text{B}}", r"\boxed{\textbf{(B)}}", r"$\boxed{b}$"],
    *[r"\boxed{B. retrovirus}", r"\boxed{retrovirus}", r"\boxed{B}. Again: \boxed{B}"],
    r"It is not option A, so \boxed{B}",
    r"The answer is A? No: $\boxed{\mathbf{B}}$",
    *["<answer>B</answer>", "<think>Maybe A. The answer is A.</think>B", "so A...</think>\n\nB"],
    *["B. retrovirus", "B) retrovirus", "(B) retrovirus", "B: retrovirus", "B - retrovirus"],
    *["B retrovirus", "retrovirus", "RETROVIRUS!", "B \u2013 retrovirus", "B\nbecause it is one"],
    *["B. It copies RNA into DNA.", "B, because it copies RNA", "B\n\nQuestion: Which?\nAnswer: C"],
    *["The answer is B", "The answer is B.", "The answer is (B).", "The answer is (b)"],
    *["The answer is **B**.", "The answer is:\n\nB", "The answer is 'B'", "**Answer:** B"],
    *["**Answer: B**", "Answer: B", "Answer:B", "answer: b", "Answer - B", "Answer = B", "ANS: B"],
    *["Answer: (B) retrovirus", "Answer: B) retrovirus", "Answer: B. retrovirus", "Answer B"],
    *[
        '{"answer": "B"}',
        '```json\n{"answer": "B"}\n```',
        "answer \u2192 B",
        "The answer is option B",
    ],
    *["The correct answer is B.", "The correct answer is option (B).", "My answer would be B."],
    *["The answer to this question is B.", "The answer here is (B).", "The answer is clearly B."],
    *["The answer, I think, is B.", "I think the answer is B.", "I believe it is B.", "I think B."],
    *["I choose B.", "I choose option b.", "I would pick (B)", "I'd go with B.", "It must be B."],
    *["The correct one is B.", "Correct: B", "Correct answer: B", "The best choice is B."],
    *[
        "Option B",
        "Choice (B)",
        "Option (b).",
        "B is correct.",
        "(B) is correct",
        "B is the answer.",
    ],
    *["So B is correct.", "B is the best answer.", "Option B is correct.", "Answer B is right."],
    *["It is not option A. The answer is B.", "Not A. The answer is B.", "Not A but option B."],
    *["Option A is wrong. The answer is B.", "I'm not sure, but the answer is B."],
    *["A prion is a protein. The answer is B.", "The answer isn't A; it is B."],
    *["The answer is B, not A.", "The answer is B rather than A.", "The answer is B (not A)."],
    "Let us see. Option A is a protein, option C is a bacterium. So the answer is B.",
    "A) a prion: wrong. B) retrovirus: right. C) E. coli: wrong. The answer is B.",
    "A prion is a protein.\nE. coli is a bacterium.\n\nB",
    "It copies RNA.\n\n**B**",
    "The answer is A. Wait, no: the answer is B.",
    "At first the answer seems clear. The answer is C. Actually, the answer is B.",
    "The answer is C at first sight. The final answer is B.",
    "If the answer is A, it folds. It does not. The answer is B.",
    *[
        "So (B).",
        "It copies RNA, thus B",
        "I chose B.",
        "Letter: B",
        "\u00abB\u00bb",
        "\u3010B\u3011",
    ],
    *["A is wrong, B is right.", "It's not A, it's B", "The answer is B. A is wrong."],
    *["La respuesta correcta es B", "\u7b54\u3048\u306fB\u3067\u3059"],
    *["Antwort: B", "Die Antwort ist B.", "Respuesta: B", "La r\u00e9ponse est B.", "Risposta: B"],
    *["\u7b54\u6848\u662fB\u3002", "\u7b54\u6848\uff1aB", "\u041e\u0442\u0432\u0435\u0442: B"],
]
C = [
    *["C", "(c)", "E. coli", "e. coli.", "C. E. coli", r"\boxed{E. coli}", "The answer is C."],
    "It cannot be A or B. So the answer is C",
    "Neither A nor B; the answer is C.",
    "Step 1: A folds. Step 2: B copies. Therefore, the answer is C",
]
D = ["D", "None of the above", "none of the above.", "D. None of the above", "D) none of the above"]
NONE = [
    *["", " ", ".", "b", " c", "a", "I", "no", "None", "Both", "All of the above", "Neither"],
    *["The answer is a retrovirus.", "The answer is a virus", "The answer is a", "Answer: a virus"],
    *[
        "A retrovirus is one.",
        "A virus.",
        "A sample of it",
        "a virus",
        "I think so",
        "I, too, wonder",
    ],
    *["I'm not sure.", "I don't know", "I would say that it depends", "E. coli is a bacterium"],
    *[
        "Not A",
        "not A.",
        "It is not A",
        "It is not option A.",
        "The answer is not A.",
        "It isn't A.",
    ],
    *["The answer isn't B.", "I don't think the answer is B.", "Option A is wrong", "A is wrong."],
    *["A is incorrect", "A (wrong)", "A: wrong", "(A) is false", "The wrong answer is A"],
    *["The answer cannot be A", "anything but A", "The answer is never A", "Neither A nor B"],
    *["A or B", "A and B", "A/B", "A, B", "A & B", "(A) or (B)", "Both A and B", "Either A or B."],
    *["A. B", "(A)(B)", "A|B", "A; B", "A vs. B", "A > B", "A\nB", "Maybe B", "All except B", "2"],
    *["The answer is A or B.", "The answer is (A) and (B)", "Answer: A/B", "Answer: A, B and C"],
    *["The answer is A or B, I choose both", r"\boxed{A, B}", r"\boxed{A} or \boxed{B}"],
    *["I think A... wait, no, B", "The answer is B. Wait, no.", "B. Wait, that is wrong."],
    *["The answer is A. The answer is B.", "A. Hence the answer is B.", "Option A. Option B."],
    *["A?", "Is the answer A?", "Is it B?", "If the answer is B, it copies RNA."],
    *[
        "I wonder whether the answer is B",
        "B cells",
        "The answer is B cells.",
        "The answer is T cells",
    ],
    *["E", "(E)", "Z.", "The answer is E", "The answer is (e)", r"\boxed{E}", "Answer: X"],
    *["AB", "Answer: ABCD", "B2", "Cedar", "answering", "vitamin B", "plan B works", "B-cells"],
    *["A. a prion\nB. retrovirus\nC. E. coli", "(A) a prion (B) retrovirus", "A: B", "B. E. coli"],
    *["the answer isn't clear", "The answer is unclear.", "The options are A, B, C and D."],
    *["<think>The answer is B.", "<think>The answer is B.</think>", r"\boxed{}", r"\boxed{42}"],
    *[
        "Option A describes a protein",
        "Option B: retrovirus. Option C: E. coli.",
        "\u0412",
        "\u0410.",
    ],
]
CASES = [(text, index) for index, texts in enumerate([A, B, C, D, NONE]) for text in texts]


@pytest.mark.parametrize(("text", "index"), CASES)
def test_the_named_option(text: str, index: int) -> None:
    assert named_choice(text, CHOICES) == (index if index < 4 else None)


def test_the_table_is_long_and_has_no_text_twice() -> None:
    texts = [text for text, _ in CASES]
    assert len(texts) == len(set(texts)) >= 250


def test_each_unclear_text_scores_0_whatever_is_right() -> None:
    for i, choice in enumerate(CHOICES):
        prompt = Prompt(
            f"q{i}",
            ({"role": "user", "content": "Which?"},),
            choice,
            cluster="c",
            side="forget",
            choices=CHOICES,
        )
        assert not ChoiceAccuracy().score([prompt], [NONE]).values.any()


@pytest.mark.parametrize(
    ("text", "index"),
    [("I", 8), ("The answer is I.", 8), ("I think so", None), ("I, too", None), ("I'm sure", None)],
)
def test_the_pronoun_is_not_the_ninth_option(text: str, index: int | None) -> None:
    assert named_choice(text, [f"option {i}" for i in range(10)]) == index


def test_options_that_differ_in_symbols_only_must_be_equal_to_the_answer() -> None:
    assert named_choice("-5", ["5", "-5", "x"]) == 1
    assert named_choice("+5", ["5", "-5", "x"]) is None
    assert named_choice("same", ["same", "Same", "x"]) is None
