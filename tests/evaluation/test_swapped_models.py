"""A model that changes between its identification and its loading leaves nothing under the key."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import make_prompts, shift

from leakrepro.benchmarks.base import Benchmark
from leakrepro.models import load
from leakrepro.models.load import save_model
from leakrepro.sampling import sample
from leakrepro.types import Decoding
from leakrepro.unlearning import METHODS, unlearn

PROMPTS = make_prompts(3)
DECODING = Decoding(n=4, max_new_tokens=6)
CHANGED = "changed between their identification and the end of loading: call again"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def before_loading(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, swap: Callable[[], None]
) -> None:
    """Calls ``swap`` once, just before the loader runs for the first time."""
    real, left = getattr(owner, name), [swap]

    def loader(*args: Any, **options: Any) -> Any:
        while left:
            left.pop()()
        return real(*args, **options)

    monkeypatch.setattr(owner, name, loader)


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_sampling(
    part: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "model"))

    def swap() -> None:
        if part == "weights":
            shift(folder)
        else:
            template = load.load_tokenizer(folder)
            template.chat_template = f"x{template.chat_template}"
            template.save_pretrained(folder)
            (folder / "complete.json").unlink()  # the mark of the copied files

    with monkeypatch.context() as patch:
        from leakrepro.sampling.engines import hf

        before_loading(patch, hf, "load_model", swap)
        with pytest.raises(ValueError, match=CHANGED):
            sample(folder, PROMPTS, DECODING)
    assert not list((tmp_path / "home").rglob("*.parquet"))
    # The next call reads the model as it is now.
    assert sample(folder, PROMPTS, DECODING).drawn == 12
    assert sample(tiny_llama, PROMPTS, DECODING).drawn == 12


@pytest.mark.parametrize("side", ["model", "reference"])
def test_unlearning(
    side: str,
    small_original: Path,
    small_world: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Path(shutil.copytree(small_original, tmp_path / "model"))
    reference = Path(shutil.copytree(small_original, tmp_path / "reference"))
    method = "NPO"
    options = METHODS[method].options(steps=1)
    with monkeypatch.context() as patch:
        before_loading(
            patch, load, "load_model", lambda: shift(model if side == "model" else reference)
        )
        with pytest.raises(ValueError, match=CHANGED):
            unlearn(model, small_world, method, options, reference=reference)
    assert not list((tmp_path / "home" / "models").glob("NPO-*"))


def test_saved_copies_have_the_same_fingerprint(tiny_llama: Path, tmp_path: Path) -> None:
    model = load.load_model(tiny_llama, "cpu")
    first, second = (
        save_model(
            model, load.load_tokenizer(tiny_llama), tmp_path / name, extra={"log.json": name}
        )
        for name in ("a", "b")
    )
    assert load.fingerprint(first) == load.fingerprint(second)
