"""Every tokeniser against rouge_score's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.tokenize import tokenize

STEMMER = PorterStemmer()
# Characters where a mistake is likely, drawn far more often than chance would.
TRAPS = (
    "aAbyYzZ059 _-'.@[`{/:\x00\x7f\x80\xe9\xff\u0130\u0131\u017f\u212a\ud800\udfff\uff21\U0001d400"
)
ANY = st.text(st.one_of(st.sampled_from(TRAPS), st.characters(codec=None)), max_size=60)


def expected(text: str, stem: bool) -> list[str]:
    return tokenize(text, STEMMER if stem else None)


@pytest.mark.parametrize("plane", range(17))
def test_every_code_point(tokenise, plane):
    for begin in range(plane << 16, (plane + 1) << 16, 1 << 12):
        text = " ".join(f"q{chr(c)}w" for c in range(begin, begin + (1 << 12)))
        assert tokenise(text, False) == expected(text, False)


@pytest.mark.parametrize("limit", [0x7F, 0xFF, 0xFFFF, 0x10FFFF], ids=hex)
def test_each_string_width(tokenise, limit):
    text = f"The {chr(limit)}quick{chr(limit)}brown FOX{chr(limit)}"
    assert tokenise(text, False) == ["the", "quick", "brown", "fox"]


@pytest.mark.parametrize("stem", [False, True])
@given(text=ANY)
def test_any_text(tokenise, stem, text):
    assert tokenise(text, stem) == expected(text, stem)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "a",
        "don't a_b 3.14 1980s",
        "nul\x00in\x00side",
        "lone \ud800 surrogate\udc00s",
        "\u0130stanbul D\u0130YARBAKIR \u0130",
        "\u212aelvin 100\u212a",
        "na\xefve caf\xe9 \u65e5\u672c\u8a9e",
        "eing using aging tying owing skies dying news innings",
        *("x" * n + "ing" for n in (7, 10, 12, 13, 14, 16, 17, 300)),
        *("z" * n for n in (7, 8, 9, 15, 16, 17)),
        *(f"{'ab ' * n}tail" for n in (15, 16, 17, 31, 32, 33, 63, 64, 65)),
    ],
)
def test_edges(tokenise, stem, text):
    assert tokenise(text, stem) == expected(text, stem)
