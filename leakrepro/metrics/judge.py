"""LJ, the LLM judge: a language model on a server decides whether an answer leaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from leakrepro.errors import IncompleteScores, require
from leakrepro.metrics.judge_client import NoAnswer, Refused, Requests, Server, Unreachable
from leakrepro.metrics.judge_reply import RUBRICS, Rubric
from leakrepro.metrics.model_scored import Distinct, Pair, Usage
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.metrics.text import check_candidates
from leakrepro.storage import provenance
from leakrepro.types import Prompt, Scores

_VERSION = 1  # incremented when the wording of a rubric changes
_GIVE_UP = 20  # consecutive failures after which the server counts as unreachable
BYTES_A_TOKEN = 4.0  # in English text, for the estimate


@dataclass(frozen=True)
class JudgeCost:
    """Estimated cost of judging, from the length of the texts.

    Attributes:
        requests: Number of requests that are not in the cache.
        input_tokens: Estimated input tokens.
        output_tokens: Estimated output tokens.
        dollars: Estimated price in dollars; None without a price.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None

    def __str__(self) -> str:
        price = "price not given" if self.dollars is None else f"about ${self.dollars:.2f}"
        return (
            f"{self.requests:,} requests, about {self.input_tokens:,} tokens in and "
            f"{self.output_tokens:,} out, {price}"
        )


def estimate_cost(
    requests: int, size: int, rubric: Rubric, price: tuple[float, float] | None = None
) -> JudgeCost:
    """Estimate the cost of requests, at four bytes per token.

    Args:
        requests: Number of requests.
        size: Total size of questions, references and candidates, in bytes.
        rubric: The rubric.
        price: Dollars per million input and output tokens.
    """
    size += requests * (len(rubric.instruction) + 60)
    tokens, out = round(size / BYTES_A_TOKEN), 8 * requests
    dollars = price and (tokens * price[0] + out * price[1]) / 1e6
    return JudgeCost(requests, tokens, out, dollars)


class LLMJudge:
    """A language model behind an OpenAI-compatible server as a judge (the paper's LJ).

    Each distinct pair of candidate and question is one request with one structured answer, so that
    a candidate cannot influence the scores of others. After rate limits, timeouts and server errors
    the request is sent again. An answer that does not have the form of the rubric is requested
    again; if all attempts fail, the item does not get a score. Scores are cached by content under
    ``LEAKREPRO_HOME/scores`` as they arrive. An empty candidate scores 0 without a request.

    ``OPENAI_BASE_URL`` names the server (by default OpenAI's) and ``OPENAI_API_KEY`` is the key.
    The key is only read from the environment and not stored, and it is removed from everything that
    the server says. A local server accepts any key. A redirect to another server is refused. A
    parameter that the server does not take, such as ``temperature``, is left out.

    Each answer is stored as it arrives. After an interrupt (Ctrl-C) the answers under way are
    awaited and stored; a second interrupt does not wait for them.

    Args:
        model: The model's name on the server, such as ``"gpt-4o-mini"``.
        rubric: ``"yes/no"``, or ``"levels"``: 1 to 3 become 0, 0.5 and 1.
        concurrency: Requests at the same time.
        requests_per_minute: Maximum number of requests per minute; None for no limit.
        attempts: Maximum number of requests for an answer of the right form.
        timeout: Seconds until a reply must be complete.
        retries: Maximum number of retries after a failed request, with increasing pauses.
        price: Dollars per million input and output tokens, for the estimate.
        allow_missing: Whether to omit items without a score, which lowers n of their prompt,
            instead of raising.
        cache: Whether to read and store cached scores.

    Attributes:
        id: ``judge/<model>``, with ``/levels`` for that rubric.
        usage: Counts since the metric was created; ``tokens`` as reported by the server.

    Raises:
        MissingExtra: If the package openai is not installed.
        ValueError: If the rubric is unknown, a number is too small, the key is missing, or the
            address of the server is invalid.
    """

    higher_is_better = True

    def __init__(
        self,
        model: str,
        *,
        rubric: str = "yes/no",
        concurrency: int = 16,
        requests_per_minute: float | None = None,
        attempts: int = 3,
        timeout: float = 60.0,
        retries: int = 8,
        price: tuple[float, float] | None = None,
        allow_missing: bool = False,
        cache: bool = True,
    ) -> None:
        require("openai", "a judge", "judge")
        if rubric not in RUBRICS:
            raise ValueError(f"unknown rubric {rubric!r}; known are {', '.join(RUBRICS)}")
        if concurrency < 1 or attempts < 1 or retries < 0:
            raise ValueError("concurrency and attempts must be at least 1, retries at least 0")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, not {timeout}")
        self.id = f"judge/{model}" + ("" if rubric == "yes/no" else f"/{rubric}")
        self.usage = Usage()
        self._model, self._rubric = model, RUBRICS[rubric]
        self._concurrency, self._attempts = concurrency, attempts
        self._timeout, self._retries = timeout, retries
        self._pace = _Pace(requests_per_minute)
        self._price, self._allow_missing = price, allow_missing
        self._server = Server.from_environment()
        name = f"{self.id}/{self._server.name}/{_VERSION}"
        self._cache = ScoreCache(name, remade=False) if cache else None

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``. The estimated cost is printed first.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts, or the
                server rejects the key, the model or the request.
            TypeError: If a candidate is not a string; the message names its prompt.
            IncompleteScores: If items do not get a score and ``allow_missing`` is False. The other
                scores are cached, so that the same call requests only the missing ones.
        """
        distinct = self._distinct(prompts, candidates)
        asked = distinct.unknown()
        if asked:
            provenance.require_stored(f"{len(asked)} answers of {self.id}")
            tqdm.write(f"{self.id}: {self._cost(asked)}", file=sys.stderr)
        usage, reasons = self._ask(asked, distinct)
        self.usage += distinct.usage + usage
        missing = list(distinct.missing(prompts))
        if missing and not self._allow_missing:
            count = sum(n for _, n in missing)
            raise IncompleteScores(
                f"{self.id}: {count} of {distinct.usage.candidates} candidates of "
                f"{len(missing)} prompts ({missing[0][0]!r} first) do not have a score: "
                f"{'; '.join(sorted(reasons)) or 'the judge gave no answer'}. The others are kept; "
                "the same call requests only the missing ones; allow_missing=True omits them"
            )
        return distinct.scores(allow_missing=self._allow_missing)

    def cost(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> JudgeCost:
        """Estimate the cost of ``score`` without sending requests."""
        return self._cost(self._distinct(prompts, candidates).unknown())

    def _distinct(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Distinct:
        check_candidates(prompts, candidates)
        return Distinct(
            (
                [
                    (prompt.messages[-1]["content"], prompt.reference, text)
                    if text.strip()
                    else None
                    for text in texts
                ]
                for prompt, texts in zip(prompts, candidates, strict=True)
            ),
            self._cache,
        )

    def _cost(self, pairs: Sequence[Pair]) -> JudgeCost:
        size = sum(len(content.encode("utf-8", "replace")) for pair in pairs for content in pair)
        return estimate_cost(len(pairs), size, self._rubric, self._price)

    def _ask(self, pairs: Sequence[Pair], distinct: Distinct) -> tuple[Usage, set[str]]:
        """Request all pairs; return the counts and the reasons for missing scores."""
        if not pairs:
            return Usage(), set()
        with tqdm(total=len(pairs), unit="request", desc=self.id, leave=False) as bar:
            run = _Run(self, pairs, distinct, bar)
            # A thread has an event loop of its own, also within a notebook, which runs one.
            threading.Thread(target=run.run, name=self.id, daemon=True).start()
            try:
                run.wait()
            except BaseException:
                run.finish()
                tqdm.write(
                    f"{self.id}: waiting for the answers under way, to keep them; interrupt again "
                    "to leave at once",
                    file=sys.stderr,
                )
                run.wait()
                raise
        if isinstance(run.error, Refused):
            # Not chained: what the server said may repeat the key.
            raise ValueError(f"{self.id}: the server refuses the request: {run.error}") from None
        if run.error is not None:
            raise run.error
        return run.usage, run.reasons

    def _requests(self) -> Requests:
        return Requests(
            self._server,
            self._model,
            self._rubric,
            self._attempts,
            self._retries,
            self._timeout,
            self._pace.delay,
        )


class _Run:
    """The requests of one call, in an event loop.

    Args:
        judge: The judge.
        pairs: The items to request.
        distinct: Receives each score as it arrives, first on disk.
        bar: Counts the items.

    Attributes:
        usage: Counts of the answers.
        reasons: Reasons for missing scores.
        error: What ended the run early; None otherwise.
    """

    def __init__(
        self, judge: LLMJudge, pairs: Sequence[Pair], distinct: Distinct, bar: tqdm[Any]
    ) -> None:
        self.usage, self.reasons = Usage(), set[str]()
        self.error: BaseException | None = None
        self._judge, self._distinct, self._bar = judge, distinct, bar
        self._waiting, self._failures, self._finishing = iter(pairs), 0, False
        self._workers = min(judge._concurrency, len(pairs))
        self._done = threading.Event()
        self._fresh: dict[Pair, float] = {}
        self._storing = asyncio.Lock()
        self._stop: Callable[[], object] = lambda: None

    def run(self) -> None:
        """Request all items; errors are kept in ``error``."""
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self.error = self.error or error
        finally:
            self._done.set()

    def wait(self) -> None:
        """Wait for the end of ``run``; a signal can interrupt it."""
        # Not Thread.join: an interrupted one takes the thread for ended (Python 3.11, bpo-45274).
        while not self._done.wait(0.1):
            pass

    def finish(self) -> None:
        """Send no further requests; those under way go on."""
        self._finishing = True
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._stop()

    async def _all(self) -> None:
        async with self._judge._requests() as requests:
            loop = asyncio.get_running_loop()
            self._stop = functools.partial(loop.call_soon_threadsafe, requests.stop.set)
            if self._finishing:
                requests.stop.set()
            await asyncio.gather(*(self._worker(requests) for _ in range(self._workers)))

    async def _keep(self, pair: Pair, score: float) -> None:
        """Store a score, with those that arrived while the disk was busy."""
        self._fresh[pair] = score
        async with self._storing:
            if pair in self._fresh:
                batch, self._fresh = self._fresh, {}
                await asyncio.to_thread(self._distinct.put, list(batch), list(batch.values()))

    async def _worker(self, requests: Requests) -> None:
        for pair in self._waiting:
            try:
                graded = await requests.grade(pair)
                assert graded.score is not None
                await self._keep(pair, graded.score)
                self.usage += Usage(scored=1, tokens=graded.tokens)
                self._failures = 0
            except NoAnswer as error:
                self.reasons.add(str(error))
            except Unreachable as error:
                self.reasons.add(str(error))
                self._failures += 1
            except Exception as error:
                self.error = self.error or error
                requests.stop.set()
            self._bar.update()
            if self._failures >= _GIVE_UP or requests.stop.is_set():
                requests.stop.set()
                return


class _Pace:
    """Limits the rate of requests of all threads."""

    def __init__(self, per_minute: float | None) -> None:
        if per_minute is not None and not per_minute > 0:
            raise ValueError(f"requests_per_minute must be above 0, not {per_minute}")
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._lock, self._next = threading.Lock(), 0.0

    def delay(self) -> float:
        """Return the seconds to wait before the next request, and count that request."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap
        return at - now
