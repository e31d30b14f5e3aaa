"""``reproduce`` that is stopped or killed leaves no process, and the next call ends equal.

``LEAKREPRO_SOAK=20`` sends SIGTERM and SIGKILL ten times each instead of once (``make soak``).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nbformat
import psutil
import pytest
import small_world as small
import yaml
from tasks import default_signals

import leakrepro as lr

TIMES = max(1, int(os.environ.get("LEAKREPRO_SOAK", "0")) // 2)
MARK = "LEAKREPRO_TEST_RUN"
IMPORTS = Path(lr.__file__).parents[1], Path(__file__).parents[1]
SECONDS = 2.0  # after which no process may be left
CODE = """\
import subprocess
import leakrepro as lr
from leakrepro.execution import local
from tasks import spin

subprocess.Popen(["sleep", "600"])
settings = lr.load_profile(profile)
benchmark = lr.load_benchmark(settings.benchmark, **settings.benchmark_options)
paths = lr.make_models(settings, benchmark)
reports = [
    lr.evaluate(path, benchmark, name=name, decoding=settings.decoding, metric=settings.metrics,
                k=settings.k, retain_n=settings.retain_n)
    for name, path in paths.items()
]
local.run(spin, [(3.0,), (3.0,)], workers=2)
table = lr.report.table(reports)
table.to_csv(lr.paths.results(run or settings.name) / "{stem}.csv", index=False)
"""
STEMS = ("01_first",)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, small_original: Path) -> Path:
    """A profile whose notebook samples with workers, and its trained model."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(small_original, folder / "home" / "models" / small_original.name)
    profile = small.profile(metrics=["fact_match"], notebooks=list(STEMS))
    profile["decoding"] = {"n": 40, "max_new_tokens": 32}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(profile))
    (folder / "notebooks").mkdir()
    for stem in STEMS:
        nb = nbformat.v4.new_notebook()
        nb.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
        parameters = 'profile = "embedded"\nrun = None'
        nb.cells = [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(CODE.replace("{stem}", stem)),
        ]
        nbformat.write(nb, folder / "notebooks" / f"{stem}.ipynb")
    return folder


class Run:
    """A ``leakrepro reproduce`` in a session of its own; its processes carry a mark."""

    def __init__(self, folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leakrepro.cli", "reproduce", "--profile", "tiny.yaml"],
            cwd=folder,
            env=os.environ
            | {
                MARK: self.mark,
                "LEAKREPRO_HOME": str(folder / "home"),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(map(str, IMPORTS)),
                "PYTHONWARNINGS": "ignore",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=default_signals,
            text=True,
        )

    def living(self) -> list[psutil.Process]:
        """All processes that the run started, at any depth, and the run itself."""
        found = psutil.process_iter(["environ"])
        return [p for p in found if (p.info["environ"] or {}).get(MARK) == self.mark]

    def check_gone(self, since: float) -> None:
        """Fails if a process of the run is left ``SECONDS`` after a moment."""
        while (left := self.living()) and time.monotonic() < since + SECONDS:
            time.sleep(0.05)
        names = [" ".join(p.cmdline())[:200] for p in left if p.is_running()]
        for each in left:
            each.kill()
        assert not left, names

    def finish(self) -> str:
        out, errors = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, errors
        return out


def tables(folder: Path) -> dict[str, bytes]:
    return {stem: (folder / "home" / "tiny" / f"{stem}.csv").read_bytes() for stem in STEMS}


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a run that nobody stops."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("whole") / "run")
    run = Run(folder)
    run.finish()
    run.check_gone(time.monotonic())
    return tables(folder)


# The call, a worker with its kernel, the kernel's child and its two workers.
MOST = 6


def wait_for(run: Run, processes: int) -> None:
    while len(run.living()) < processes:
        assert run.process.poll() is None, "the run ended before it was stopped"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_no_process_is_left_and_the_next_call_is_equal(
    number: signal.Signals, template: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    times = random.Random(number.name)
    for i in range(TIMES):
        folder = shutil.copytree(template, tmp_path / f"{i}")
        run = Run(folder)
        wait_for(run, times.randint(1, MOST) if TIMES > 1 else MOST)
        time.sleep(times.uniform(0, 1))
        before = len(run.living())
        run.process.send_signal(number)
        since = time.monotonic()
        code = run.process.wait(timeout=SECONDS)
        run.check_gone(since)
        run.process.communicate()
        # Before anything is started the process may not have its handler yet.
        handled = number == signal.SIGTERM and (before > 1 or code != -number)
        assert code == (143 if handled else -number)
        if number == signal.SIGTERM:
            assert not list(folder.glob("home/tiny/.*"))
        run = Run(folder)
        run.finish()
        assert tables(folder) == whole
        assert not list(folder.glob("home/tiny/.*"))
        print(f"{number.name} {i + 1} of {TIMES}: {before} processes, none left, equal tables")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_other_signals_leave_no_process_either(
    number: signal.Signals, template: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(template, tmp_path / "run")
    run = Run(folder)
    wait_for(run, MOST)
    run.process.send_signal(number)
    since = time.monotonic()
    assert run.process.wait(timeout=SECONDS) == 128 + number
    run.check_gone(since)
    run.process.communicate()


def test_a_second_call_names_the_owner_and_changes_nothing(template: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(template, tmp_path / "run")
    first = Run(folder)
    wait_for(first, 2)
    second = Run(folder)
    _, errors = second.process.communicate(timeout=120)
    assert second.process.returncode == 2
    assert errors.startswith(f"Error: {folder / 'home' / 'tiny'} is in use by process ")
    assert f"process {first.process.pid} on " in errors
    assert "reproduce --profile tiny.yaml" in errors
    assert errors.count("\n") == 1
    first.process.kill()
    since = time.monotonic()
    first.process.communicate()
    first.check_gone(since)
