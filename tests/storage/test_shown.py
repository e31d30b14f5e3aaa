"""Hostile names, captions and answers in everything that is shown."""

from __future__ import annotations

import re

import pytest

from leakrepro.storage.shown import cell, from_cell, html, markdown, plain

HOSTILE = [
    *["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))"],
    *[
        "![x](data:text/html,y)",
        "`x` **b** ~~s~~",
        "$x^2$ and $y$",
        r"\(x\) \[y\] \\[z\\]",
        "|a|b|",
    ],
    *["a\x1b[31mred\x1b]0;title\x07", "\u202egnp.exe", "a\r\nb\u2028c", "\x9b31m", "\ud800"],
    *["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "[x]", "*"],
]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_shown_not_sent(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]", shown)
    assert plain("caf\u00e9 \u4e2d\n\ta") == "caf\u00e9 \u4e2d\n\ta"


@pytest.mark.parametrize("text", HOSTILE)
def test_html_and_markdown_are_text(text: str) -> None:
    assert not re.search("[<>\"']", html(text))
    shown = markdown(text).replace('<span class="tex2jax_ignore mathjax_ignore">', "")
    assert not re.search(r"[<>\[\]*`~$\\|\n]", shown.replace("</span>", ""))


def test_markdown_is_rendered_without_links_or_formulas() -> None:
    import mistune

    for text in HOSTILE:
        page = mistune.html(markdown(text).encode("utf-8", "replace").decode())
        assert not re.search(r"<(?!/?(?:p|span)\b)", page), page
        strings = re.split(r"<[^>]*>", page)
        assert all(string.count("$") < 2 and "\\(" not in string for string in strings)


@pytest.mark.parametrize("text", [*HOSTILE, "", "ash", "-0.12", "+3", "-", "1e-5", "-1e5", "-inf"])
def test_cells_are_no_formulas_and_are_read_back(text: str) -> None:
    written = cell(text)
    assert from_cell(written) == text
    assert written == text or written == "'" + text
    if written[:1] and written[0] in "=+-@\t\r":
        assert written in ("-", "-inf") or float(written)
