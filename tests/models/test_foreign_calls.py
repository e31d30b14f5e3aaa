"""No call of another library runs a model's code, or lets its errors through."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import leakrepro as lr
from leakrepro.errors import ModelError
from leakrepro.metrics import CosineSimilarity, EntailmentScore
from leakrepro.models import load
from leakrepro.models.memory import estimate_memory
from leakrepro.models.reading import reading
from leakrepro.storage.atomic import MARKER

ROOT = Path(lr.__file__).parent
LOADERS = {
    "from_pretrained",
    "from_config",
    "SentenceTransformer",
    "CrossEncoder",
    "LLM",
    "pipeline",
}


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT.parent / "notebooks").glob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            if cell["cell_type"] == "code":
                lines = [line for line in cell["source"] if line[:1] not in "%!"]
                yield f"{path.name}, cell {number}", ast.parse("".join(lines))


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def loading_calls(node: ast.AST, guarded: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Calls that load a model, and whether each is inside ``with reading(...)``."""
    for child in ast.iter_child_nodes(node):
        inside = guarded
        if isinstance(child, ast.With):
            contexts = [item.context_expr for item in child.items]
            inside |= any(isinstance(c, ast.Call) and called(c) == "reading" for c in contexts)
        elif isinstance(child, ast.FunctionDef | ast.Lambda):
            inside = False
        if isinstance(child, ast.Call) and called(child) in LOADERS:
            yield child, inside
        yield from loading_calls(child, inside)


def refuses_code(call: ast.Call) -> bool:
    values = [keyword.value for keyword in call.keywords if keyword.arg == "trust_remote_code"]
    return [isinstance(v, ast.Constant) and v.value is False for v in values] == [True]


def test_every_load_refuses_custom_code_and_names_the_folder_of_an_error() -> None:
    seen = 0
    for place, tree in sources():
        for call, guarded in loading_calls(tree):
            where = f"{place}:{call.lineno}: {ast.unparse(call)[:80]}"
            assert refuses_code(call), f"{where} lacks trust_remote_code=False"
            assert guarded, f"{where} is not inside `with reading(...)`"
            seen += 1
    assert seen >= 7


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("with reading(p, 'x'):\n    A.from_pretrained(p, trust_remote_code=False)", True),
        ("with reading(p, 'x'):\n    A.from_pretrained(p)", False),
        ("with reading(p, 'x'):\n    A.from_pretrained(p, trust_remote_code=True)", False),
        ("with reading(p, 'x'):\n    A.from_pretrained(p, trust_remote_code=None)", False),
        ("A.from_pretrained(p, trust_remote_code=False)", False),
        ("LLM(p)", False),
    ],
)
def test_the_scan_finds_forgotten_calls(source: str, right: bool) -> None:
    ((call, guarded),) = loading_calls(ast.parse(source))
    assert (refuses_code(call) and guarded) is right


CUSTOM = "import pathlib\npathlib.Path({mark!r}).touch()\n"


def add_custom_code(path: Path, mark: Path, model_type: str | None = "mystery") -> None:
    """Adds code that touches ``mark`` when it is imported, for every class that can be custom."""
    (path / MARKER).unlink()
    (path / "custom.py").write_text(CUSTOM.format(mark=str(mark)))
    classes = {
        "AutoConfig": "custom.Config",
        "AutoModel": "custom.Model",
        "AutoModelForCausalLM": "custom.Model",
        "AutoModelForSequenceClassification": "custom.Model",
        "AutoTokenizer": ["custom.Tokenizer", "custom.Tokenizer"],
    }
    config = json.loads((path / "config.json").read_text())
    if model_type is None:
        config.pop("model_type")
    else:
        config["model_type"] = model_type
    (path / "config.json").write_text(json.dumps(config | {"auto_map": classes}))
    tokenizer = json.loads((path / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": classes, "tokenizer_class": "Mystery"}
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("model_type", ["mystery", None])
def test_a_folder_with_custom_code_is_refused_by_name_and_nothing_is_run(
    tiny_llama: Path, tmp_path: Path, model_type: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without trust_remote_code=False transformers asks, and waits for an answer.
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    path = Path(shutil.copytree(tiny_llama, tmp_path / "custom-model"))
    mark = tmp_path / "ran"
    add_custom_code(path, mark, model_type)
    readers = [
        load.load_model,
        load.load_classifier,
        load.load_config,
        load.load_tokenizer,
        load.eos_ids,
        EntailmentScore,
        lambda path: estimate_memory(path, torch.device("cpu"), rows=1, length=4),
    ]
    for read in readers:
        with pytest.raises(ModelError, match=r"custom-model.*never run"):
            read(path)
    # A sentence-transformers model with a module of its own.
    (path / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "custom.Model"}])
    )
    with pytest.raises(ValueError, match="custom-model"):
        CosineSimilarity(path, cache=False)
    assert not mark.exists()
    assert not asked


class PanicException(BaseException):
    """Named like the panics of tokenizers and safetensors."""


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), PanicException("index"), ImportError("needs y")]
)
def test_errors_of_other_libraries_name_the_folder(error: BaseException) -> None:
    with (
        pytest.raises(
            ModelError, match=rf"^/a/b: the tokenizer cannot be read: {type(error).__name__}"
        ),
        reading("/a/b", "tokenizer"),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), MemoryError(), torch.OutOfMemoryError(), ModelError("x")],
)
def test_interrupts_exhausted_memory_and_own_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("/a/b", "tokenizer"):
        raise error
    assert caught.value is error


def test_a_long_message_becomes_one_short_line() -> None:
    with pytest.raises(ModelError) as caught, reading("/a/b", "model"):
        raise RuntimeError("a\nb " * 1000)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
