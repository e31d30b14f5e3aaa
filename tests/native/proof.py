"""The long comparison: every implementation against rouge-score-rs and rouge_score, bit for bit.

    python tests/native/proof.py --pairs 10000000 --log proof.json

Pairs come in chunks of one kind of text each, stemmed and unstemmed in turn. Of each chunk all
pairs go through every native implementation and rouge-score-rs, and two in a hundred through
rouge_score itself and the Python implementation. An interrupted run continues; a run with another
kernel starts again. With LEAKREPRO_DATA, real TOFU answers and MUSE passages are among the texts.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rouge_score.rouge_scorer
import rouge_score_rs
from tqdm import tqdm

import leakrepro as lr
from leakrepro import _native
from leakrepro.info import commit, cpu_model
from leakrepro.rouge.texts import arrays_of

HERE = Path(__file__).parent
SEED = 20240229
ROUGE_SCORE_SHARE = 0.02
EDGES = [n + d for n in (16, 32, 64, 128) for d in (-1, 0, 1)]
SEPARATORS = [" "] * 20 + [", ", ". ", "-", "'", "\n", "_", "--", " \u2014 ", "\u00e9", "\u2019"]

Groups = tuple[list[str], list[list[str]]]


@cache
def english() -> list[str]:
    """Stems with each ending that a stemmer takes off."""
    stems, endings = ((HERE / f"{name}.txt").read_text().split() for name in ("stems", "suffixes"))
    return [stem + ending for ending in ["", *endings] for stem in stems]


@cache
def tofu_answers() -> list[str]:
    lines = (Path(os.environ["LEAKREPRO_DATA"]) / "tofu/full.json").read_text().splitlines()
    return [json.loads(line)["answer"] for line in lines]


@cache
def muse_words() -> list[str]:
    text = (Path(os.environ["LEAKREPRO_DATA"]) / "muse/news/raw_forget.txt").read_text()
    return text.split(" ")


def joined(rng: random.Random, words: list[str]) -> str:
    separators = rng.choices(SEPARATORS, k=len(words))
    return "".join(itertools.chain.from_iterable(zip(words, separators, strict=True)))


def perturbed(rng: random.Random, text: str) -> str:
    """The text as a model half remembers it: words dropped, doubled, swapped, changed."""
    words = []
    for word in text.split(" "):
        chance = rng.random()
        if chance < 0.1:
            continue
        if chance < 0.15:
            words.append(rng.choice(english()))
        words.append(word.upper() if chance > 0.95 else word)
    cut = rng.randrange(len(words) + 1)
    return " ".join(words if rng.random() < 0.5 else words[cut:] + words[:cut])


def groups_of(
    rng: random.Random,
    references: int,
    candidates: int,
    reference: Callable[[], str],
    candidate: Callable[[str], str],
) -> Groups:
    texts = [reference() for _ in range(references)]
    return texts, [[candidate(text) for _ in range(candidates)] for text in texts]


def real_answers(rng: random.Random) -> Groups:
    def candidate(reference: str) -> str:
        text = rng.choice(tofu_answers()) if rng.random() < 0.5 else reference
        return perturbed(rng, text) if rng.random() < 0.8 else text

    return groups_of(rng, 100, 100, lambda: rng.choice(tofu_answers()), candidate)


def real_passages(rng: random.Random) -> Groups:
    def passage() -> str:
        start = rng.randrange(len(muse_words()) - 2200)
        return " ".join(muse_words()[start : start + rng.choice([50, 200, 1100, 2100])])

    def candidate(reference: str) -> str:
        return perturbed(rng, reference if rng.random() < 0.7 else passage())

    return groups_of(rng, 10, 20, passage, candidate)


def sampled(rng: random.Random) -> Groups:
    """Words by Zipf's law, some of them new each time, as sampling at temperature 1 gives them."""
    words = english()
    ranks = np.random.default_rng(rng.randrange(2**32)).zipf(1.3, size=10**6) % len(words)
    place = itertools.count()

    def text(mean: int) -> str:
        count = max(0, int(rng.gauss(mean, mean / 2)))
        picked = [words[ranks[next(place) % len(ranks)]] for _ in range(count)]
        for _ in range(count // 10):
            picked[rng.randrange(count)] = "".join(
                rng.choices(string.ascii_letters, k=rng.randrange(1, 22))
            )
        return joined(rng, picked)

    def candidate(reference: str) -> str:
        return perturbed(rng, reference) if rng.random() < 0.4 else text(50)

    return groups_of(rng, 100, 100, lambda: text(28), candidate)


def edges(rng: random.Random) -> Groups:
    """Numbers of tokens and of characters beside the widths of registers; few different words."""
    alphabets = [
        list("ab"),
        ["use", "using", "used", "uses"],
        ["dying", "die", "died", "dies", "dy", "d", "i", "ties", "tying", "tie", "skies", "sky"],
        ["aing", "a", "ying", "y", "eing", "e", "as", "is", "s", "bs"],
        ["a" * 15, "a" * 16, "a" * 17, "a" * 15 + "b", "a" * 16 + "b", "a" * 40],
        [f"{c}{n}" for c in "xy" for n in range(40)],
    ]

    def text(alphabet: list[str]) -> str:
        size = rng.choice(EDGES)
        words = joined(rng, rng.choices(alphabet, k=size))
        return words if rng.random() < 0.5 else words[:size]

    chosen: list[list[str]] = []

    def reference() -> str:
        chosen.append(rng.choice(alphabets))
        return text(chosen[-1])

    place = itertools.count()
    return groups_of(rng, 100, 100, reference, lambda _: text(chosen[next(place) // 100]))


def characters(rng: random.Random) -> Groups:
    """Any characters that UTF-8 can encode, most of them near those that matter."""
    near = "aAbByYsSkKiI019 -'\0\x7f\u00e9\u0130\u0131\u212a\u017f\ufb01\U0001d41a"

    def text(_: str = "") -> str:
        letters = rng.choices(near, k=rng.choice([0, 1, 7, *EDGES]))
        for _ in range(rng.randrange(6)):
            code = rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])
            letters.insert(rng.randrange(len(letters) + 1), chr(code))
        return "".join(letters)

    return groups_of(rng, 100, 100, text, text)


def kinds() -> list[Callable[[random.Random], Groups]]:
    real = [real_answers, real_passages] if "LEAKREPRO_DATA" in os.environ else []
    return [*real, sampled, edges, characters]


def bits(scores: Any) -> np.ndarray:
    return np.array(scores, dtype=np.float64).reshape(-1, 3).view(np.int64)


def ours(implementation: str, references: list[str], rows: list[list[str]], stem: bool) -> Any:
    os.environ["LEAKREPRO_IMPL"] = implementation
    result = lr.rouge_l(references, rows, stem=stem)
    return bits(np.stack(arrays_of(result), axis=1))


class Chunk:
    """One kind of text, made from its number alone."""

    def __init__(self, number: int) -> None:
        kind = kinds()[number % len(kinds())]
        self.kind = kind.__name__
        self.stem = number // len(kinds()) % 2 == 0
        rng = random.Random(f"{SEED}/{number}")
        self.references, self.rows = kind(rng)
        self.targets = [r for r, row in zip(self.references, self.rows, strict=True) for _ in row]
        self.predictions = [candidate for row in self.rows for candidate in row]
        count = max(1, round(ROUGE_SCORE_SHARE * len(self.targets)))
        self.picked = sorted(rng.sample(range(len(self.targets)), count))

    def compare(self) -> dict[str, Any]:
        """Counts of pairs and of differences, and the first pair that differs."""
        rs = rouge_score_rs.RougeScorer(["rougeL"], use_stemmer=self.stem)
        peer = rouge_score.rouge_scorer.RougeScorer(["rougeL"], use_stemmer=self.stem)
        fast = bits([s["rougeL"] for s in rs.score_batch(self.targets, self.predictions)])
        slow = bits(
            [peer.score(self.targets[i], self.predictions[i])["rougeL"] for i in self.picked]
        )
        differences: Counter[str] = Counter()
        first = None

        def count(what: str, a: np.ndarray, b: np.ndarray, pairs: Any) -> None:
            nonlocal first
            wrong = np.flatnonzero((a != b).any(axis=1))
            if wrong.size:
                differences[what] += wrong.size
                pair = pairs[wrong[0]]
                first = first or [what, self.targets[pair], self.predictions[pair]]

        everything = range(len(self.targets))
        for name in _native.implementations():
            found = ours(name, self.references, self.rows, self.stem)
            count(f"{name} and rouge-score-rs", found, fast, everything)
            count(f"{name} and rouge_score", found[self.picked], slow, self.picked)
        reference = ours(
            "python",
            [self.targets[i] for i in self.picked],
            [[self.predictions[i]] for i in self.picked],
            self.stem,
        )
        count("python and rouge_score", reference, slow, self.picked)
        count("rouge-score-rs and rouge_score", fast[self.picked], slow, self.picked)
        return {
            "kind": self.kind,
            "stem": self.stem,
            "pairs": len(self.targets),
            "rouge_score_pairs": len(self.picked),
            "differences": dict(differences),
            "first": first,
        }


def chunks(pairs: int, state: Path) -> Iterator[dict[str, Any]]:
    """What each chunk gave, from the state of a run before or computed now."""
    lines = state.read_text().splitlines() if state.exists() else []
    done = [json.loads(line) for line in lines if line.endswith("}")]
    with state.open("a") as file, tqdm(total=pairs, unit="pair", unit_scale=True) as bar:
        for number in itertools.count():
            if bar.n >= pairs:
                return
            if number < len(done):
                result = done[number]
            else:
                began = time.perf_counter()
                result = Chunk(number).compare() | {"seconds": time.perf_counter() - began}
                file.write(json.dumps(result) + "\n")
                file.flush()
            bar.update(result["pairs"])
            yield result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--state", type=Path, default=Path("build/proof"), help="where it resumes")
    parser.add_argument("--log", type=Path, help="where the counts are written, as JSON")
    options = parser.parse_args()
    kernel = hashlib.sha256(Path(_native.__file__).read_bytes()).hexdigest()[:16]
    options.state.mkdir(parents=True, exist_ok=True)
    results = list(chunks(options.pairs, options.state / f"{kernel}.jsonl"))

    differences: Counter[str] = Counter()
    table: dict[str, Counter[str]] = {}
    for result in results:
        differences.update(result["differences"])
        name = f"{result['kind']}, {'' if result['stem'] else 'not '}stemmed"
        row = table.setdefault(name, Counter())
        row.update(pairs=result["pairs"], rouge_score_pairs=result["rouge_score_pairs"])
    log = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit(HERE),
        "processor": cpu_model(),
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("leakrepro", "rouge-score", "rouge-score-rs", "nltk", "numpy")
        },
        "seed": SEED,
        "implementations": [*_native.implementations(), "python (pairs of rouge_score)"],
        "pairs": sum(result["pairs"] for result in results),
        "rouge_score_pairs": sum(result["rouge_score_pairs"] for result in results),
        "kinds": table,
        "differences": differences,
        "first_difference": next((r["first"] for r in results if r["first"]), None),
        "minutes": round(sum(result["seconds"] for result in results) / 60, 1),
    }
    text = json.dumps(log, indent=2)
    print(text)
    if options.log is not None:
        options.log.write_text(text + "\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
