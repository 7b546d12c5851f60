"""The sandbox as a running thing: gateway and identity provider on loopback, over one store.

``Sandbox.start`` is for programs and tests, ``main`` for the command line. This room opens ports, writes the ready file
and tells where to connect; what a call may do and what it answers is decided elsewhere. It listens on 127.0.0.1 only
and without TLS. No secret is logged; it is printed only where nothing else would tell it.

The issuer's URL contains the HTTP port. With port 0 it is another one in every run, and tokens of an earlier run are
refused for their issuer; a fixed port keeps them valid over a restart on the same data file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from invora_grpc.catalog import catalog
from invora_grpc.sandbox import (
    documents,
    engine,
    identity,
    regulations,
    regulations_enrollment,
    regulations_zatca,
    simple,
)
from invora_grpc.sandbox.dispatch import Dispatcher, load_messages
from invora_grpc.sandbox.idp import TOKEN_LIFETIME, CannotListen, bind_http, identity_provider, serve_http
from invora_grpc.sandbox.launch import main as main  # the way in that the command line knows
from invora_grpc.sandbox.model import NotASandboxFile
from invora_grpc.sandbox.ready import CREDENTIALS, ReadyFile
from invora_grpc.sandbox.reflection import reflection_handlers
from invora_grpc.sandbox.seeds import Credentials, main_organization, new_credentials, seed, still_valid
from invora_grpc.sandbox.service import Registry
from invora_grpc.sandbox.standing import Conditions, conditions, set_conditions
from invora_grpc.sandbox.store import Store

HOST: Final = "127.0.0.1"
MAX_RECEIVE_BYTES: Final = 16 * 1024 * 1024
MAX_METADATA_BYTES: Final = 64 * 1024
HANDLERS: Final[Registry] = {
    **identity.REGISTRY,
    **simple.REGISTRY,
    **documents.REGISTRY,
    **engine.REGISTRY,
    **regulations.REGISTRY,
    **regulations_enrollment.REGISTRY,
    **regulations_zatca.REGISTRY,
}
"""Every handler that the sandbox has, by path."""

_HEALTH = "grpc.health.v1.Health"
_GRACE = 2.0  # seconds
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a second server behind it
)


class Sandbox:
    """A running sandbox. Make it with ``await Sandbox.start(...)`` and end it with ``await sandbox.stop()``."""

    def __init__(self, store: Store, issuer: str, grpc_target: str, credentials: Credentials) -> None:
        self.store = store
        self.issuer = issuer
        self.http = issuer
        """Base URL of the identity provider."""
        self.grpc = grpc_target
        """host:port of the gateway."""
        self.credentials = credentials
        """The main organization's clients."""
        self._stack = AsyncExitStack()
        self._grace: float | None = _GRACE

    @property
    def org_id(self) -> str:
        """The main organization."""
        return self.credentials.org_id

    @property
    def client_id(self) -> str:
        """Its client that may do everything."""
        return self.credentials.client_id

    @property
    def client_secret(self) -> str:
        """The secret of that client."""
        return self.credentials.client_secret

    @property
    def authority(self) -> Conditions:
        """How the tax authority behaves; may be changed at any time."""
        return conditions(self.store)

    @classmethod
    async def start(
        cls,
        data: str | os.PathLike[str] = ":memory:",
        grpc_port: int = 0,
        http_port: int = 0,
        seed: str = "demo",
        ready_file: str | os.PathLike[str] | ReadyFile | None = None,
        clock: Callable[[], float] = time.time,
        token_lifetime: int = TOKEN_LIFETIME,
        reporting_delay: float = 0.0,
        authority: str = "up",
    ) -> Sandbox:
        """Serve in the current loop and return once both ports answer. Port 0 takes a free one.

        ``seed`` fills a new data file; one that has organizations stays as it is. Its credentials are then those of the
        ready file if that is still there and they are still valid, else two new clients of the same organization.
        ``reporting_delay`` (seconds) and ``authority`` ("up" or "down") say how the tax authority behaves; the seed is
        not concerned, and ``sandbox.authority`` changes it later. Raises CannotListen, NotASandboxFile, NotAReadyFile,
        ValueError (an unknown seed, or behaviour), OSError (the ready file).
        """
        if not isinstance(ready_file, ReadyFile | None):
            ready_file = ReadyFile.take(ready_file, data)  # until both ports answer, nothing may look ready
        async with AsyncExitStack() as stack:
            if ready_file:
                stack.push(partial(_give_back, ready_file))
            store = stack.enter_context(Store.open(data, clock=clock))
            listener = bind_http(HOST, http_port)
            stack.callback(listener.close)
            issuer = f"http://{HOST}:{listener.getsockname()[1]}"
            load_messages()
            checker = cast(Any, health).aio.HealthServicer()  # its stubs leave asyncio out
            server = _gateway(store, issuer, checker)
            port = _bind_grpc(server, grpc_port)
            credentials = _credentials(store, seed, ready_file)
            set_conditions(store, authority, reporting_delay)
            sandbox = cls(store, issuer, f"{HOST}:{port}", credentials)
            provider = identity_provider(store, issuer, lifetime=token_lifetime)
            running = await serve_http(provider, HOST, 0, bound=listener)
            stack.push_async_callback(running.stop)
            await server.start()
            stack.push_async_callback(sandbox._stop_serving, server)
            await _all_serving(checker)
            stack.push_async_callback(checker.enter_graceful_shutdown)
            if ready_file:
                stack.callback(ready_file.remove, ready_file.write(sandbox._told()))
            sandbox._stack = stack.pop_all()
        return sandbox

    async def stop(self, grace: float | None = _GRACE) -> None:
        """Finish the calls at hand within ``grace`` seconds, close both ports and the store, remove the ready file.

        Stopping twice is harmless.
        """
        self._grace = grace
        await self._stack.aclose()

    def _told(self) -> dict[str, str]:
        """What the ready file tells."""
        told = {"grpc": self.grpc, "http": self.http, "issuer": self.issuer}
        return told | {name: getattr(self.credentials, name) for name in CREDENTIALS}

    async def _stop_serving(self, server: Any) -> None:
        await server.stop(self._grace)


def _gateway(store: Store, issuer: str, checker: Any) -> Any:
    """The gRPC server with all its services, not listening yet."""
    server = grpc.aio.server(options=_OPTIONS)
    services = [service.name for service in catalog()]
    server.add_generic_rpc_handlers((Dispatcher(store, issuer, HANDLERS), *reflection_handlers((*services, _HEALTH))))
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    return server


def _bind_grpc(server: Any, port: int) -> int:
    """The port that the server will listen on. Raises CannotListen."""
    if port:
        bind_http(HOST, port).close()  # fails with a readable text, where grpc logs lines of its own
    try:
        bound: int = server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {HOST}:{port}; choose another port, or 0 for a free one") from error
    return bound


async def _all_serving(checker: Any) -> None:
    for service in catalog():
        await checker.set(service.name, health_pb2.HealthCheckResponse.SERVING)


def _give_back(ready: ReadyFile, *failure: object) -> None:
    if any(failure):
        ready.give_back()


def _credentials(store: Store, name: str, ready: ReadyFile | None) -> Credentials:
    """Who may sign in: the clients of a new seed, those that the former run's ready file tells, or two more."""
    main = main_organization(store)
    former = ready.former if ready else None
    left = Credentials(*(former[one] for one in CREDENTIALS)) if former else None
    if main is None:
        return seed(store, name)
    if left and left.org_id == main.org_id and still_valid(store, left):
        return left
    return new_credentials(store, main.org_id)


# The command line


async def run(
    grpc_port: int,
    http_port: int,
    data: str,
    seed: str,
    ready: ReadyFile | None,
    reporting_delay: float = 0.0,
    authority: str = "up",
) -> int:
    """Start, tell where, wait for a signal, stop. What cannot be started is one line on stderr and exit code 1."""
    with _stop_signal() as stopped:
        try:
            sandbox = await Sandbox.start(
                *(data, grpc_port, http_port, seed, ready), reporting_delay=reporting_delay, authority=authority
            )
        except CannotListen as error:
            return _failed(error.strerror or str(error))
        except (NotASandboxFile, ValueError, OverflowError) as error:
            return _failed(str(error))
        except OSError as error:
            return _failed(f"{ready.path if ready else data}: the ready file cannot be written ({error.strerror})")
        try:
            print("\n".join(_announcement(sandbox, data, ready)), flush=True)
            await stopped.wait()
        finally:
            await sandbox.stop()
    return 0


def _failed(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, where the platform lets a loop handle signals."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def _announcement(sandbox: Sandbox, data: str, ready: ReadyFile | None) -> list[str]:
    lines = [
        f"The Invora sandbox is running ({'in memory' if data == ':memory:' else data}); stop it with Ctrl+C",
        f"  gRPC (plaintext)  {sandbox.grpc}",
        f"  issuer            {sandbox.issuer}",
        f"  organization      {sandbox.org_id}",
        f"  client id         {sandbox.client_id}",
    ]
    if ready is None:
        lines.append(f"  client secret     {sandbox.client_secret}   (a sandbox secret, good for nothing else)")
    else:
        lines.append(f"  client secret     in {ready.path}")
    return lines
