"""Notebooks are run whole, refused early, and keep what they did when they fail."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from leakrepro.errors import NotebookError
from leakrepro.reproduction.runner import reproduce, run_name

PARAMETERS = 'profile = "embedded"\nrun = None\nn = None\nmodels = None\nnote = ""'
WRITE = """\
import base64, os, sys
from pathlib import Path
out = Path(os.environ["LEAKREPRO_HOME"]) / (run or Path(profile).stem)
(out / "{stem}.csv").write_text(f"model,leak@1\\nNPO,{{0.123456}}\\n")
(out / "{stem}.png").write_bytes(base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="))
print("interpreter", sys.executable, "n", n, "threads", os.environ.get("OMP_NUM_THREADS"))
"""


def notebook(folder: Path, stem: str, *cells: str, parameters: str = PARAMETERS) -> None:
    nb = nbformat.v4.new_notebook()
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    nb.cells = [first, *map(nbformat.v4.new_code_cell, cells)]
    folder.mkdir(exist_ok=True)
    nbformat.write(nb, folder / f"{stem}.ipynb")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile ``small`` with two notebooks, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "runs"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    profile = {
        "benchmark": "fictional",
        "models": {"Original": {"train": "full"}, "Retrain": {"train": "retain"}},
        "decoding": {"n": 16},
        "retain_n": 4,
        "k": [1, 8],
        "threads": 1,
        "jobs": 2,
        "notebooks": ["01_curves", "02_grid"],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(profile))
    for stem in ("01_curves", "02_grid"):
        notebook(tmp_path / "notebooks", stem, WRITE.format(stem=stem))
    return tmp_path


def stdout(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(
        out.text for cell in cells for out in cell.get("outputs", []) if out.output_type == "stream"
    )


def test_a_profile_runs_whole(world: Path) -> None:
    output = reproduce("small.yaml", jobs=2)
    assert output == world / "runs" / "small"
    names = {path.name for path in output.iterdir()}
    assert names == {
        *("01_curves.ipynb", "01_curves.html", "01_curves.csv", "01_curves.png"),
        *("02_grid.ipynb", "02_grid.html", "02_grid.csv", "02_grid.png"),
        *("index.html", "runs.json"),
    }
    printed = stdout(output / "01_curves.ipynb")
    assert f"interpreter {sys.executable} n None threads 1" in printed
    page = (output / "index.html").read_text()
    assert page.count('class="status ok"') == 2
    assert page.count("data:image/png;base64,iVBORw0KGgo") == 2
    assert '<td class="number">0.12</td>' in page
    assert 'href="01_curves.csv"' in page
    assert "profile = small.yaml;" in page
    assert f'<td class="words">{__import__("torch").__version__}</td>' in page
    assert page.count('class="verdict nothing published"') == 4  # in the contents and the sections


def test_the_profile_says_how_many_run_at_the_same_time(world: Path) -> None:
    for stem, other in (("01_curves", "02_grid"), ("02_grid", "01_curves")):
        wait = (
            f"import pathlib, time\npathlib.Path('{stem}').touch()\nend = time.time() + 60\n"
            f"while not pathlib.Path('{other}').exists():\n"
            "    assert time.time() < end, 'alone'\n    time.sleep(0.05)"
        )
        notebook(world / "notebooks", stem, wait)
    reproduce("small.yaml")


def test_changed_parameters_go_elsewhere(world: Path) -> None:
    plain = reproduce("small.yaml", only=["01"])
    before = {path.name: path.read_bytes() for path in plain.iterdir()}
    changed = reproduce("small.yaml", only=["01_curves"], parameters={"n": 8})
    assert changed.name.startswith("small+n=8-")
    assert {path.name: path.read_bytes() for path in plain.iterdir()} == before
    assert (changed / "01_curves.csv").exists()
    assert "n 8" in stdout(changed / "01_curves.ipynb")


def test_a_failing_notebook_is_kept_and_the_others_go_on(world: Path) -> None:
    output = reproduce("small.yaml", only=["01"])
    good = (output / "01_curves.ipynb").read_bytes()
    notebook(world / "notebooks", "01_curves", "print('so far')", "raise KeyError('no <model>')")
    with pytest.raises(NotebookError) as failure:
        reproduce("small.yaml")
    lines = str(failure.value).splitlines()
    # In [1] is the parameters cell, In [2] what papermill adds after it.
    assert lines[0] == "01_curves.ipynb, cell [4]: KeyError: 'no <model>'"
    assert lines[1].endswith("01_curves.failed.ipynb")
    assert "so far" in stdout(output / "01_curves.failed.ipynb")
    assert (output / "01_curves.ipynb").read_bytes() == good
    assert (output / "02_grid.ipynb").exists()
    page = (output / "index.html").read_text()
    assert 'class="status failed"' in page
    assert 'class="status ok"' in page
    assert "no &lt;model&gt;" in page
    assert 'href="01_curves.csv"' not in page

    notebook(world / "notebooks", "01_curves", "print('mended')")
    reproduce("small.yaml", only=["01"])
    page = (output / "index.html").read_text()
    assert page.count('class="status ok"') == 2  # the other notebook stays on the page
    assert not (output / "01_curves.failed.ipynb").exists()
    assert "mended" in stdout(output / "01_curves.ipynb")


def test_only_what_has_changed_runs_again(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = reproduce("small.yaml")

    def ran(**options: object) -> dict[str, str]:
        """Why each notebook that was executed was."""
        before = {path.name: path.read_bytes() for path in output.glob("*.ipynb")}
        capsys.readouterr()
        reproduce("small.yaml", **options)
        told = dict(line.split(": ", 1) for line in capsys.readouterr().err.splitlines())
        assert {path.name for path in output.glob("*.ipynb")} == before.keys()
        executed = {name for name in before if (output / name).read_bytes() != before[name]}
        why = {f"{stem}.ipynb": told.get(stem, "") for stem in ("01_curves", "02_grid")}
        assert all(why[name].startswith("unchanged since") for name in before.keys() - executed)
        return {name: why[name] for name in executed}

    assert ran() == {}
    (output / "index.html").unlink()
    assert ran() == {}
    assert (output / "index.html").exists()
    assert ran(again=True) == {"01_curves.ipynb": "", "02_grid.ipynb": ""}
    (output / "02_grid.png").unlink()
    assert ran() == {"02_grid.ipynb": "runs again: small/02_grid.png is missing"}
    notebook(world / "notebooks", "01_curves", WRITE.format(stem="01_curves"), "print('more')")
    assert ran() == {"01_curves.ipynb": "runs again: the notebook changed"}
    assert ran() == {}


def test_a_kernel_that_dies_is_a_failure_with_its_cell(world: Path) -> None:
    notebook(world / "notebooks", "01_curves", "1 + 1", "import os; os._exit(9)")
    with pytest.raises(NotebookError, match=r"01_curves\.ipynb, cell \[4\]: the kernel died"):
        reproduce("small.yaml", only=["01"])
    assert (world / "runs" / "small" / "01_curves.failed.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "embeded"}, "unknown profile 'embeded'"),
        ({"only": ["03"]}, "no notebook '03' in notebooks; there are: 01_curves, 02_grid"),
        ({"notebooks": "elsewhere"}, r"no notebooks \(NN_topic.ipynb\) in .*elsewhere"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"parameters": {"m": 1}}, "no parameter 'm'; it has: profile, run, n, models, note"),
        ({"parameters": {"run": "x"}}, "'run' cannot be set"),
        ({"parameters": {"n": 4}}, "k = 8 needs as many samples per prompt, but n is 4"),
        ({"parameters": {"models": ["NPO"]}}, "no model 'NPO'; it has: Original, Retrain"),
        ({"parameters": {"seed": 1}}, "01_curves.ipynb has no parameter 'seed'"),
    ],
)
def test_nothing_runs_after_a_wrong_request(world: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(**({"profile": "small.yaml"} | arguments))
    assert not (world / "runs").exists()


def test_a_notebook_that_cannot_be_told_its_folder_takes_no_changes(world: Path) -> None:
    notebook(world / "notebooks", "01_curves", "1", parameters='profile = ""\nn = None')
    with pytest.raises(ValueError, match="has no parameter 'run'"):
        reproduce("small.yaml", only=["01"], parameters={"n": 8})


def test_of_progress_bars_only_the_end_is_kept(world: Path) -> None:
    bars = (
        "import sys, time\nfrom tqdm import tqdm\nprint('a warning: 5% off', file=sys.stderr)\n"
        "for _ in zip(tqdm(range(5), desc='outer', mininterval=0), tqdm(range(5), desc='inner', "
        "mininterval=0)):\n    pass\nprint('end', file=sys.stderr)"
    )
    notebook(world / "notebooks", "01_curves", bars)
    output = reproduce("small.yaml", only=["01"])
    lines = stdout(output / "01_curves.ipynb").splitlines()
    assert lines[0] == "a warning: 5% off"
    assert lines[-1] == "end"
    assert sum("outer: 100%|" in line for line in lines) == 1
    assert not [line for line in lines if "20%|" in line or "0%|" in line.replace("100%|", "")]


def test_arun_name_is_readable_short_and_never_shared() -> None:
    assert run_name("small", {}) == "small"
    values = [{"n": 8}, {"n": "8"}, {"n": -8}, {"note": "a b"}, {"note": "a/b"}, {"n": 8, "m": 1}]
    names = [run_name("small", value) for value in [*values, {"note": "x" * 300}]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"small\+[\w.,=]{1,60}-[0-9a-f]{6}", name) for name in names)
    assert run_name("small", {"m": 1, "n": 8}) == names[5]


def test_braces_in_paths_and_values(world: Path) -> None:
    (world / "a{b}").mkdir()
    (world / "notebooks").rename(world / "a{b}" / "notebooks")
    output = reproduce(
        "small.yaml",
        only=["01"],
        parameters={"note": "{x}/.."},
        notebooks=world / "a{b}" / "notebooks",
    )
    assert output.parent == world / "runs"
    records = json.loads((output / "runs.json").read_text())
    assert records["01_curves"]["parameters"]["note"] == "{x}/.."
