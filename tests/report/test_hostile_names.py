"""Payloads as model, benchmark, cluster, question and answer, in every form of a result."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.text import Text

import leakrepro as lr
from leakrepro.evaluation.frames import read_table, save_table, to_html
from leakrepro.report.examples import examples_html, examples_latex
from leakrepro.report.style import style
from leakrepro.report.tables import escape_latex, latex

ROOT = Path(lr.__file__).parent
NOTEBOOKS = sorted((ROOT.parent / "notebooks").glob("[0-9]*.ipynb"))
PAYLOADS = [
    *["<script>alert(1)</script>", "[x](javascript:alert(1))", "$x$", "=cmd|'/C calc'!A0", "[x]"],
    *["\x1b[31m", "\u202e", "*", r"\input{/etc/passwd}", "@a", "+1+1", "-1-1", "%", "a & b", "NA"],
]
NAME = " ".join(PAYLOADS)
ACTIVE = re.compile(r"<script|<img|href=|\x1b|\u202e", re.IGNORECASE)


def frame() -> pd.DataFrame:
    return pd.DataFrame({"model": PAYLOADS, "score": [-0.12] * len(PAYLOADS), "[x]": PAYLOADS})


def examples() -> pd.DataFrame:
    row = {"id": NAME, "cluster": NAME, "question": NAME, "reference": NAME, "greedy": NAME}
    return pd.DataFrame([{**row, "sample": NAME, "leaks": 1, "of": 2, "draw": 0}])


def test_html_is_text_without_formulas() -> None:
    for page in (to_html(frame()), examples_html(examples())):
        assert not ACTIVE.search(page)
        assert "mathjax_ignore" in page
        assert "&lt;script&gt;" in page
    assert "mathjax_ignore" in frame()._repr_html_()  # type: ignore[operator]


def test_a_row_of_latex_does_not_begin_with_an_argument() -> None:
    for text in (
        latex(frame(), caption=NAME, label="x"),
        examples_latex(
            examples().rename(columns={"sample": "[x], greedy"}), caption=NAME, label="x"
        ),
    ):
        assert not re.search(r"(?:\\\\|rule)\s*[\[*]", text)
        assert "\\input" not in text
        assert not re.search(r"(?<!\\)[$%]", text)
        assert not ACTIVE.search(text)
    assert escape_latex("a_b") == r"a\_b"
    assert latex(pd.DataFrame({"m": ["[0.1, 0.2]"]}), caption="c", label="l").count("{}[0.1") == 1


def test_tables_are_no_formulas_in_a_spreadsheet_and_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    save_table(frame(), path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if re.match(r'"?[=+\-@]', line)]
    assert all(",-0.12," in line for line in lines[1:])
    pd.testing.assert_frame_equal(read_table(path), frame(), check_dtype=False)
    names = frame().rename(columns={"score": "=1"})
    save_table(names, path)
    assert list(read_table(path)) == ["model", "=1", "[x]"]


def test_no_text_of_a_figure_is_a_formula() -> None:
    from matplotlib import pyplot as plt

    with style():
        figure, axes = plt.subplots()
        axes.set_title("$a$ <b>")
        axes.set_yticks([0, 1], ["$x$", "$y"])
        axes.plot([0], [0], label="$z$")
        figure.legend()
        plt.close(figure)
    shown = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert len(shown) >= 4
    assert not any(text.get_parse_math() for text in shown)
    assert mpl.rcParams["text.parse_math"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_escape_all_markdown(path: Path) -> None:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "Markdown":
                    assert ast.unparse(node.args[0]).startswith("lr.report.markdown(")
                if node.func.id == "HTML":
                    assert ast.unparse(node.args[0]).startswith("lr.report.examples_html(")
                assert node.func.id not in ("Javascript", "Latex", "Math")


def calls(found: Callable[[ast.Call], bool]) -> list[str]:
    """Places of calls in the package."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and found(node)
    ]


def test_all_places_that_write_or_show_use_the_escaping_functions() -> None:
    def attribute(node: ast.Call) -> str:
        return node.func.attr if isinstance(node.func, ast.Attribute) else ""

    def files(places: list[str]) -> list[str]:
        return sorted({place.partition(":")[0] for place in places})

    # The curves of a training run are numbers.
    assert files(calls(lambda node: attribute(node) == "to_csv")) == [
        "evaluation/frames.py",
        "unlearning/curves.py",
    ]
    assert files(calls(lambda node: attribute(node) == "to_html")) == ["evaluation/frames.py"]
    assert files(calls(lambda node: attribute(node) == "to_latex")) == ["report/tables.py"]
    assert len(calls(lambda node: attribute(node) == "echo")) == 1  # cli._show
    exporters = calls(
        lambda node: isinstance(node.func, ast.Name) and node.func.id == "HTMLExporter"
    )
    sanitised = calls(
        lambda node: (
            isinstance(node.func, ast.Name)
            and node.func.id == "HTMLExporter"
            and [ast.unparse(each) for each in node.keywords] == ["sanitize_html=True"]
        )
    )
    assert exporters == sanitised
    assert len(exporters) == 1


def test_an_exported_notebook_has_no_script_and_keeps_its_figures(tmp_path: Path) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    note = nbformat.v4.new_notebook()
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    png += "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    outputs = [
        {"text/html": "<script>alert(1)</script><b onclick='alert(2)'>bold</b>"},
        {"text/markdown": "[x](javascript:alert(3)) <script>alert(4)</script>"},
        {"image/png": png},
    ]
    note.cells = [
        nbformat.v4.new_markdown_cell("<script>alert(5)</script> [y](javascript:alert(6))"),
        nbformat.v4.new_code_cell(
            "1", outputs=[nbformat.v4.new_output("display_data", each) for each in outputs]
        ),
    ]
    page, _ = HTMLExporter(sanitize_html=True).from_notebook_node(note)
    body = page[page.index("<body") :]
    assert not re.search(r"<script>alert|onclick=|href=.javascript:", body)
    assert png[:40] in page
