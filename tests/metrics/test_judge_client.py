"""The judge's requests: parameters, limits on time and size, redirects, interrupts, and its key."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from judge_server import Reply, Server, serve
from tasks import default_signals

from leakrepro.errors import IncompleteScores
from leakrepro.metrics import LLMJudge
from leakrepro.types import Prompt

KEY = "sk-hidden/+0123456789"
YES, NO = '{"conveys": "yes"}', '{"conveys": "no"}'
PROMPT = Prompt("p0", ({"role": "user", "content": "Who?"},), "Ann", cluster="c", side="forget")


def fair(item: dict[str, str], before: int) -> Reply | str:
    return YES if item["reference"] in item["candidate"] else NO


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield tmp_path
    for file in tmp_path.rglob("*"):
        assert "hidden" not in file.name
        assert not file.is_file() or b"sk-hidden" not in file.read_bytes()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    import contextlib

    with contextlib.ExitStack() as stack:

        def run(answer: Callable[[dict[str, str], int], Reply | str], suffix: str = "") -> Server:
            server = stack.enter_context(serve(answer))
            monkeypatch.setenv("OPENAI_BASE_URL", server.url + suffix)
            return server

        yield run


def score(texts: list[str], **options: Any) -> list[float]:
    options = {"retries": 0, "attempts": 1} | options
    return LLMJudge("m", **options).score([PROMPT], [texts]).values.tolist()


def refusing(**wrong: str) -> Callable[[dict[str, str], int], Reply | str]:
    """A server that does not know some parameters; their values are its messages."""
    server: list[Server] = []

    def answer(item: dict[str, str], before: int) -> Reply | str:
        sent = server[0].requests[-1]
        for name, message in wrong.items():
            if name in sent:
                return Reply(message, 400)
        return fair(item, before)

    answer.server = server  # type: ignore[attr-defined]
    return answer


MAX = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


@pytest.mark.parametrize(
    ("wrong", "missing"),
    [
        ({"temperature": "Unsupported value: 'temperature' does not support 0"}, {"temperature"}),
        ({"seed": "Extra inputs are not permitted: seed"}, {"seed"}),
        ({"response_format": "json_schema is not available"}, {"response_format"}),
        ({"max_tokens": MAX}, {"max_tokens"}),
        ({"max_tokens": MAX, "temperature": "temperature?"}, {"max_tokens", "temperature"}),
        (
            {"max_tokens": MAX, "max_completion_tokens": "max_completion_tokens: unknown"},
            {"max_tokens", "max_completion_tokens"},
        ),
    ],
)
def test_parameters_that_a_server_refuses_are_left_out(
    start: Callable[..., Server], wrong: dict[str, str], missing: set[str]
) -> None:
    answer = refusing(**wrong)
    server = start(answer)
    answer.server.append(server)  # type: ignore[attr-defined]
    assert score(["Ann", "Bob", "Ann B"], concurrency=1) == [1, 0, 1]
    optional = {"response_format", "temperature", "seed", "max_tokens", "max_completion_tokens"}
    sent = [optional & body.keys() for body in server.requests]
    expected = optional - missing
    if "max_tokens" not in missing:
        expected -= {"max_completion_tokens"}
    assert sent[-1] == sent[-2] == expected
    assert len(sent) == 3 + len(wrong)


def test_another_refusal_ends_the_run(start: Callable[..., Server]) -> None:
    server = start(lambda item, before: Reply("the model 'm' does not exist", 400))
    with pytest.raises(ValueError, match="refuses the request: status 400: the model 'm' does not"):
        score(["Ann"])
    assert len(server.requests) == 1


def test_the_key_is_stripped(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\r\n")
    server = start(fair)
    assert score(["Ann"]) == [1]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    for bad in ("  ", "a\nb", "k\u00e9y"):
        monkeypatch.setenv("OPENAI_API_KEY", bad)
        with pytest.raises(ValueError, match="OPENAI_API_KEY"):
            LLMJudge("m")


def test_a_cut_answer_is_requested_with_a_higher_limit(start: Callable[..., Server]) -> None:
    cut = {"finish_reason": "length", "message": {"content": "<think>Hm"}}
    server = start(lambda item, before: Reply(YES, choice={} if before == 2 else cut))
    assert score(["Ann"], attempts=3) == [1]
    assert [body["max_tokens"] for body in server.requests] == [32, 512, 4096]


@pytest.mark.parametrize("length", [None, 400])
def test_the_timeout_holds_for_the_whole_answer(
    start: Callable[..., Server], length: int | None
) -> None:
    start(lambda item, before: Reply(YES, drip=0.1))
    begin = time.monotonic()
    with pytest.raises(IncompleteScores, match=r"no complete reply within 0\.7 seconds"):
        score(["Ann"], timeout=0.7)
    assert time.monotonic() - begin < 5


def test_the_timeout_holds_for_dribbled_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    done = threading.Event()

    def dribble() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not done.wait(0.1):
                connection.sendall(b"x")

    thread = threading.Thread(target=dribble, daemon=True)
    thread.start()
    with pytest.raises(IncompleteScores, match=r"no complete reply within 0\.7 seconds"):
        score(["Ann"], timeout=0.7)
    done.set()
    listener.close()


def test_long_replies_are_not_read(start: Callable[..., Server]) -> None:
    start(lambda item, before: Reply(body=b" " * (5 << 20)))
    with pytest.raises(IncompleteScores, match="a reply of more than 1,048,576 bytes"):
        score(["Ann"])


HIDDEN: list[Callable[[str], str]] = [
    lambda key: key,
    lambda key: quote(key, safe=""),
    lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    lambda key: base64.b64encode(key.encode()).decode(),
    lambda key: key[:14] + "***",
    lambda key: f"<html><a href='?k={quote(key, safe='')}'>{key}</a>",
]


@pytest.mark.parametrize("form", HIDDEN)
@pytest.mark.parametrize("status", [200, 302, 401, 500])
@pytest.mark.parametrize("place", ["body", "message", "content", "refusal"])
def test_what_a_server_says_never_shows_the_key(
    start: Callable[..., Server],
    capfd: pytest.CaptureFixture[str],
    form: Callable[[str], str],
    status: int,
    place: str,
) -> None:
    said = form(KEY)
    message = {"content": said} if place == "content" else {"content": None, "refusal": said}
    reply = Reply(
        said,
        status,
        {"X-Key": KEY, "Location": f"/{KEY}", "Retry-After": KEY},
        body=said.encode() if place == "body" else None,
        choice={"message": message} if place in ("content", "refusal") else {},
    )
    start(lambda item, before: reply)
    with pytest.raises((IncompleteScores, ValueError)) as caught:
        score(["Ann"])
    shown = "".join(traceback.format_exception(caught.value)) + "".join(capfd.readouterr())
    assert said not in shown
    assert all(KEY[i : i + 8] not in shown for i in range(len(KEY) - 7))


def test_secrets_of_the_address_are_not_shown_and_are_not_file_names(
    start: Callable[..., Server], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(lambda item, before: fair(item, before))
    address = server.url.replace("://", "://me:sk-hidden-user@") + "?api_key=sk-hidden-query"
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert score(["Ann"]) == [1]
    assert server.paths == ["/v1/chat/completions?api_key=sk-hidden-query"]
    assert server.headers[0]["Authorization"] == (
        "Basic " + base64.b64encode(b"me:sk-hidden-user").decode()
    )
    (file,) = (home / "scores").glob("*.sqlite")
    assert "127" not in file.name
    # Another key for the same server reads the same scores.
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert score(["Ann"]) == [1]
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://h/v1", "http://", "http://h:x/v1"])
def test_an_invalid_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(ValueError, match="OPENAI_BASE_URL must be an address such as"):
        LLMJudge("m")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_questions_to_another_server(
    start: Callable[..., Server], status: int
) -> None:
    other = start(fair)
    target = other.url + "/chat/completions"
    first = start(lambda item, before: Reply("", status, {"Location": target}))
    with pytest.raises(ValueError, match=r"redirects.*OPENAI_BASE_URL"):
        score(["Ann"])
    assert len(first.requests) == 1
    assert not other.requests


def test_a_redirect_on_the_same_server_is_followed(start: Callable[..., Server]) -> None:
    server = start(
        lambda item, before: Reply("", 307, {"Location": "/v2/chat"}) if not before else YES
    )
    assert score(["Ann"]) == [1]
    assert server.paths == ["/v1/chat/completions", "/v2/chat"]
    start(lambda item, before: Reply("", 308, {"Location": "/v1/chat/completions"}))
    with pytest.raises(ValueError, match="redirects more than 3 times"):
        score(["Ann"])


SCRIPT = """
import sys
from leakrepro.metrics import LLMJudge
from leakrepro.types import Prompt
prompt = Prompt("p0", ({"role": "user", "content": "Who?"},), "Ann", cluster="c", side="forget")
LLMJudge("m", concurrency=4).score([prompt], [[f"Ann {i}" for i in range(12)]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_keeps_all_answers_and_a_kill_pays_only_those_under_way_twice(
    start: Callable[..., Server], number: signal.Signals
) -> None:
    waiting, go = threading.Event(), threading.Event()
    items: list[str] = []

    def answer(item: dict[str, str], before: int) -> Reply | str:
        items.append(item["candidate"])
        if len(items) == 8:
            waiting.set()
        if len(items) > 4:
            go.wait(20)
        return fair(item, before)

    server = start(answer)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    )
    assert waiting.wait(60)
    process.send_signal(number)
    if number == signal.SIGINT:
        time.sleep(0.5)
        assert process.poll() is None
    go.set()
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert len(server.requests) == 8
    if number == signal.SIGINT:
        assert "waiting for the answers under way" in said
        assert "KeyboardInterrupt" in said
    assert score([f"Ann {i}" for i in range(12)], concurrency=1) == [1] * 12
    assert len(server.requests) == (12 if number == signal.SIGINT else 16)


def test_a_judge_works_within_a_running_event_loop(start: Callable[..., Server]) -> None:
    import asyncio

    start(fair)

    async def cell() -> list[float]:
        return score(["Ann", "Bob"])

    assert asyncio.run(cell()) == [1, 0]


def test_nothing_in_the_environment_is_changed(start: Callable[..., Server]) -> None:
    start(fair)
    before = dict(os.environ)
    score(["Ann"])
    assert dict(os.environ) == before
