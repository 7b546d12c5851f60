"""The clients of generated packages: what `Client` and `AsyncClient` of `<package>/client.py` are made of.

A package that `protoc-gen-invora-python` generated from anybody's schema has a client of its own, with the same runtime
as Invora's. It differs in what is known about the server: there are no environments, no credentials unless they are
given, and no promise about keys of creates. It never reads a variable of Invora's, whose token would end up elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invora_grpc.aio import AsyncClient
from invora_grpc.auth import NoToken, TokenSource
from invora_grpc.call import DEFAULT_TIMEOUT
from invora_grpc.channel import ChannelOption, ClientCertificate, open_aio_channel, open_channel, sealed
from invora_grpc.client import SyncClient
from invora_grpc.config import Secret, Settings, load_settings, wrapped

if TYPE_CHECKING:
    from invora_grpc.connection import SchemaPolicy
    from invora_grpc.idempotency import Ledger
    from invora_grpc.observer import Observer

__all__ = ["AsyncPackageClient", "PackageClient"]


class PackageClient(SyncClient):
    """A client of any gRPC server, for a generated package. Safe to share between threads; dials at the first call.

    Settings come from the arguments, else from variables that begin with the package's name: for `acme_api`,
    ACME_API_ENDPOINT, ACME_API_TOKEN, ACME_API_ISSUER, ACME_API_CLIENT_ID, ACME_API_CLIENT_SECRET,
    and ACME_API_ORG_ID. Only the endpoint has to be there. Without credentials, calls go without authorization, and
    plaintext to other hosts is allowed; client id and secret need the `issuer` (OpenID Connect) that they are for. All
    other arguments are those of `Invora`, and so is what is raised; `journal` is for services of Invora's own.

    Failed calls are sent again if they were certainly not carried out, or if they are reads: an RPC whose
    `idempotency_level` is NO_SIDE_EFFECTS, a Get, List or Check by name, or an HTTP GET. A write in doubt raises
    OutcomeUnknown.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
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
        settings = load_settings(None, endpoint, issuer, client_id, client_secret, token, org_id, package=self._package)
        self._connect(
            settings,
            open_channel,
            time.sleep,
            timeout,
            tokens=_source(settings, tokens),
            schema=schema,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            channel_options=channel_options,
            ledger=journal,
            observer=observer,
        )


class AsyncPackageClient(AsyncClient):
    """`PackageClient` for asyncio: the same surface, with calls to await. To be used in one event loop at a time."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
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
        settings = load_settings(None, endpoint, issuer, client_id, client_secret, token, org_id, package=self._package)
        self._connect(
            settings,
            open_aio_channel,
            asyncio.sleep,
            timeout,
            tokens=_source(settings, tokens),
            schema=schema,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            channel_options=channel_options,
            ledger=journal,
            observer=observer,
        )


def _source(settings: Settings, given: TokenSource | None) -> TokenSource | None:
    """The token source that was given; none at all if there are no credentials; None where the settings have some."""
    some = (settings.token, settings.client_id, settings.client_secret)
    return NoToken() if given is None and some == (None, None, None) else given
