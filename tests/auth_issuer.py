"""An identity provider for tests of the token sources: a real HTTP server on loopback, counted and told what to say."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from urllib.parse import parse_qsl

from invora_grpc.issuer import SHARED

PLAIN = "cl1ent" + "-s3cret&="
Reply = tuple[int, dict[str, str], bytes] | Callable[[socket], None]
"""Status, headers and body; or a function that writes to the connection whatever it likes."""


class Issuer:
    """An identity provider: what it is asked is counted, what it answers can be replaced."""

    def __init__(self, port: int = 0) -> None:
        self.protocol = "HTTP/1.0"
        self.discoveries = 0
        self.forms: list[dict[str, str]] = []
        self.on_discovery: Callable[[], Reply] = lambda: as_json(self.document())
        self.on_token: Callable[[int], Reply] = lambda number: as_json(self.grant(number))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.discoveries += self.path == "/.well-known/openid-configuration"
                self.reply(outer.on_discovery())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.forms.append(dict(parse_qsl(body, strict_parsing=True)))
                self.reply(outer.on_token(len(outer.forms)))

            def parse_request(self) -> bool:
                self.protocol_version = outer.protocol
                return super().parse_request()

            def reply(self, reply: Reply) -> None:
                if callable(reply):
                    return reply(self.connection)
                status, headers, body = reply
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that hang up in the middle of an answer are what some tests are about."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        SHARED.forget(self.url)  # an earlier one had the same port

    def document(self, **changes: object) -> dict[str, object]:
        return {"issuer": self.url, "token_endpoint": f"{self.url}/oauth/v2/token", **changes}

    def grant(self, number: int, **changes: object) -> dict[str, object]:
        return {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 43_200, **changes}


@contextmanager
def running_issuer(port: int = 0) -> Iterator[Issuer]:
    """An issuer that listens on this port of 127.0.0.1, else on a free one."""
    issuer = Issuer(port)
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()


class Clock:
    """Seconds that pass when a test says so, and while it sleeps: `clock.sleep` takes no time and is written down."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def as_json(document: object, status: int = 200) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(document).encode()


def never() -> float:
    """A jitter that spreads nothing."""
    return 0.0


def text_with_locals(error: BaseException) -> str:
    """All that a traceback with local variables shows, below the test's own frame."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
