"""Peak memory of a large call in addition to its input, measured in a separate process."""

from __future__ import annotations

import subprocess
import sys

PAIRS = 10_000_000

_SCRIPT = """
import sys
from pathlib import Path
import leakrepro as lr
from leakrepro.bench.shapes import tofu

def status(name):
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
    return int(line.split()[1]) * 1024

shape = tofu(scale=0.1)
lr.rouge_l(shape.references, shape.candidates)
pairs = int(sys.argv[1])
# Repeats a few texts, so that the input needs little more memory than a list of pointers.
times = -(-pairs // shape.pairs)
references = shape.references * times
candidates = shape.candidates * times
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = status("VmRSS")
scores = lr.rouge_l(references, candidates)
print(scores.recall.values.size, status("VmHWM") - before)
"""


def bench_memory(pairs: int = PAIRS) -> tuple[int, int]:
    """Measure the peak memory of scoring many pairs.

    Args:
        pairs: Minimum number of pairs.

    Returns:
        The number of scored pairs, and the peak memory in addition to the input in bytes. It
        includes the results, 24 bytes per pair.

    Raises:
        RuntimeError: if the process fails, for example on other systems than Linux. The message is
            the end of its error output.
    """
    command = [sys.executable, "-c", _SCRIPT, str(pairs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the memory run failed: {done.stderr.strip()[-500:]}")
    scored, beyond = map(int, done.stdout.split())
    return scored, beyond
