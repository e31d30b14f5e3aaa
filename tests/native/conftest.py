from __future__ import annotations

from collections.abc import Callable

import pytest

from leakrepro.rouge.texts import RougeL, implementations, rouge_l

AVAILABLE = [name for name, reason in implementations().items() if reason == "ok"]


@pytest.fixture(scope="session", params=AVAILABLE)
def implementation(request: pytest.FixtureRequest) -> str:
    """Each implementation that this machine can run, in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def score(implementation: str) -> Callable[..., RougeL]:
    """``rouge_l`` by one implementation."""

    def run(*args: object, **options: object) -> RougeL:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LEAKREPRO_IMPL", implementation)
            return rouge_l(*args, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session")
def tokenise(implementation: str) -> Callable[[str, bool], list[str]]:
    """The tokeniser of one implementation: ``tokenise(text, stem)``."""
    if implementation == "python":
        from leakrepro.rouge import _python

        return lambda text, stem: _python.tokenise(text, stem=stem)
    from leakrepro import _native

    return lambda text, stem: _native.tokenise(text, stem=stem, implementation=implementation)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which implementations were tested, and why others were not."""
    states = implementations()
    terminalreporter.write_line(f"kernel implementations tested: {', '.join(AVAILABLE)}")
    for name, reason in states.items():
        if reason != "ok":
            terminalreporter.write_line(f"kernel implementation not tested: {name} ({reason})")
