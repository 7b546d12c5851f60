"""A stand-in for the schema registry: it answers what buf asks for, over TLS on the loopback interface.

It speaks the Connect protocol (unary calls with binary bodies) as far as buf needs it to resolve, pin and download
modules: GetCommits, GetGraph, Download, GetModules and GetOwners. Digests are
computed the way buf checks them (b5), so that a wrong one is found out by buf itself.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import socket
import socketserver
import ssl
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from certificates import Authority, authority
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from proto_text import message, rpc

CREATED = 1_750_000_000
"""When every commit was made, in seconds since 1970: the answers are the same each time."""

_WIRE = """
message Ref { message Name { string owner = 1; string module = 2; string label = 3; string ref = 4; }
  string id = 1; Name name = 2; }
message Digest { int32 type = 1; bytes value = 2; }
message Time { int64 seconds = 1; }
message Commit { string id = 1; Time created = 2; string owner_id = 3; string module_id = 4; Digest digest = 5; }
message Node { string commit_id = 1; }
message Edge { Node from_node = 1; Node to_node = 2; }
message Graph { repeated Commit commits = 1; repeated Edge edges = 2; }
message File { string path = 1; bytes content = 2; }
message Content { Commit commit = 1; repeated File files = 2; }
message Module { string id = 1; Time created = 2; Time updated = 3; string called = 4; string owner_id = 5;
  int32 visibility = 6; int32 state = 7; string default_label = 10; }
message Organization { string id = 1; Time created = 2; Time updated = 3; string called = 4; }
message Owner { Organization organization = 2; }
message Refs { repeated Ref refs = 1; }
message Wanted { Ref ref = 1; }
message DownloadRequest { repeated Wanted values = 1; }
message Commits { repeated Commit commits = 1; }
message GraphAnswer { Graph graph = 1; }
message Contents { repeated Content contents = 1; }
message Modules { repeated Module modules = 1; }
message Owners { repeated Owner owners = 1; }
"""
"""The part of the registry's messages that is used here: its field numbers, our names."""


@dataclass(frozen=True)
class Commit:
    """One state of a module, as it was pushed."""

    owner: str
    module: str
    files: Mapping[str, bytes]
    """Path in the module → content."""
    dependencies: tuple[Commit, ...] = ()
    """The commits that it was built against, with theirs."""

    @cached_property
    def id(self) -> str:
        """32 hexadecimal digits that follow from the content."""
        return _id(self.owner, self.module, self.digest.hex())

    @cached_property
    def digest(self) -> bytes:
        """The b5 digest: over the digest of the sorted list of files and those of the dependencies."""
        manifest = "".join(f"{_shake(data)}  {path}\n" for path, data in sorted(self.files.items()))
        below = sorted(f"b5:{commit.digest.hex()}" for commit in self.closure[1:])
        return hashlib.shake_256("\n".join([_shake(manifest.encode()), *below]).encode()).digest(64)

    @cached_property
    def closure(self) -> tuple[Commit, ...]:
        """Itself and all that it needs, each module once."""
        found = {(self.owner, self.module): self}
        for dependency in self.dependencies:
            for commit in dependency.closure:
                found.setdefault((commit.owner, commit.module), commit)
        return tuple(found.values())


@dataclass
class Registry:
    """What is on the shelves, and what was asked for."""

    commits: dict[str, Commit] = field(default_factory=dict)
    """Commit id → commit."""
    latest: dict[tuple[str, str], Commit] = field(default_factory=dict)
    """Owner and module → the commit that the default label names."""
    token: str | None = None
    """Who does not send it is refused; None lets everybody in."""
    deprecated: bool = False
    """Whether all modules say so of themselves, which buf warns about."""
    tampered: dict[str, bytes] = field(default_factory=dict)
    """Path → what is sent instead of the file's content."""
    calls: list[tuple[str, str | None]] = field(default_factory=list, repr=False)
    """The procedure and the Authorization header of every request, in order."""
    host: str = ""
    """`127.0.0.1:PORT`."""
    roots: Path = Path()
    """The PEM file of the authority that signed the server's certificate."""

    def push(self, *commits: Commit) -> None:
        """Make these the newest commits of their modules."""
        for commit in commits:
            self.commits[commit.id] = commit
            self.latest[commit.owner, commit.module] = commit

    def answer(self, procedure: str, body: bytes) -> Message:
        """What the registry says to a call of `Service/Method`; raises LookupError for what is not there."""
        if procedure == "DownloadService/Download":
            wanted = [self._find(value.ref) for value in _parse("DownloadRequest", body).values]
            return _message("Contents", contents=[self._content(commit) for commit in wanted])
        refs = _parse("Refs", body).refs
        if procedure == "CommitService/GetCommits":
            return _message("Commits", commits=[_commit(self._find(ref)) for ref in refs])
        if procedure == "GraphService/GetGraph":
            return _message("GraphAnswer", graph=_graph([self._find(ref) for ref in refs]))
        if procedure == "ModuleService/GetModules":
            return _message("Modules", modules=[self._module(ref.id) for ref in refs])
        if procedure == "OwnerService/GetOwners":
            return _message("Owners", owners=[self._owner(ref.id) for ref in refs])
        raise LookupError(f"no procedure {procedure} here")

    def _find(self, ref: Any) -> Commit:
        if ref.id or ref.name.ref in self.commits:
            return self.commits[ref.id or ref.name.ref]
        try:
            return self.latest[ref.name.owner, ref.name.module]
        except KeyError:
            raise LookupError(f'module "{ref.name.owner}/{ref.name.module}" was not found') from None

    def _content(self, commit: Commit) -> Message:
        files = {path: self.tampered.get(path, data) for path, data in commit.files.items()}
        shipped = [_message("File", path=path, content=data) for path, data in sorted(files.items())]
        return _message("Content", commit=_commit(commit), files=shipped)

    def _module(self, wanted: str) -> Message:
        for owner, name in self.latest:
            if _id(owner, name) == wanted:
                return _message(
                    "Module",
                    id=wanted,
                    called=name,
                    owner_id=_id(owner),
                    visibility=1,
                    state=1 + self.deprecated,
                    default_label="main",
                )
        raise LookupError(f"no module {wanted}")

    def _owner(self, wanted: str) -> Message:
        for owner, _ in self.latest:
            if _id(owner) == wanted:
                return _message("Owner", organization=_message("Organization", id=wanted, called=owner))
        raise LookupError(f"no owner {wanted}")


@contextlib.contextmanager
def running_registry(folder: Path, *hosts: str) -> Iterator[Registry]:
    """A registry on a free port; its certificate is for 127.0.0.1 and `hosts`. `folder` takes PEM files."""
    registry, signer = Registry(), authority()
    registry.roots = folder / "roots.pem"
    registry.roots.write_bytes(signer.pem)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.registry = registry
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    server.socket = _context(signer, folder, hosts).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _context(signer: Authority, folder: Path, hosts: Sequence[str]) -> ssl.SSLContext:
    key, certificate = signer.issue("127.0.0.1", *hosts)
    both = folder / "server.pem"
    both.write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: Registry

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news; anything else is, since a test would wait for it in vain."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out in one piece; in two, the second waits 40 ms for an acknowledgement
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        procedure = self.path.rpartition(".")[2]
        authorization = self.headers.get("authorization")
        registry = self.server.registry
        registry.calls.append((procedure, authorization))
        if registry.token is not None and authorization != f"Bearer {registry.token}":
            self._refuse(401, "unauthenticated", "who are you?")
            return
        try:
            self._send(200, "application/proto", registry.answer(procedure, body).SerializeToString())
        except LookupError as error:
            self._refuse(404, "not_found", str(error.args[0]))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, "application/json", json.dumps({"code": code, "message": message}).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """`calls` is the log."""


def _shake(data: bytes) -> str:
    return f"shake256:{hashlib.shake_256(data).hexdigest(64)}"


def _id(*words: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(words)).hex


def _commit(commit: Commit) -> Message:
    return _message(
        "Commit",
        id=commit.id,
        created=_message("Time", seconds=CREATED),
        owner_id=_id(commit.owner),
        module_id=_id(commit.owner, commit.module),
        digest=_message("Digest", type=1, value=commit.digest),
    )


def _graph(roots: Sequence[Commit]) -> Message:
    nodes = {commit.id: commit for root in roots for commit in root.closure}
    edges = [
        _message("Edge", from_node=_message("Node", commit_id=start), to_node=_message("Node", commit_id=end.id))
        for start, commit in nodes.items()
        for end in commit.dependencies
    ]
    return _message("Graph", commits=[_commit(commit) for commit in nodes.values()], edges=edges)


@cache
def _wire() -> MethodDescriptor:
    return rpc(_WIRE + "message Root {}")


def _message(kind: str, /, **fields: Any) -> Message:
    return message(_wire(), f"p.{kind}", **fields)


def _parse(kind: str, data: bytes) -> Any:
    return type(_message(kind)).FromString(data)


@contextlib.contextmanager
def running_tunnel(address: str) -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy on a free port that leads every CONNECT to `address`: its URL, and the hosts asked for.

    With it a client that insists on a host of its own, and on HTTPS, ends at the stand-in.
    """
    asked: list[str] = []

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().split()[1].decode())
            while self.rfile.readline().strip():
                pass
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as inner:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pour, args=(inner, self.connection), daemon=True)
                back.start()
                _pour(self.connection, inner)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    """Copy until one side ends, then say so to the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
