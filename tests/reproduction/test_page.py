"""The report: one page that needs nothing else."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from test_verdict import count_of, curves

from leakrepro.reproduction.page import _wide, write_page
from leakrepro.reproduction.record import RunRecord, StoreUse

ENVIRONMENT = {"python": "3.11", "torch": "2.0", "cuda": "none"}


class Page(HTMLParser):
    """Ids, links, sources, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id" and v]
        self.links += [v for k, v in attrs if k == "href" and v]
        self.sources += [values["src"] or ""] if "src" in values else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


RECORD = RunRecord(
    stem="01_leak_curves",
    status="ok",
    started="2026-01-02T03:04:05+00:00",
    seconds=1234.5,
    error="",
    parameters={"profile": "paper", "run": "paper"},
    environment=ENVIRONMENT,
    commit="0123456789ab",
    stores={
        "samples/a": StoreUse(samples=1000, tokens=9000, drawn=1000, drawn_tokens=9000),
        "samples/b": StoreUse(samples=500, tokens=3000, drawn=0, drawn_tokens=0),
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "paper"
    folder.mkdir()
    curves(shift=0.001).to_csv(folder / "01_leak_curves.published.csv", index=False)
    for name in ("01_leak_curves", "01_leak_curves.split"):
        figure, axes = plt.subplots(figsize=(2, 2))
        axes.plot([0, 1])
        figure.savefig(folder / f"{name}.png")
        plt.close(figure)
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_markdown_cell("some text\n\n# Leak <curves>\n\n# not this")]
    nbformat.write(nb, folder / "01_leak_curves.ipynb")
    return folder


def test_the_page_is_whole(folder: Path) -> None:
    failed = dataclasses.replace(
        RECORD,
        stem="12_muse",
        status="failed",
        error="12_muse.ipynb, cell [4]: <x>",
        stores={},
        started="2026-01-01T00:00:00+00:00",
        environment=ENVIRONMENT | {"cuda": "1 x H"},
    )
    path = write_page(folder, {"12_muse": failed, "01_leak_curves": RECORD})
    assert path == folder / "index.html"
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert page.ids == ["01_leak_curves", "12_muse", "environment"]
    inside = [link for link in page.links if link.startswith("#")]
    assert set(inside) == {"#01_leak_curves", "#12_muse"}
    for link in page.links:
        assert link.startswith("#") or (folder / link).is_file(), link
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "Leak &lt;curves&gt;</h2>" in text
    assert "not this" not in text

    plain = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    assert "started 2026-01-02 03:04 UTC, took 1,234 s." in plain
    assert (
        "Samples read: 1,500 (12,000 tokens), of which this run drew 1,000 (9,000 tokens)." in plain
    )
    assert "notebooks at 0123456789ab" in plain
    count = count_of(curves())
    assert plain.count(f"agrees ({count} of {count})") == 2
    assert "12_muse.ipynb, cell [4]: &lt;x&gt;" in plain
    # The environment is that of the latest run; the other one says what was different there.
    assert "Different in its environment: cuda 1 x H;" in plain
    assert "Different in its environment: cuda none" not in plain


def test_values_that_differ_are_shown_open(folder: Path) -> None:
    table = curves()
    table.loc[table.index[0], "leak@k"] += 0.2
    table.to_csv(folder / "01_leak_curves.published.csv", index=False)
    text = write_page(folder, {"01_leak_curves": RECORD}).read_text()
    count = count_of(table)
    assert f"differs ({count - 1} of {count})" in text
    opened = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert f"Comparison with published values: 1 of {count} differ" in opened
    assert opened.count(">0.2000<") == 1  # the difference
    folded = re.search(
        r"<details><summary>Comparison with published values: all values .*?</details>",
        text,
        flags=re.DOTALL,
    )
    assert folded is not None
    assert folded[0].count('<td class="words">yes</td>') > count - 2


def test_other_profiles_have_other_models(folder: Path) -> None:
    runs = {
        "01_leak_curves": dataclasses.replace(RECORD, parameters={"profile": "my/embedded.yaml"})
    }
    text = write_page(folder, runs).read_text()
    assert text.count('class="verdict other models"') == 2
    assert "published values</h3>" not in text


def test_long_curves_are_shown_wide() -> None:
    rows = [
        {"model": m, "metric": metric, "benchmark": "b", "k": k, "leak@k": k / 10, "low": 0}
        for m in ("B", "A")
        for metric in ("x", "y")
        for k in (1, 8)
    ]
    wide = _wide(pd.DataFrame(rows))
    assert wide.columns.tolist() == ["model", "metric", "leak@1", "leak@8"]
    assert wide["model"].tolist() == ["B", "B", "A", "A"]
    assert wide["leak@8"].tolist() == [0.8] * 4
    twice = pd.DataFrame([*rows, rows[0]])
    assert _wide(twice) is twice
    other = pd.DataFrame({"a": [1]})
    assert _wide(other) is other
