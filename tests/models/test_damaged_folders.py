"""A damaged folder loads, or gives one error of this package that names it.

``LEAKREPRO_DAMAGED=1000`` tries as many folders.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from damage import damaged_copy
from small_world import WORLD
from typer.testing import CliRunner
from worlds import make_prompts

import leakrepro as lr
from leakrepro.cli import app
from leakrepro.errors import DataError, ModelError, StoreError
from leakrepro.types import Decoding

COUNT = int(os.environ.get("LEAKREPRO_DAMAGED", "150"))
_BLOCK = 25  # folders per test
GREEDY = Decoding(temperature=0, n=1, max_new_tokens=2)
# Not their subclasses: a JSONDecodeError is a ValueError, but says nothing of the folder.
ALLOWED = (
    *(ModelError, ValueError, FileNotFoundError, IsADirectoryError, PermissionError),
    *(OSError, FloatingPointError, StoreError, DataError),
)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def benchmark() -> lr.Benchmark:
    prompts, others = make_prompts(4)[:2], make_prompts(4)[2:]
    return lr.Benchmark(
        name="two",
        forget=prompts,
        retain=others,
        metrics=("rougeL_recall",),
        decoding=GREEDY,
        train_forget=prompts,
        train_retain=others,
    )


def sample(path: Path) -> None:
    found = lr.sample(path, make_prompts(2), GREEDY)
    assert len(found.texts) == 2


def evaluate(path: Path) -> None:
    lr.evaluate(path, benchmark(), decoding=GREEDY)


def unlearn(path: Path) -> None:
    options = lr.unlearning.METHODS["GradDiff"].options(steps=1, batch_size=1, accumulation=1)
    done = lr.unlearn(path, benchmark(), "GradDiff", options, progress=lambda done, total: None)
    assert (done / "model.safetensors").is_file()


def use_of(number: int) -> Callable[[Path], None]:
    return unlearn if number % 8 == 3 else evaluate if number % 8 == 5 else sample


@pytest.mark.parametrize("block", range(0, COUNT, _BLOCK))
def test_a_damaged_folder_loads_or_is_named(block: int, tiny_llama: Path, tmp_path: Path) -> None:
    wrong, refused = [], 0
    for seed in range(block, min(block + _BLOCK, COUNT)):
        path, what = damaged_copy(tiny_llama, tmp_path, seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use_of(seed)(path)
        except BaseException as error:
            refused += 1
            message = str(error)
            named = str(path) in message or "prompt '" in message
            if type(error) not in ALLOWED or not named or "\n" in message:
                wrong.append(f"{seed} ({what}): {type(error).__name__}: {message[:200]}")
        shutil.rmtree(path)
    assert not wrong, "\n".join(wrong)
    assert refused > 5  # most damages matter


def test_the_command_line_prints_one_line(tiny_llama: Path, tmp_path: Path) -> None:
    world = [part for name, value in WORLD.items() for part in ("-o", f"{name}={value}")]
    printed = 0
    for seed in range(8):
        path, what = damaged_copy(tiny_llama, tmp_path, seed)
        arguments = ["evaluate", str(path), "--benchmark", "fictional", *world, "--n", "2"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), what
        if result.exit_code:
            assert result.exit_code in (1, 2)
            last = result.stderr.strip().splitlines()[-1]
            assert last.startswith("Error: "), result.stderr
            assert str(path) in last
            assert "Traceback" not in result.output
            printed += 1
    assert printed > 2
