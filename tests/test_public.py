"""What loads when: the estimator and the kernel work where torch is never imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import leakrepro as lr

STUB = ast.parse(Path(lr.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))


def test_the_stub_lists_what_it_imports() -> None:
    imported = {
        alias.asname or alias.name
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(lr.__all__)
    assert len(lr.__all__) == len(set(lr.__all__))


@pytest.mark.parametrize(
    "code",
    [
        "lr.leak_at_k([[0, 1], [0, 0]])",
        "lr.rouge_l(['a b'], [['a']])",
        "lr.load_benchmark('fictional')",
        "lr.load_profile('embedded')",
    ],
)
def test_what_needs_no_model_imports_no_torch(code: str) -> None:
    heavy = {"torch", "transformers", "pandas", "matplotlib"}
    script = f"import sys; import leakrepro as lr; {code}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
