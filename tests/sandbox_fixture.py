"""A real sandbox on loopback for tests: its loop runs in a thread of its own, tests talk to it as any client does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import httpx
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from invora_grpc.call import message_class
from invora_grpc.catalog import Method, catalog
from invora_grpc.sandbox.server import Sandbox

T = TypeVar("T")


@dataclass
class Refusal:
    """A status other than OK, with its details decoded."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status
    trailers: dict[str, str | bytes]

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        """The ErrorInfo that every refusal has."""
        return self.detail(error_details_pb2.ErrorInfo)

    @property
    def reason(self) -> str:
        """ErrorInfo.reason."""
        return str(self.info.reason)

    @property
    def fields(self) -> list[str]:
        """The fields that BadRequest names."""
        return [one.field for one in self.detail(error_details_pb2.BadRequest).field_violations]

    def detail(self, kind: Any) -> Any:
        """The detail of this message type; fails if there is none."""
        for packed in self.status.details:
            found = kind()
            if packed.Unpack(found):
                return found
        raise AssertionError(f"no {kind.DESCRIPTOR.full_name} in {self.status}")


def refusal_of(error: grpc.RpcError) -> Refusal:
    """What an error of a blocking call says."""
    call: Any = error
    trailers = dict(call.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    return Refusal(call.code(), call.details(), status, trailers)


@dataclass
class Running:
    """A running sandbox as its clients see it."""

    sandbox: Sandbox
    loop: asyncio.AbstractEventLoop
    _channels: list[grpc.Channel] = field(default_factory=list)
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """grpc, http, issuer, org_id, client_id, client_secret, credentials and store of the sandbox."""
        return getattr(self.sandbox, name)

    def channel(self) -> grpc.Channel:
        """The one channel to the gateway, closed with the sandbox."""
        if not self._channels:
            self._channels.append(grpc.insecure_channel(self.sandbox.grpc))
        return self._channels[0]

    def sign_in(self, client_id: str, client_secret: str) -> httpx.Response:
        """The token endpoint's answer."""
        form = {"grant_type": "client_credentials", "scope": "openid"}
        form |= {"client_id": client_id, "client_secret": client_secret}
        return httpx.post(f"{self.sandbox.http}/oauth/v2/token", data=form)

    def token(self, client_id: str | None = None, client_secret: str | None = None) -> str:
        """An access token; of the main organization's owner, unless a client is given. Kept for the next time."""
        who = client_id or self.sandbox.client_id, client_secret or self.sandbox.client_secret
        if who not in self._tokens:
            answer = self.sign_in(*who)
            answer.raise_for_status()
            self._tokens[who] = answer.json()["access_token"]
        return self._tokens[who]

    def viewer(self) -> str:
        """An access token of the main organization's viewer."""
        own = self.sandbox.credentials
        return self.token(own.viewer_client_id, own.viewer_client_secret)

    def call(
        self,
        path: str,
        request: Message | None = None,
        token: str | None = None,
        org: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Any:
        """Call an RPC by any name that the catalog knows; as the owner, unless a token is given. Raises RpcError."""
        method = catalog().method(path)
        sent = [("authorization", f"Bearer {token or self.token()}"), *metadata]
        if org is not None:
            sent.append(("x-target-org-id", org))
        return self.raw(method, sent, request)[0]

    def raw(
        self, method: Method, metadata: Sequence[tuple[str, str]], request: Message | None = None
    ) -> tuple[Any, dict[str, str | bytes]]:
        """Call with exactly this metadata: the response and its trailers."""
        stub: Any = self.channel().unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(method.response).FromString,
        )
        response, call = stub.with_call(request or message_class(method.request)(), metadata=metadata, timeout=10)
        return response, dict(call.trailing_metadata())

    def refusal(self, path: str, request: Message | None = None, **options: Any) -> Refusal:
        """The refusal that this call gets; fails if it is answered."""
        try:
            response = self.call(path, request, **options)
        except grpc.RpcError as error:
            return refusal_of(error)
        raise AssertionError(f"{path} was answered: {response}")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the sandbox's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)


@contextlib.contextmanager
def running_sandbox(**options: Any) -> Iterator[Running]:
    """Start a sandbox with the options of ``Sandbox.start`` and stop it at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        sandbox = asyncio.run_coroutine_threadsafe(Sandbox.start(**options), loop).result(20)
        running = Running(sandbox, loop)
        try:
            yield running
        finally:
            for channel in running._channels:
                channel.close()
            running.run(sandbox.stop(0.2))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
