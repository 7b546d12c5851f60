"""`AsyncInvora`: the same client for asyncio, over grpc.aio. No thread is started but for what has no asyncio form.

A client belongs to the event loop of its first call; once that is closed, it opens another channel in the next loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from invora_grpc.attempt import Attempt, keys_of, scope_of, shape_of
from invora_grpc.auth import TokenSource
from invora_grpc.auth_aio import AsyncTokens
from invora_grpc.call import DEFAULT_TIMEOUT, bind, request
from invora_grpc.channel import ChannelOption, ClientCertificate, open_aio_channel, sealed
from invora_grpc.config import Secret, load_settings, wrapped
from invora_grpc.driver import (
    aclaim,
    aend,
    arecovered,
    areflected,
    asend,
    awaited,
    linked,
)
from invora_grpc.paging import AsyncItems, AsyncPages
from invora_grpc.status import RpcError
from invora_grpc.streaming_aio import AsyncClientStreamRpc, AsyncStreamRpc
from invora_grpc.tree import Area, Client, Rpc, documented

if TYPE_CHECKING:
    from invora_api.clients import AsyncTree
    from invora_grpc.connection import SchemaPolicy
    from invora_grpc.idempotency import Ledger
    from invora_grpc.metadata import Pair
    from invora_grpc.observer import Observer
    from invora_grpc.schema.descriptors import Schema
else:
    AsyncTree = object

__all__ = ["AsyncClient", "AsyncInvora", "AsyncUnaryRpc"]


class AsyncUnaryRpc(Rpc):
    """One RPC of a client: await it with keyword arguments, a mapping, or a message; it returns the response message.

    Raises RequestError if the request does not fit the schema, before it is sent; SignInError if no token can be had;
    OutcomeUnknown if a write may or may not have been carried out; and a subclass of RpcError for every other status
    than OK. What is sent again by itself, and when: see `invora_grpc.retry.RetryClass`.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    async def __call__(self, given: object = None, /, **fields: object) -> Any:
        connection, options = self._connection, self._options
        link = linked(connection, self.method)
        message, claim = request(link.binding, given, fields), None
        if link.plan is not None or options.idempotency_key is not None:
            keys = keys_of(link, options, message, fields or given)
            if link.plan is not None:
                scope = scope_of(link, connection, options)
                claim = await aclaim(connection.ledger, scope, link.method.path, keys, link.plan.fingerprint(message))
                message = link.plan.with_keys(message, claim.keys)
        call, sent = Attempt(connection, options, link, message, claim), False
        try:
            call.watch()
            started, timeout, ready = connection.clock(), options.timeout, options.peek()
            if ready is None or connection.pauses:
                timeout = await awaited(call, started)
            else:
                call.secret = ready
            sent = True
            answer = await asend(call, timeout)
            if isinstance(answer, RpcError):
                answer = await arecovered(call, answer, started, partial(asend, call))
        except BaseException as error:
            answer = None  # else a cycle: the error in there holds this frame by its traceback
            await aend(call, error, call.standing(error, sent))
            raise
        if claim is not None or call.seen is not None:
            await aend(call, None, "done")
        return answer

    def items(self, given: object = None, /, **fields: object) -> AsyncItems[Any]:
        """The items of a list, fetched page by page while they are taken. Raises RequestError if this is no list."""
        return AsyncItems(*self._list(given, fields))

    def pages(self, given: object = None, /, **fields: object) -> AsyncPages[Any]:
        """The pages of a list, one response each. Raises RequestError if this is no list."""
        return AsyncPages(*self._list(given, fields))

    def _list(self, given: object, fields: dict[str, object]) -> Any:
        binding = bind(self.method)
        return self, shape_of(binding), request(binding, given, fields)


class AsyncClient(Client):
    """What every client for asyncio can do, whatever package its tree comes from."""

    _kinds = MappingProxyType(
        {"": AsyncUnaryRpc, "server": AsyncStreamRpc, "client": AsyncClientStreamRpc, "bidi": AsyncStreamRpc}
    )

    @staticmethod
    def _source(tokens: TokenSource) -> AsyncTokens:
        return AsyncTokens(tokens)

    @overload
    def service(self, name: str, *, schema: Schema | None = None) -> Area: ...

    @overload
    def service(self, name: str, *, schema: Literal["server"]) -> Awaitable[Area]: ...

    def service(self, name: str, *, schema: Schema | Literal["server"] | None = None) -> Area | Awaitable[Area]:
        """A service by its full name, e.g. "invora.billing.customers.v2.CustomerService", or by "module.area".

        `schema`: where its descriptors come from. None: the compiled ones. "server": the gateway is asked for them, and
        may have services that were never compiled in; that is to be awaited. Or a `Schema`: what `reflect` returned, or
        one of a file (`Schema(FileSet.read(path), source=path)`). Raises RequestError, with the nearest names, if there
        is no such service, and what `reflect` raises.
        """
        return self._served(name) if schema == "server" else self._area(name, schema)

    async def _served(self, name: str) -> Area:
        return self._area(name, await self.reflect([name]))

    async def reflect(
        self, services: Iterable[str] | None = None, *, metadata: Mapping[str, str | bytes] | Iterable[Pair] = ()
    ) -> Schema:
        """The gateway's own schema, by server reflection: of all its services, or of those that are named.

        `metadata`: to be sent with this question only, besides token and organization. Its services are called with
        `client.service(name, schema=schema)`. Services that the gateway lists and cannot describe are in `.problems`.
        Raises ReflectionError if it cannot be had, and DescriptorError if it is more than can be.
        """
        return await areflected(self._connection, self._options, services, metadata)

    async def close(self, grace: float | None = None) -> None:
        """Close the connection, for this client and all that share it: later calls raise ClosedError.

        Calls that are under way are given `grace` seconds to end, and are cancelled then. ConfigError: a bad number.
        """
        channel = self._connection.close(grace)
        if channel is not None:
            await channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncInvora(AsyncClient, AsyncTree):
    """`Invora` for asyncio: the same surface, with calls to await. To be used in one event loop at a time.

    Arguments, settings, and what it raises are those of `Invora`. Streams and lists are iterated with `async for`.
    """

    def __init__(
        self,
        env: str | None = None,
        *,
        endpoint: str | None = None,
        issuer: str | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        token: str | Secret | None = None,
        org_id: str | None = None,
        tokens: TokenSource | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        root_certificates: bytes | None = None,
        client_certificate: ClientCertificate | tuple[bytes, bytes] | None = None,
        channel_options: Sequence[ChannelOption] = (),
        schema: SchemaPolicy | None = None,
        journal: Ledger | None = None,
        observer: Observer | None = None,
    ) -> None:
        client_secret, token = wrapped("client_secret", client_secret), wrapped("token", token)
        client_certificate = sealed(client_certificate)
        self._connect(
            load_settings(env, endpoint, issuer, client_id, client_secret, token, org_id),
            open_aio_channel,
            asyncio.sleep,
            timeout,
            tokens=tokens,
            schema=schema,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            channel_options=channel_options,
            ledger=journal,
            observer=observer,
        )
