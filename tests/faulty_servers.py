"""Servers that are wrong in one way each, on loopback: by TLS, by protocol, or by saying nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
from certificates import Authority

Pair = tuple[bytes, bytes]
"""Private key and certificate, both PEM."""


@contextmanager
def accepting(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that gives each connection to `answer`, each in a thread of its own, and then ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def one(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            answer(line)

    def run() -> None:
        while not over.is_set():
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(line,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections, and never says a word."""
    with accepting(lambda line: line.recv(100_000) and line.recv(1)) as port:
        yield port


def saying(words: bytes) -> contextlib.AbstractContextManager[int]:
    """Says these words to whoever says something, and hangs up."""

    def answer(line: socket.socket) -> None:
        line.recv(100_000)
        line.sendall(words)

    return accepting(answer)


@contextmanager
def tls_without_h2(pair: Pair, protocols: Sequence[str] = ()) -> Iterator[int]:
    """Speaks TLS, and offers these protocols by ALPN; none: it knows no ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        file.write_bytes(pair[0] + pair[1])
        context.load_cert_chain(file)
    if protocols:
        context.set_alpn_protocols(list(protocols))

    def answer(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True) as secured:
            secured.recv(1)

    with accepting(answer) as port:
        yield port


@contextmanager
def grpc_server(*pair: bytes, clients_of: Authority | None = None) -> Iterator[int]:
    """A real gRPC server without services; in plaintext without a pair. It may ask for certificates of clients."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    if pair:
        roots = clients_of.pem if clients_of else None
        credentials = grpc.ssl_server_credentials([(pair[0], pair[1])], roots, clients_of is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
