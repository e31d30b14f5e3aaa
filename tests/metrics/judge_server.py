"""A server with the OpenAI chat protocol whose answers and failures are configurable."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """A reply: the model's text, status, headers, and the delay in seconds.

    ``body`` replaces the whole body; ``drip`` sends it, after the headers, a byte at a time with
    this pause, and ``choice`` replaces fields of the choice.
    """

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    body: bytes | None = None
    drip: float = 0.0
    choice: dict[str, Any] = field(default_factory=dict)


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Value for ``OPENAI_BASE_URL``.
        requests: Bodies of all requests.
        headers: Headers of all requests.
        times: Arrival time of each request, in seconds.
        busiest: Maximum number of simultaneous requests.
        busy: Number of requests in progress.
        paths: Path and query of all requests.
    """

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    busiest: int = 0
    busy: int = 0
    paths: list[str] = field(default_factory=list)

    def items(self) -> list[dict[str, str]]:
        """The judged items, in the order of requests."""
        return [json.loads(body["messages"][1]["content"]) for body in self.requests]


@contextlib.contextmanager
def serve(answer: Callable[[dict[str, str], int], Reply | str]) -> Iterator[Server]:
    """Runs a server.

    Args:
        answer: Returns the reply to an item, given the number of earlier requests for it.
    """
    server = Server()
    lock = threading.Lock()
    seen: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = body["messages"][1]["content"]
            with lock:
                server.requests.append(body)
                server.paths.append(self.path)
                server.headers.append({name.title(): v for name, v in self.headers.items()})
                server.times.append(time.monotonic())
                server.busy += 1
                server.busiest = max(server.busiest, server.busy)
                before = seen.get(content, 0)
                seen[content] = before + 1
            reply = answer(json.loads(content), before)
            if isinstance(reply, str):
                reply = Reply(reply)
            time.sleep(reply.wait)
            with lock:
                server.busy -= 1
            content = json.dumps(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": reply.text},
                            **reply.choice,
                        }
                    ],
                    "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
                }
                if reply.status == 200
                else {"error": {"message": reply.text or "refused"}}
            ).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if reply.body is not None:
                    content = reply.body
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if not reply.drip:
                    self.wfile.write(content)
                    return
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(reply.drip)

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # clients disconnect after a timeout

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()
