"""Requests to the server of an LLM judge."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from leakrepro.metrics.judge_reply import Graded, Rubric, error_text, read_reply
from leakrepro.metrics.model_scored import Pair
from leakrepro.storage.keys import digest
from leakrepro.storage.secrets import redact, shown_url

OPENAI = "https://api.openai.com/v1"
MAX_BYTES = 1 << 20  # longest reply that is read
_TOKENS = (32, 512, 4096)  # limits on an answer; the next one after an answer was cut off
_REDIRECTS = 3
_LONGEST_PAUSE = 60.0  # seconds
_RETRIED = (408, 409, 425, 429)  # and those from 500 on
_OPTIONAL = ("response_format", "temperature", "seed", "max_tokens", "max_completion_tokens")
_SCHEMA = re.compile("json_schema|json schema|structured output", re.IGNORECASE)


class NoAnswer(Exception):
    """All attempts failed to give a score; the others are not affected."""


class Unreachable(Exception):
    """The server fails or cannot be reached, after all retries."""


class Refused(Exception):
    """The server refuses all requests: its key, model or address is wrong."""


@dataclass(frozen=True)
class Server:
    """A judge's server.

    Attributes:
        url: Base address without user, query and fragment; it can be shown.
        key: The key.
        auth: User and password of the address; None without.
        query: Query of the address, sent with each request.
    """

    url: str
    key: str = field(repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls) -> Server:
        """Read ``OPENAI_API_KEY`` and ``OPENAI_BASE_URL``.

        Raises:
            ValueError: If the key is missing or not printable ASCII, or the address is invalid.
        """
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key:
            raise ValueError(
                "a judge needs a key: set OPENAI_API_KEY (a server of your own, named by "
                "OPENAI_BASE_URL, takes any)"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("OPENAI_API_KEY has characters that cannot be part of a key")
        address = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI
        try:
            parts = urlsplit(address)
            parts.port  # noqa: B018 - raises for an invalid port
            valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            valid = False
        if not valid:
            raise ValueError("OPENAI_BASE_URL must be an address such as http://localhost:8000/v1")
        user = (parts.username or "", parts.password or "")
        return cls(shown_url(address), key, user if any(user) else None, parts.query)

    @property
    def name(self) -> str:
        """Name for files: empty for OpenAI's own server, else a hash of the address."""
        return "" if self.url.rstrip("/") == OPENAI else digest(self.url)[:16]

    def redact(self, text: str) -> str:
        """Return what the server said without the key and the other secrets of the address."""
        values = [part.partition("=")[2] for part in self.query.split("&")]
        return redact(text, [self.key, *(self.auth or ()), *values])


@dataclass
class Requests:
    """Sends the requests of a judge; for one event loop.

    Attributes:
        server: The server.
        model: Name of the model on the server.
        rubric: The rubric.
        attempts: Maximum number of requests for an answer of the right form.
        retries: Maximum number of retries after a failed request.
        timeout: Seconds until a reply must be complete.
        delay: Seconds that the next request must wait for the rate limit.
        stop: Set to end retries.
    """

    server: Server
    model: str
    rubric: Rubric
    attempts: int
    retries: int
    timeout: float
    delay: Callable[[], float]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._left_out: set[str] = set()
        self._limit = "max_tokens"

    async def __aenter__(self) -> Requests:
        import openai

        # Newer versions of openai build on httpx2 instead of httpx.
        name = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
        self._http = importlib.import_module(name)
        self._client = openai.DefaultAsyncHttpxClient(
            auth=self.server.auth,
            timeout=self.timeout,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )
        if self.server.auth is None:
            self._client.headers["Authorization"] = f"Bearer {self.server.key}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def grade(self, pair: Pair) -> Graded:
        """Return the score of an item.

        Raises:
            NoAnswer: If no reply has a score.
            Unreachable: If the server fails after all retries.
            Refused: If the server refuses the request.
        """
        tokens = cuts = 0
        reasons: dict[str, None] = {}
        for attempt in range(self.attempts):
            limit = _TOKENS[min(cuts, len(_TOKENS) - 1)]
            graded = await self._complete(pair, attempt, limit)
            tokens += graded.tokens
            if graded.score is not None:
                return Graded(graded.score, tokens=tokens)
            cuts += graded.cut
            reasons[self.server.redact(graded.reason)] = None
            if self.stop.is_set():
                break
        raise NoAnswer(f"{self.attempts} times: {'; '.join(reasons)}")

    async def _complete(self, pair: Pair, seed: int, limit: int) -> Graded:
        """Request one completion; leave out parameters that the server does not know."""
        while True:
            request = self._body(pair, seed, limit)
            status, body = await self._send(request)
            if len(body) > MAX_BYTES:
                return Graded(None, f"a reply of more than {MAX_BYTES:,} bytes")
            if status == 200:
                return read_reply(body, self.rubric)
            said = _error(body)
            if status not in (400, 422) or not self._leave_out(said, request):
                raise Refused(f"status {status}: {self._short(said)}")

    def _short(self, said: str) -> str:
        return " ".join(self.server.redact(said).split())[:200]

    def _body(self, pair: Pair, seed: int, limit: int) -> dict[str, Any]:
        question, reference, candidate = pair
        item = {"question": question, "reference": reference, "candidate": candidate}
        schema = {
            "type": "object",
            "properties": {self.rubric.field: {"enum": list(self.rubric.scores)}},
            "required": [self.rubric.field],
            "additionalProperties": False,
        }
        optional = {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "grade", "strict": True, "schema": schema},
            },
            "temperature": 0,
            # A server may answer an identical request from its cache.
            "seed": seed,
            self._limit: limit,
        }
        return {
            "model": self.model,
            "messages": [
                {"role": "system", "content": self.rubric.instruction},
                {"role": "user", "content": json.dumps(item)},
            ],
            **{name: each for name, each in optional.items() if name not in self._left_out},
        }

    def _leave_out(self, said: str, body: dict[str, Any]) -> bool:
        """Leave out the parameters of a request that an error names; return whether it does."""
        sent = [name for name in _OPTIONAL if name in body]
        named = [name for name in sent if re.search(rf"(?<![\w-]){name}(?![\w-])", said)]
        if not named and "response_format" in sent and _SCHEMA.search(said):
            named = ["response_format"]
        changed = set(named) - self._left_out - {"max_tokens"}
        self._left_out |= changed
        if "max_tokens" in named:
            self._limit = "max_completion_tokens"
        if changed:
            tqdm.write(
                f"{self.model}: the server does not take {', '.join(changed)}, which is left out",
                file=sys.stderr,
            )
        return bool(named)

    async def _send(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body of a reply; failures of the server are retried."""
        for retry in range(self.retries + 1):
            if await self._stopped(self.delay()):
                raise Unreachable("stopped before the request was sent")
            pause = min(0.5 * 2**retry, 8.0) * (1 - 0.25 * random.random())
            try:
                async with asyncio.timeout(self.timeout):
                    status, content, wait = await self._post(body)
            except TimeoutError:
                said = f"no complete reply within {self.timeout:g} seconds"
            except (self._http.HTTPError, self._http.InvalidURL, OSError) as error:
                said = self._short(f"{type(error).__name__}: {error}")
            else:
                if status not in _RETRIED and status < 500:
                    return status, content
                said = f"status {status}: {self._short(_error(content))}"
                pause = pause if wait is None else wait
            if retry == self.retries:
                break
            if await self._stopped(pause):
                break
        raise Unreachable(said)

    async def _stopped(self, seconds: float) -> bool:
        """Wait, unless the run is stopped; return whether it is."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), seconds)
        return self.stop.is_set()

    async def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float | None]:
        """Post to the server: status, at most ``MAX_BYTES`` + 1 bytes, and seconds to wait."""
        url = f"{self.server.url.rstrip('/')}/chat/completions"
        if self.server.query:
            url += f"?{self.server.query}"
        for _ in range(_REDIRECTS):
            async with self._client.stream("POST", url, json=body) as reply:
                if reply.status_code in (307, 308) and "location" in reply.headers:
                    url = self._redirected(url, reply.headers["location"])
                    continue
                if 300 <= reply.status_code < 400:
                    raise Refused(
                        f"status {reply.status_code}: {self.server.url} redirects; set "
                        "OPENAI_BASE_URL to the final address"
                    )
                content = bytearray()
                async for chunk in reply.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        break
                return reply.status_code, bytes(content[: MAX_BYTES + 1]), _wait(reply.headers)
        raise Refused(f"{self.server.url} redirects more than {_REDIRECTS} times")

    def _redirected(self, url: str, location: str) -> str:
        """Return the target of a redirect, which must be on the same server."""
        target = urljoin(url, location)
        try:
            same = _origin(target) == _origin(url)
        except ValueError:
            same = False
        if not same:
            raise Refused(
                f"{self.server.url} redirects to another server, "
                f"{self._short(repr(shown_url(target)))}, to which questions are not sent; if it "
                "is right, set OPENAI_BASE_URL to it"
            )
        return target


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, at most a minute; None if it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= wait < float("inf"):
            return min(wait, _LONGEST_PAUSE)
    return None


def _error(body: bytes) -> str:
    """Return the message of an error reply, with the parameter that it names."""
    text = body.decode("utf-8", "replace")
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return text or "an empty reply"
    error = reply.get("error") if isinstance(reply, dict) else None
    named = error.get("param") if isinstance(error, dict) else None
    return error_text(reply) + (f" ({named})" if isinstance(named, str) else "")
