"""Writes inputs for the fuzzer that reach the kernel's edges: seeds.py FOLDER.

Each is in the language that input.h reads: sizes hugging the widths of registers and bands, texts
of every width, the odd characters, long words.
"""

from __future__ import annotations

import sys
from pathlib import Path

# First bytes: what is checked (fuzz.cpp, LLVMFuzzerTestOneInput).
STEM, IDS, SUMMARIES, TEXTS = 0, (1, 2, 3, 4), 5, 6
EDGES = (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255)


def ids(which: int, reference: int, candidates: tuple[int, ...]) -> bytes:
    """One reference and its candidates of so many ids in all, rising in steps of 1."""

    def run(count: int) -> bytes:
        # Bit 3: a count follows, times 2 to the power of the two highest bits.
        shift = 3 if count > 255 else 0
        return bytes([1, 8 | 1 | shift << 6, 0, count >> shift])

    body = bytes([which, 0xF0]) + run(reference) + bytes([1, len(candidates)])
    return body + b"".join(map(run, candidates))


def text(width: int, operations: bytes) -> bytes:
    count = len(operations)
    return bytes([width | (count & 63) << 2, count >> 6]) + operations


def texts(width: int, reference: bytes, candidates: list[bytes], what: int = TEXTS) -> bytes:
    head = bytes([what, 1]) + text(width, reference) + bytes([len(candidates)])
    return head + b"".join(text(width, candidate) for candidate in candidates)


def seeds() -> dict[str, bytes]:
    found = {"stem": bytes([STEM]) + bytes(range(36))}
    for which in IDS:
        for size in (*EDGES, 2040):
            found[f"ids{which}_{size}"] = ids(which, size, (size, *EDGES, 0))
    every_word = bytes(range(128, 240))
    odd = bytes([ord("a"), 248, ord("b"), 249, 250, 0xD8, 0, 253, 1, 0xF6, 0, ord("c")])
    for width in range(4):
        found[f"words_{width}"] = texts(width, every_word, [every_word, every_word[::-1], b"", odd])
        lines = b"a b c\nb a\n\nc c b a\n" * 4
        found[f"lines_{width}"] = texts(width, lines, [lines[::-1], lines[5:], b"\n"], SUMMARIES)
        for size in EDGES:
            letters = (b"ab " * size)[:size]
            one_word = bytes([240, ord("x"), size])
            found[f"text{width}_{size}"] = texts(width, letters, [letters[1:], one_word, odd * 3])
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (folder / name).write_bytes(data)
