"""`Invora`, the synchronous client: a thin door to the rooms that do the work.

The tree `client.<module>.<area>.<rpc>` comes from the catalog; classes and channel are loaded by the first call. A
derived client (`for_org`, `with_options`) shares channel, token and loaded methods with the one that it came from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from invora_grpc.attempt import Attempt, keys_of, scope_of, shape_of
from invora_grpc.auth import CallableToken, TokenSource
from invora_grpc.call import DEFAULT_TIMEOUT, request
from invora_grpc.channel import ChannelOption, ClientCertificate, open_channel, sealed
from invora_grpc.config import Secret, load_settings, wrapped
from invora_grpc.driver import end, recovered, reflected, send, waited
from invora_grpc.errors import ConfigError
from invora_grpc.paging import Items, Pages
from invora_grpc.status import RpcError
from invora_grpc.streaming import ClientStreamRpc, StreamRpc
from invora_grpc.tree import Area, Client, Rpc, documented

if TYPE_CHECKING:
    from invora_api.clients import SyncTree
    from invora_grpc.connection import SchemaPolicy
    from invora_grpc.idempotency import Ledger
    from invora_grpc.metadata import Pair
    from invora_grpc.observer import Observer
    from invora_grpc.schema.descriptors import Schema
else:
    SyncTree = object

__all__ = ["Invora", "SyncClient", "UnaryRpc"]


class UnaryRpc(Rpc):
    """One RPC of a client: call it with keyword arguments, a mapping, or a message; it returns the response message.

    Raises RequestError if the request does not fit the schema, before it is sent; SignInError if no token can be had;
    OutcomeUnknown if a write may or may not have been carried out; and a subclass of RpcError for every other status
    than OK. What is sent again by itself, and when: see `invora_grpc.retry.RetryClass`.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    def __call__(self, given: object = None, /, **fields: object) -> Any:
        connection, options = self._connection, self._options
        link = connection.links.get(self._key) or connection.link(self.method)
        message, claim = request(link.binding, given, fields), None
        if link.plan is not None or options.idempotency_key is not None:
            keys = keys_of(link, options, message, fields or given)
            if link.plan is not None:
                scope = scope_of(link, connection, options)
                claim = connection.ledger.claim(scope, link.method.path, keys, link.plan.fingerprint(message))
                message = link.plan.with_keys(message, claim.keys)
        call, sent = Attempt(connection, options, link, message, claim), False
        try:
            call.watch()
            started, timeout, ready = connection.clock(), options.timeout, options.peek()
            if ready is None or connection.pauses:
                timeout = waited(call, started)
            else:
                call.secret = ready
            sent = True
            answer = send(call, timeout)
            if isinstance(answer, RpcError):
                answer = recovered(call, answer, started, partial(send, call))
        except BaseException as error:
            answer = None  # else a cycle: the error in there holds this frame by its traceback
            end(call, error, call.standing(error, sent))
            raise
        if claim is not None or call.seen is not None:
            end(call, None, "done")
        return answer

    def items(self, given: object = None, /, **fields: object) -> Items[Any]:
        """The items of a list, fetched page by page while they are taken. Raises RequestError if this is no list."""
        return Items(*self._list(given, fields))

    def pages(self, given: object = None, /, **fields: object) -> Pages[Any]:
        """The pages of a list, one response each. Raises RequestError if this is no list."""
        return Pages(*self._list(given, fields))

    def _list(self, given: object, fields: dict[str, object]) -> Any:
        binding = self._connection.link(self.method).binding
        return self, shape_of(binding), request(binding, given, fields)


class SyncClient(Client):
    """What every blocking client can do, whatever package its tree comes from."""

    _kinds = MappingProxyType({"": UnaryRpc, "server": StreamRpc, "client": ClientStreamRpc, "bidi": StreamRpc})

    @staticmethod
    def _source(tokens: TokenSource) -> TokenSource:
        if isinstance(tokens, CallableToken) and tokens.asynchronous:
            raise ConfigError("tokens", tokens.describe, "use AsyncInvora, or a function that is no coroutine")
        return tokens

    def service(self, name: str, *, schema: Schema | Literal["server"] | None = None) -> Area:
        """A service by its full name, e.g. "invora.billing.customers.v2.CustomerService", or by "module.area".

        `schema`: where its descriptors come from. None: the compiled ones. "server": the gateway is asked for them, and
        may have services that were never compiled in. Or a `Schema`: what `reflect` returned, or one of a file
        (`Schema(FileSet.read(path), source=path)`). Raises RequestError, with the nearest names, if there is no such
        service, and what `reflect` raises.
        """
        if schema == "server":
            schema = self.reflect([name])
        return self._area(name, schema)

    def reflect(
        self, services: Iterable[str] | None = None, *, metadata: Mapping[str, str | bytes] | Iterable[Pair] = ()
    ) -> Schema:
        """The gateway's own schema, by server reflection: of all its services, or of those that are named.

        `metadata`: to be sent with this question only, besides token and organization. Its services are called with
        `client.service(name, schema=schema)`. Services that the gateway lists and cannot describe are in `.problems`.
        Raises ReflectionError if it cannot be had, and DescriptorError if it is more than can be.
        """
        return reflected(self._connection, self._options, services, metadata)

    def close(self, grace: float | None = None) -> None:
        """Close the connection, for this client and all that share it: later calls raise ClosedError.

        Calls that are under way are given `grace` seconds to end, and are cancelled then: writes of which it cannot be
        told whether they happened raise OutcomeUnknown. Raises ConfigError for what is no number of seconds, and closes
        nothing then.
        """
        channel, connection = self._connection.close(grace), self._connection
        if channel is None:
            return
        until = time.monotonic() + (grace or 0.0)
        try:
            while connection.inflight and (left := until - time.monotonic()) > 0:
                time.sleep(min(0.02, left))
        finally:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Invora(SyncClient, SyncTree):
    """A client of an Invora gateway. Safe to share between threads; nothing is dialled before the first call.

    Settings come from the arguments, else from INVORA_ENV, INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID,
    INVORA_CLIENT_SECRET, INVORA_TOKEN and INVORA_ORG_ID, else from the environment's own (`production`, `staging`,
    `sandbox`; default `production`).

    `timeout` is in seconds, for each unary call with all its tries and its wait for the token. `root_certificates` is
    PEM and replaces the built-in authorities, `client_certificate` a pair of PEM private key and certificate chain,
    `channel_options` are gRPC's own and win over ours. `journal` keeps the keys of creates on disk, so
    that they survive a crash. `observer` is told about every call.

    `schema` says what is done about a gateway whose own schema, as server reflection tells it, is not the compiled one.
    "verify": a call that the two understand differently raises SchemaDriftError, and is not sent. "adapt": it is
    converted by name where nothing gets lost, and refused where something would. "trust": nobody looks. The default is
    "verify", and "trust" for gateways on loopback. Raised besides, before anything is sent: UnconfirmedSchema for an
    RPC that is documented only, if the gateway offers no reflection; ReflectionError if its answers cannot be used.

    A client survives a fork, and travels in a pickle if its secrets come from the environment; either way it opens a
    channel of its own there. Raises ConfigError, naming setting, value and way out, for a bad or missing setting, and
    for an endpoint to which a token would travel in plaintext.
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
            open_channel,
            time.sleep,
            timeout,
            tokens=tokens,
            schema=schema,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            channel_options=channel_options,
            ledger=journal,
            observer=observer,
        )
