"""The command: help with examples, results, and one line for a wrong request."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from worlds import make_prompts

import leakrepro as lr
from leakrepro.cli import app
from leakrepro.leak import leak_at_k
from leakrepro.metrics import load_metric
from leakrepro.sampling import sample
from leakrepro.types import Decoding

COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    code, out, _ = run(command, "--help")
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
    assert "kernel implementations" in out
    assert "python" in next(li for li in out.splitlines() if li.startswith("kernel impl"))


def test_score_is_the_library_call(tiny_llama: Path, tmp_path: Path) -> None:
    prompts = make_prompts(6)
    samples = sample(tiny_llama, prompts, Decoding(n=4, max_new_tokens=8), store=tmp_path / "s")
    code, out, _ = run("score", tmp_path / "s", "--metric", "rougeL_recall")
    scores = load_metric("rougeL_recall").score(prompts, samples.texts)
    curve = leak_at_k(scores, clusters=[prompt.cluster for prompt in prompts])
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert [int(row[0]) for row in rows] == [1, 2, 4]
    assert [row[1] for row in rows] == [f"{value:.4f}" for value in curve.value]
    assert [row[4] for row in rows] == [f"{value:.4f}" for value in curve.high]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "nowhere"], "nowhere"),
        (["score", "nowhere", "--metric", "rogue"], "unknown core metric 'rogue'"),
        (["score", "nowhere", "--metric", "fact_match"], "needs --benchmark"),
        (["reproduce", "--profile", "embeded"], "unknown profile 'embeded'; known: embedded"),
        (["reproduce", "--notebooks", "nowhere"], "no notebooks (NN_topic.ipynb) in"),
        (["reproduce", "-p", "n"], "-p takes KEY=VALUE, not 'n'"),
        (["reproduce", "-p", "n=[1"], "-p 'n=[1': the value is not YAML"),
        (["reproduce", "-p", "n=1", "-p", "n=2"], "-p n is given twice"),
        (["unlearn", "m", "--benchmark", "tofu", "--method", "NOP"], "'NOP'"),
        (["unlearn", "m", "--benchmark", "tofu", "-m", "lr=1"], "-m for NPO: unknown 'lr'; known"),
        (["unlearn", "m", "--benchmark", "tofu", "-m", "beta=x"], "beta: Input should be a valid"),
        (["unlearn", "m", "--benchmark", "tofo"], "'tofo'"),
        (["evaluate", "m", "--benchmark", "tofo"], "'tofo'"),
    ],
)
def test_a_wrong_request_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err


def test_the_traceback_is_there_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown profile"):
        run("--traceback", "reproduce", "--profile", "embeded")


def test_a_fault_of_the_package_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leakrepro.info.describe", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("info")
