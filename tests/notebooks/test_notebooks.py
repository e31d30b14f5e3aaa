"""Every notebook: short, without outputs, and executed with small parameters."""

from __future__ import annotations

import ast
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest
import small_world as small
import yaml

from leakrepro.benchmarks.fictional.chemistry import ATTRIBUTES
from leakrepro.reproduction.runner import reproduce

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MODELS = {
    "Original": {"train": "full"},
    "Retrain": {"train": "retain"},
    "NPO": {
        "unlearn": "NPO",
        "options": {"learning_rate": 1e-3, "epochs": 4, "batch_size": 10, "accumulation": 1},
    },
}
RULE = {
    "models": MODELS,
    "workers": 2,
    "worlds": [{}, {"seed": 8}],
    "rule": {
        "rounds": 2,
        "options": {"n": 8, "cap": 2},
        "bases": {"NPO": {"round": {"steps": 6}}},
        "controls": ["NPO"],
    },
}
STUDIED = {
    "models": MODELS,
    "workers": 2,
    "studied": ["Retrain", "NPO"],
    "metrics": ["fact_match"],
    "core_metrics": ["fact_match", "rougeL_recall/stem", "exact_match"],
    "grid": [[0.2, 0.8], [1.0, 1.0]],
    "seeds": 3,
}
NEWS = {
    "benchmark": "fictional-news",
    "benchmark_options": {"forget_articles": 2, "retain_articles": 2, "fresh_articles": 6},
    "worlds": [{"task": "knowmem"}, {"task": "verbmem"}],
    "models": MODELS,
    "rule": {
        "rounds": 2,
        "options": {"n": 8, "cap": 2, "threshold": 0.5},
        "bases": {"NPO": {"round": {"steps": 6}}},
    },
    "training": small.profile()["training"],
    "decoding": {"n": 8, "max_new_tokens": 12, "stop": ["\n\n", "Question:"]},
}
CHEMISTRY = {
    "benchmark": "fictional-chemistry",
    "benchmark_options": small.CHEMISTRY,
    "models": {
        **MODELS,
        "NPO": {
            "unlearn": "NPO",
            "options": {"learning_rate": 1e-3, "epochs": 2, "batch_size": 10, "accumulation": 1},
        },
    },
    "training": dataclasses.asdict(small.CHEMISTRY_RECIPE),
    "decoding": {"n": 8, "max_new_tokens": 8},
}
STUDIES = {
    "wmdp": CHEMISTRY,
    "wmdp-free": CHEMISTRY | {"benchmark_options": {**small.CHEMISTRY, "style": "free"}},
}
# Changes to the small profile, per notebook.
PROFILES: dict[str, dict[str, Any]] = {
    "00_quickstart": STUDIED,
    "01_leak_curves": {"models": MODELS},
    "02_unlearn": {"models": MODELS},
    "03_rule_trajectories": RULE,
    "04_rule_before_after": RULE,
    "05_decoding_grid": STUDIED,
    "06_core_metrics": STUDIED,
    "07_leak_histograms": STUDIED,
    "08_estimator_variance": STUDIED,
    "09_evaluation_cost": STUDIED,
    "10_retain_quality": STUDIED,
    "11_example_generations": STUDIED,
    "12_muse": {"studies": {"muse-news": NEWS}},
    "13_wmdp": {"studies": STUDIES},
    "14_rule_muse": {"studies": {"muse-news": NEWS}},
}


def cells(path: Path, kind: str = "code") -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_there_are_notebooks_and_each_has_a_profile() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(PROFILES)
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    def test_it_is_stored_without_outputs(self, path: Path) -> None:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
        for cell in cells(path):
            assert cell.outputs == []
            assert cell.execution_count is None
            assert not {"papermill", "execution"} & cell.metadata.keys()

    def test_its_parameters_are_plain_literals(self, path: Path) -> None:
        (cell,) = [c for c in cells(path) if "parameters" in c.metadata.get("tags", [])]
        assert cell == cells(path)[0]
        given = {}
        for statement in ast.parse(cell.source).body:
            assert isinstance(statement, ast.Assign)
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            given[target.id] = ast.literal_eval(statement.value)
        assert given["profile"] == "embedded"
        assert given["run"] is None
        # papermill parses lines, not Python: it must find the same names and values.
        read = papermill.inspect_notebook(str(path))
        assert {n: ast.literal_eval(p["default"]) for n, p in read.items()} == given

    def test_it_calls_the_library_and_does_not_compute(self, path: Path) -> None:
        for cell in cells(path):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    assert (node.end_lineno or 0) - node.lineno < 4, node.name
                if isinstance(node, ast.ImportFrom):
                    assert all(alias.name != "*" for alias in node.names)
                if isinstance(node, ast.Attribute):
                    assert not node.attr.startswith("_"), node.attr
            assert not cell.source.lstrip().startswith(("!", "%"))

    def test_it_is_short(self, path: Path) -> None:
        """At most 60 non-blank lines of code, without the parameters."""
        lines = [line for cell in cells(path)[1:] for line in cell.source.splitlines()]
        assert len([line for line in lines if line.strip()]) <= 60

    def test_its_last_cell_asserts_and_prints_the_path(self, path: Path) -> None:
        last = ast.parse(cells(path)[-1].source)
        assert sum(isinstance(node, ast.Assert) for node in last.body) >= 2
        assert ast.unparse(last.body[-1]).startswith("print(")


class _Page(HTMLParser):
    """The links and the number of embedded images of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href") or "")
        self.images += tag == "img" and (values.get("src") or "").startswith("data:image/png")


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, small_home: Path, small_original: Path, tmp_path: Path
) -> Path:
    """The results folder of one notebook, run with the small profile."""
    name = request.param
    path = tmp_path / "tiny.yaml"
    content = small.profile(notebooks=[name], **PROFILES[name])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKREPRO_HOME", str(small_home))
        return reproduce(path, notebooks=FOLDER)


def check_figures(folder: Path, *stems: str) -> None:
    for stem in stems:
        png = (folder / f"{stem}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("folder", ["00_quickstart"], indirect=True)
def test_quickstart(folder: Path) -> None:
    table = pd.read_csv(folder / "00_quickstart.csv")
    assert table["k"].tolist() == [1, 8]
    assert (table["leak@k low"] <= table["leak@k"]).all()
    check_figures(folder, "00_quickstart")
    page = (folder / "00_quickstart.html").read_text()
    assert _Page(page).images == 1
    assert "4 questions in 2 clusters" in page
    assert "leak@k (fact_match) of NPO on 4 questions" in page
    linked = {link for link in _Page(page).links if link.endswith(".ipynb")}
    assert linked
    assert linked <= {path.name for path in NOTEBOOKS}


def test_quickstart_with_a_user_model_and_user_questions(
    small_home: Path, small_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(small.profile(), sort_keys=False))
    questions = tmp_path / "mine.csv"
    questions.write_text("question,answer\nWho wrote it?,Nobody <wrote> it.\nWhere?,There.\n")
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    given = {"model": str(small_original), "questions": str(questions), "n": 4, "k": [1, 4]}
    folder = reproduce(path, only=["00"], parameters=given, notebooks=FOLDER)
    assert pd.read_csv(folder / "00_quickstart.csv")["k"].tolist() == [1, 4]
    page = (folder / "00_quickstart.html").read_text()
    assert "leak@k (rougeL_recall/stem) of" in page
    assert "2 questions in 2 clusters: n = 4" in page


@pytest.mark.parametrize("folder", ["01_leak_curves"], indirect=True)
def test_leak_curves(folder: Path, small_home: Path) -> None:
    assert folder == small_home / "tiny"
    curves = pd.read_csv(folder / "01_leak_curves.curves.csv")
    metrics = ["fact_match", "fact_match/strict", "rougeL_recall/stem"]
    rows = [(model, metric, k) for model in MODELS for metric in metrics for k in (1, 8)]
    assert sorted(zip(curves["model"], curves["metric"], curves["k"], strict=True)) == sorted(rows)
    assert set(curves["n"]) == {8}
    assert (curves["low"] <= curves["leak@k"]).all()
    assert (curves["leak@k"] <= curves["high"]).all()
    assert (curves["high"] > 0).all()

    summary = pd.read_csv(folder / "01_leak_curves.summary.csv", index_col=0)
    assert len(summary) == len(MODELS)
    leak = curves[curves["metric"] == "fact_match"].set_index(["model", "k"])["leak@k"]
    assert leak["Original", 8] > 0.6 > 0.3 > leak["Retrain", 1]
    assert leak["Original", 1] > leak["NPO", 1]

    for stem in ("01_leak_curves", "01_leak_curves.split"):
        png = (folder / f"{stem}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert r"\begin{tabular}" in (folder / "01_leak_curves.tex").read_text()
    assert not (folder / "01_leak_curves.published.csv").exists()

    # Other notebooks of the same home have their own sections.
    report = (folder / "index.html").read_text()
    index = _Page(report.partition('<section id="01_leak_curves"')[2].partition("</section>")[0])
    assert index.images == 2
    assert {"01_leak_curves.ipynb", "01_leak_curves.html", "01_leak_curves.curves.csv"} <= set(
        index.links
    )
    page = (folder / "01_leak_curves.html").read_text()
    assert _Page(page).images == 2
    assert "fictional(seed=7): 10 forget, 20 retain prompts" in page
    executed = cells(folder / "01_leak_curves.ipynb")
    assert all(cell.execution_count for cell in executed if cell.source)
    assert executed[-1].outputs[-1].text.strip() == str(folder / "01_leak_curves.png")


@pytest.mark.parametrize("folder", ["02_unlearn"], indirect=True)
def test_unlearn(folder: Path) -> None:
    curves = pd.read_csv(folder / "02_unlearn.training.csv")
    assert curves["step"].tolist() == list(range(1, 9))
    assert (curves["forget_loss"].diff().dropna() < 0).mean() > 0.5
    summary = pd.read_csv(folder / "02_unlearn.summary.csv")
    assert summary["model"].tolist() == ["Original", "Retrain", "NPO"]
    leak = summary.set_index("model")["leak@8"]
    assert leak["Original"] > leak["NPO"]
    check_figures(folder, "02_unlearn", "02_unlearn.leaks")
    assert _Page((folder / "02_unlearn.html").read_text()).images == 2
    assert r"\begin{tabular}" in (folder / "02_unlearn.tex").read_text()


@pytest.mark.parametrize("folder", ["03_rule_trajectories"], indirect=True)
def test_rule_trajectories(folder: Path) -> None:
    table = pd.read_csv(folder / "03_rule_trajectories.csv")
    models = ["RULE-NPO", "NPO, more steps", "NPO, non-leaks added"]
    assert table["model"].tolist() == [model for model in models for _ in range(3)] * 2
    assert table["round"].tolist() == [0, 1, 2] * 6
    # All trajectories on one benchmark start from the same model.
    for world, rows in table.groupby("benchmark"):
        assert world in ("fictional(seed=7)", "fictional(seed=8)")
        assert rows.loc[rows["round"] == 0, "leak@8"].nunique() == 1
    check_figures(folder, "03_rule_trajectories")
    assert _Page((folder / "03_rule_trajectories.html").read_text()).images == 1


@pytest.mark.parametrize("folder", ["04_rule_before_after"], indirect=True)
def test_rule_before_after(folder: Path) -> None:
    summary = pd.read_csv(folder / "04_rule_before_after.summary.csv")
    rules = ["NPO", "RULE-NPO, round 2"]
    assert summary["model"].tolist() == ["Retrain", "Retrain", *rules, *rules]
    curves = pd.read_csv(folder / "04_rule_before_after.curves.csv")
    assert len(curves) == 6 * 3 * 2
    check_figures(folder, "04_rule_before_after", "04_rule_before_after.1")


@pytest.mark.parametrize("folder", ["05_decoding_grid"], indirect=True)
def test_decoding_grid(folder: Path) -> None:
    curves = pd.read_csv(folder / "05_decoding_grid.curves.csv")
    cells = curves.groupby(["model", "temperature", "top_p", "k"]).size()
    assert len(cells) == len(curves) == 2 * 2 * 2
    assert set(curves["model"]) == {"Retrain", "NPO"}
    check_figures(folder, "05_decoding_grid")
    assert _Page((folder / "05_decoding_grid.html").read_text()).images == 1


@pytest.mark.parametrize("folder", ["06_core_metrics"], indirect=True)
def test_core_metrics(folder: Path) -> None:
    curves = pd.read_csv(folder / "06_core_metrics.curves.csv")
    assert len(curves) == 2 * 3 * 2
    agreement = pd.read_csv(folder / "06_core_metrics.agreement.csv")
    assert len(agreement) == 2 * 3
    parts = agreement[["both", "only a", "only b", "neither"]]
    assert (parts.sum(axis=1) - 1).abs().max() < 1e-9
    page = (folder / "06_core_metrics.html").read_text()
    assert "no judge in this profile" in page
    check_figures(folder, "06_core_metrics")


@pytest.mark.parametrize("folder", ["07_leak_histograms"], indirect=True)
def test_leak_histograms(folder: Path) -> None:
    table = pd.read_csv(folder / "07_leak_histograms.csv")
    assert table["model"].tolist() == ["Retrain", "NPO"]
    assert (table["samples"] == 8).all()
    assert (table["ever leaks"] >= table["average leak"]).all()
    check_figures(folder, "07_leak_histograms")


@pytest.mark.parametrize("folder", ["08_estimator_variance"], indirect=True)
def test_estimator_variance(folder: Path) -> None:
    table = pd.read_csv(folder / "08_estimator_variance.csv")
    assert table["k"].tolist() == [1, 8]
    assert (table["seeds"] == 3).all()
    assert (table["std"] > 0).all()
    check_figures(folder, "08_estimator_variance")


@pytest.mark.parametrize("folder", ["09_evaluation_cost"], indirect=True)
def test_evaluation_cost(folder: Path) -> None:
    saved = pd.read_csv(folder / "09_evaluation_cost.adaptive.csv")
    assert saved["model"].tolist() == ["Retrain", "NPO"]
    assert (saved["of"] == 8 * 10).all()
    assert (saved["drawn"] <= saved["of"]).all()
    widths = pd.read_csv(folder / "09_evaluation_cost.widths.csv")
    assert widths["width over prompts"].is_monotonic_decreasing or len(widths) == 8
    check_figures(folder, "09_evaluation_cost")


@pytest.mark.parametrize("folder", ["12_muse"], indirect=True)
def test_muse(folder: Path) -> None:
    summary = pd.read_csv(folder / "12_muse.summary.csv")
    tasks = [f"fictional-news(seed=0) {task}" for task in ("knowmem", "verbmem")]
    assert summary["benchmark"].tolist() == [task for task in tasks for _ in MODELS]
    assert summary["model"].tolist() == [*MODELS] * 2
    leak = summary.set_index(["benchmark", "model"])["leak@8"]
    for task in tasks:
        assert leak[task, "Original"] > leak[task, "Retrain"]
    differences = pd.read_csv(folder / "12_muse.differences.csv")
    for row in differences.itertuples():
        expected = leak[row.benchmark, row.model] - leak[row.benchmark, "Retrain"]
        assert row[4] == pytest.approx(expected, abs=1e-12)
    assert len(differences) == 4
    curves = pd.read_csv(folder / "12_muse.curves.csv")
    assert len(curves) == 2 * 3 * 2 * 2
    assert set(curves["clusters"]) == {2}
    assert (folder / "12_muse.tex").read_text().count(r"\begin{tabular}") == 2
    check_figures(folder, "12_muse", "12_muse.1")
    assert _Page((folder / "12_muse.html").read_text()).images == 2


@pytest.mark.parametrize("folder", ["14_rule_muse"], indirect=True)
def test_rule_muse(folder: Path) -> None:
    table = pd.read_csv(folder / "14_rule_muse.csv")
    assert table["model"].tolist() == ["RULE-NPO"] * 3
    assert table["round"].tolist() == [0, 1, 2]
    assert (table["forget set"].diff().dropna() == table["added"][1:]).all()
    summary = pd.read_csv(folder / "14_rule_muse.summary.csv")
    assert summary["model"].tolist()[:2] == ["Original", "Retrain"]
    page = (folder / "14_rule_muse.html").read_text()
    assert "rougeL_recall from 0.5 on is a leak" in page
    check_figures(folder, "14_rule_muse", "14_rule_muse.before_after")


@pytest.mark.parametrize("folder", ["10_retain_quality"], indirect=True)
def test_retain_quality(folder: Path) -> None:
    table = pd.read_csv(folder / "10_retain_quality.csv")
    decodings = ["greedy", "T = 0.2, top-p 0.8", "T = 1, top-p 1"]
    assert table["model"].tolist() == ["Retrain"] * 3 + ["NPO"] * 3
    assert table["decoding"].tolist() == decodings * 2
    assert table["samples"].tolist() == [1, 3, 2] * 2
    assert (table["prompts"] == 20).all()
    assert table["less Original"].isna().all()
    check_figures(folder, "10_retain_quality")
    assert _Page((folder / "10_retain_quality.html").read_text()).images == 1
    assert r"\begin{tabular}" in (folder / "10_retain_quality.tex").read_text()


@pytest.mark.parametrize("folder", ["11_example_generations"], indirect=True)
def test_example_generations(folder: Path) -> None:
    shares = pd.read_csv(folder / "11_example_generations.shares.csv")
    assert shares["model"].tolist() == ["Retrain", "NPO"]
    parts = shares[["greedy leaks", "only samples leak", "nothing leaks"]]
    assert (parts.sum(axis=1) - 1).abs().max() < 1e-9
    shown = pd.read_csv(folder / "11_example_generations.csv")
    assert len(shown) == min(6, round(10 * shares["only samples leak"].iloc[1])) > 0
    assert {"question", "reference", "greedy", "sample", "Retrain, greedy"} <= set(shown)
    assert shown["draw"].between(1, 8).all()
    blocks = (folder / "11_example_generations.examples.html").read_text()
    assert blocks.count("<b>") >= len(shown)
    page = (folder / "11_example_generations.html").read_text()
    assert _Page(page).images == 1
    assert all(question in page for question in shown["question"].str.replace("'", "&#39;"))
    check_figures(folder, "11_example_generations")


@pytest.mark.parametrize("folder", ["13_wmdp"], indirect=True)
def test_wmdp(folder: Path) -> None:
    curves = pd.read_csv(folder / "13_wmdp.curves.csv")
    assert len(curves) == 3 * 2
    leak = curves.set_index(["model", "k"])["leak@k"]
    assert leak["Original", 1] > 0.7 > 0.5 > leak["Retrain", 1]
    assert leak["Original", 1] > leak["NPO", 1]
    accuracy = pd.read_csv(folder / "13_wmdp.accuracy.csv")
    assert len(accuracy) == 3 * 2
    right = accuracy.set_index(["model", "side"])["letter, plain"]
    assert right["Original", "forget"] > right["NPO", "forget"]
    assert right["Retrain", "retain"] > 0.7
    assert len(pd.read_csv(folder / "13_wmdp.free.csv")) == 3 * 2
    check_figures(folder, "13_wmdp", "13_wmdp.free")
    page = (folder / "13_wmdp.html").read_text()
    assert _Page(page).images == 2
    assert "no judge in this profile" in page
    # Free-form answers are not printed.
    executed = cells(folder / "13_wmdp.ipynb")
    (asked,) = [cell for cell in executed if "if show_texts" in cell.source]
    assert asked.outputs == []
    values = {value for attribute in ATTRIBUTES for value in attribute.pool}
    outputs = [output for cell in executed for output in cell.outputs]
    shown = [output.get("text", "") for output in outputs]
    for kind in ("text/plain", "text/html", "text/markdown"):
        shown += [output.get("data", {}).get(kind, "") for output in outputs]
    words = set(re.findall("[a-z]+", " ".join(shown)))
    assert "guessing" in words
    assert not values & words
