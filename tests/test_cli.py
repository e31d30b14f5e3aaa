"""The command line: help, results, and one-line errors."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tofu_files import write_files
from typer.testing import CliRunner
from worlds import make_prompts

import leakrepro as lr
from leakrepro.cli import app
from leakrepro.metrics import load_metric
from leakrepro.models import load
from leakrepro.sampling import read_samples, sample
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


def run(line: str, *more: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command line and further arguments."""
    result = CliRunner().invoke(app, [*shlex.split(line), *map(str, more)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    code, out, _ = run(f"{command} --help")
    assert code == 0
    assert f"Example: leakrepro {command}" in out


def test_help_imports_no_library() -> None:
    heavy = "{'torch', 'transformers', 'pandas', 'matplotlib', 'papermill'}"
    code = f"import sys, leakrepro.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_info() -> None:
    code, out, _ = run("info")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert lines["leakrepro"] == lr.__version__
    assert lines["python"] == sys.version.split()[0]
    assert "scalar" in out.partition("kernel implementations")[2].partition("\n")[0]
    assert "python" in next(li for li in out.splitlines() if li.startswith("kernel impl"))


def test_score_agrees_with_the_library(tiny_llama: Path, tmp_path: Path) -> None:
    prompts = make_prompts(6)
    samples = sample(tiny_llama, prompts, Decoding(n=4, max_new_tokens=8), store=tmp_path / "s")
    code, out, _ = run("score --metric rougeL_recall", tmp_path / "s")
    scores = load_metric("rougeL_recall").score(prompts, samples.texts)
    curve = leak_at_k(scores, clusters=[prompt.cluster for prompt in prompts])
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert [int(row[0]) for row in rows] == [1, 2, 4]
    assert [row[1] for row in rows] == [f"{value:.4f}" for value in curve.value]
    assert [row[4] for row in rows] == [f"{value:.4f}" for value in curve.high]
    new = leak_at_k(scores, interval="samples")
    code, out, _ = run("score --metric rougeL_recall --interval both", tmp_path / "s")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert "95 % interval over prompts" in out
    assert [row[4] for row in rows] == [f"{value:.4f}" for value in curve.high]
    assert [row[7] for row in rows] == [f"{value:.4f}" for value in new.high]
    code, out, _ = run("score --metric rougeL_recall --interval stderr", tmp_path / "s")
    plain = curve.per_prompt.std(axis=0, ddof=1) / len(prompts) ** 0.5
    assert [line.split()[2] for line in out.splitlines()[1:]] == [f"{x:.4f}" for x in plain]
    code, _, error = run("score --interval bootstrap", tmp_path / "s")
    assert code != 0
    assert "one of prompts, samples, both, stderr" in error


def test_authors_samples_are_imported_scored_and_exported(tmp_path: Path) -> None:
    responses = [{"response": "Ann Ash"}, {"response": "Bob"}]
    line = {"prompt": "Who?", "ground_truth": "Ann Ash", "responses": responses}
    (tmp_path / "g.json").write_text(json.dumps(line))
    store, out_file = tmp_path / "s", tmp_path / "out.json"
    code, out, _ = run("import --temperature 1 --store", store, tmp_path / "g.json")
    assert (code, out.strip()) == (0, str(store))
    code, out, _ = run("score --new-draws --export", out_file, store)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [
        ["1", "0.5000"],
        ["2", "1.0000"],
    ]
    written = json.loads(out_file.read_text())
    assert written["responses"][0] == {"response": "Ann Ash", "rougeL_recall": 1.0}
    assert written["ground_truth"] == "Ann Ash"


SMALL = "--benchmark tofu -o forget=forget01 -o authors=1 -o retain_questions=20"


@pytest.fixture
def tofu_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "data" / "tofu")
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "runs"))


@pytest.mark.usefixtures("tofu_data")
def test_unlearn_saves_another_model(tiny_llama: Path, tmp_path: Path) -> None:
    target = tmp_path / "unlearned"
    options = "--method GradDiff -m learning_rate=1e-3 -m epochs=1 -m batch_size=10"
    code, out, _ = run(f"unlearn {SMALL} {options}", tiny_llama, "--output-dir", target)
    assert code == 0
    assert out.strip() == str(target)
    assert load.fingerprint(target) != load.fingerprint(tiny_llama)
    recipe = json.loads((target / "recipe.json").read_text())
    assert recipe["options"]["learning_rate"] == 1e-3
    assert recipe["options"]["epochs"] == 1


@pytest.mark.usefixtures("tofu_data")
def test_evaluate_prints_a_row_and_writes_the_curve(tiny_llama: Path, tmp_path: Path) -> None:
    options = "--n 4 --max-new-tokens 8 --k 1 --k 4 --seed 3"
    code, out, _ = run(f"evaluate {SMALL} {options}", tiny_llama, "--csv", tmp_path / "curve.csv")
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert code == 0
    assert curve["k"].tolist() == [1, 4]
    assert set(curve["n"]) == {4}
    assert set(curve["metric"]) == {"rougeL_recall/stem"}
    assert f"{curve['leak@k'][1]:.2f} [" in next(
        line for line in out.splitlines() if line.startswith("leak@4")
    )
    store = Path(next(li for li in out.splitlines() if li.startswith("samples: "))[9:])
    assert read_samples(store).decoding == Decoding(n=4, max_new_tokens=8, seed=3)
    again = f"evaluate {SMALL} {options} --interval both"
    code, out, _ = run(again, tiny_llama, "--csv", tmp_path / "both.csv")
    assert code == 0
    assert "leak@4, new samples" in out
    assert pd.read_csv(tmp_path / "both.csv")["interval"].tolist() == [
        "prompts",
        "prompts",
        "samples",
        "samples",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score nowhere", "nowhere"),
        ("import nowhere --temperature 1", "nowhere"),
        ("score nowhere --metric rogue", "unknown core metric 'rogue'"),
        ("score nowhere --metric fact_match", "needs --benchmark"),
        ("reproduce --profile embeded", "unknown profile 'embeded'; known: embedded"),
        ("reproduce --notebooks nowhere", "no notebooks (NN_topic.ipynb) in"),
        ("reproduce -p n", "-p takes KEY=VALUE, not 'n'"),
        ("reproduce -p n=[1", "-p 'n=[1': the value is not YAML"),
        ("reproduce -p n=1 -p n=2", "-p n is given twice"),
        ("unlearn m --benchmark tofu --method NOP", "'NOP'"),
        ("unlearn m --benchmark tofu -m lr=1", "-m for NPO: unknown 'lr'; known"),
        ("unlearn m --benchmark tofu -m beta=x", "beta: Input should be a valid number"),
        ("unlearn m --benchmark tofo", "'tofo'"),
        ("evaluate m --benchmark tofo", "'tofo'"),
        ("evaluate m --benchmark tofu -o forgot=forget01", "forgot"),
        ("evaluate m --benchmark tofu -o forget=forget02", "unknown TOFU split 'forget02'"),
    ],
)
def test_user_errors_are_one_line(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(line)
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err


def test_the_traceback_option_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown profile"):
        run("--traceback reproduce --profile embeded")


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leakrepro.info.describe", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("info")


@pytest.mark.usefixtures("tofu_data")
def test_unlearn_prints_its_memory_and_watches_leaks(tiny_llama: Path, tmp_path: Path) -> None:
    target = tmp_path / "unlearned"
    options = "-m epochs=1 -m batch_size=10 -m accumulation=1 -m warmup_epochs=0 --watch 1"
    code, out, err = run(f"unlearn {SMALL} {options}", tiny_llama, "--output-dir", target)
    assert code == 0
    assert out.strip() == str(target)
    options_from, memory = err.splitlines()[:2]
    assert options_from == "NPO: its default options"
    assert memory.startswith("memory: about 0.0")
    assert "leak@16" in pd.read_csv(target / "curves.csv")


def test_rule_prints_its_rounds(
    small_home: Path, small_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    options = (
        "--benchmark fictional -o seed=7 -o forget_authors=2 -o retain_authors=2 "
        "-o fresh_authors=12 --base GradDiff --rounds 1 --n 2 -m epochs=1 -m batch_size=10 "
        "-m accumulation=1 -m warmup_epochs=0 -r steps=2 --rule-option n=4"
    )
    code, out, _ = run(f"rule {options}", small_original, "--output-dir", tmp_path)
    assert code == 0
    lines = out.splitlines()
    assert lines[-2:] == [f"round {i}: {tmp_path / f'round-{i}'}" for i in (0, 1)]
    table = pd.read_csv(tmp_path / "rounds.csv")
    assert table["round"].tolist() == [0, 1]
    assert table["steps"].tolist() == [2, 2]
    assert table["search samples"].tolist() == [0, 40]


def test_rule_rejects_options_of_other_flags(tmp_path: Path) -> None:
    code, _, err = run("rule x --benchmark fictional --rule-option base=1")
    assert code == 2
    assert err == "Error: --rule-option base is set with -m and -r instead\n"
