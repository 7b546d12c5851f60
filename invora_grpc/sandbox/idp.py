"""The sandbox's identity provider: discovery, tokens, keys and userinfo over HTTP, in the shape of a Zitadel.

This room signs and verifies tokens and speaks OAuth. It decides nothing about permissions: a ``Caller`` says who asks,
the services say what that allows. It logs no request body, secret or token, and no error text repeats one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import socket
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import uvicorn
from joserfc import jwt
from joserfc.errors import BadSignatureError, ClaimError, ExpiredTokenError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from invora_grpc.sandbox.authorize import authorized, person_of, redeemed
from invora_grpc.sandbox.model import Client, RefreshGrant
from invora_grpc.sandbox.store import Store

TOKEN_LIFETIME = 43_200  # seconds: 12 hours
REFRESH_LIFETIME = 30 * 86_400  # seconds
AUDIENCE = "invora-gateway"
TENANT_CLAIM = "urn:zitadel:iam:user:resourceowner:id"
GENERATION_CLAIM = "urn:invora:sandbox:generation"
CACHED_TOKENS = 1024
MAX_FORM_BYTES = 64 * 1024
GRANTS = ("authorization_code", "client_credentials", "refresh_token")
_ALGORITHMS = ("RS256",)
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_ESSENTIAL = ("sub", "exp", "iat", "client_id", "org_id", "roles", TENANT_CLAIM, GENERATION_CLAIM)


class InvalidToken(Exception):
    """The bearer token is refused. ``reason`` is a short text for people, without any part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid token: {reason}")
        self.reason = reason


class Deactivated(InvalidToken):
    """The token is in order, but its client was deactivated since."""

    def __init__(self, reason: str, caller: Caller) -> None:
        super().__init__(reason)
        self.caller = caller


class CannotListen(OSError):
    """The address cannot be listened on; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as a verified token tells."""

    subject: str
    client_id: str
    org_id: str
    """The caller's home organization."""
    tenant: str
    """The organization that the call is scoped to."""
    roles: Mapping[str, tuple[str, ...]]
    """Role → organizations that it is granted in."""
    impersonator: str | None
    """The subject behind an impersonation, or None."""
    expires_at: float
    """Seconds since the epoch."""


class _Keyring:
    """One store's signing key, and the tokens that were verified with it lately."""

    def __init__(self, store: Store) -> None:
        self.private = RSAKey.import_key(store.key("signing", _new_pem))
        self.private.ensure_kid()
        self.public = RSAKey.import_key(self.private.as_pem(private=False), {"kid": self.kid, "use": "sig"})
        self._verified: OrderedDict[tuple[str, bytes], tuple[Caller, int]] = OrderedDict()

    @property
    def kid(self) -> str:
        return self.private.thumbprint()

    def recall(self, key: tuple[str, bytes]) -> tuple[Caller, int] | None:
        found = self._verified.get(key)
        if found:
            self._verified.move_to_end(key)
        return found

    def remember(self, key: tuple[str, bytes], found: tuple[Caller, int]) -> None:
        self._verified[key] = found
        while len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)

    def forget(self, key: tuple[str, bytes]) -> None:
        self._verified.pop(key, None)


def _new_pem() -> bytes:
    return RSAKey.generate_key(2048).as_pem(private=True)


def issue_token(
    store: Store,
    issuer: str,
    *,
    client: Client,
    lifetime: int = TOKEN_LIFETIME,
    subject: str | None = None,
    org_id: str | None = None,
    roles: Mapping[str, tuple[str, ...]] | None = None,
    act: Mapping[str, str] | None = None,
) -> str:
    """A signed access token of ``client``, valid for ``lifetime`` seconds.

    For an impersonation give the target's ``subject`` and ``org_id``, and ``act={"sub": impersonator}``. The token dies
    with ``client`` in any case. ``roles`` default to the client's; of these the token tells what is granted in its own
    organization: a platform may have more connected businesses than a call's metadata has room for.
    """
    home, now = org_id or client.org_id, int(store.clock())
    held = client.roles if roles is None else roles
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": subject or client.client_id,
        "aud": [client.client_id, AUDIENCE],
        "iat": now,
        "exp": now + lifetime,
        "jti": secrets.token_hex(16),
        "client_id": client.client_id,
        "org_id": home,
        "roles": {role: [home] for role, granted in held.items() if home in granted},
        TENANT_CLAIM: home,
        GENERATION_CLAIM: client.generation,
    }
    if act:
        claims["act"] = dict(act)
    keyring = store.companion(_Keyring)
    return jwt.encode({"alg": "RS256", "kid": keyring.kid}, claims, keyring.private, algorithms=_ALGORITHMS)


def verify_token(store: Store, issuer: str, bearer: str) -> Caller:
    """Who presents this token (without the word ``Bearer``). Raises InvalidToken, Deactivated among them.

    The signature is checked once per token; its expiry and its client's state at every call.
    """
    keyring = store.companion(_Keyring)
    key = (issuer, hashlib.sha256(bearer.encode(errors="backslashreplace")).digest())
    found = keyring.recall(key)
    if found is None:
        found = _decoded(keyring, issuer, bearer, store.clock())
        keyring.remember(key, found)
    caller, generation = found
    if caller.expires_at <= store.clock():
        keyring.forget(key)
        raise InvalidToken("expired")
    client = store.client(caller.client_id)
    if client is None:
        raise InvalidToken("unknown client")
    if not client.active:
        raise Deactivated("client deactivated", caller)
    if generation != client.generation:
        raise InvalidToken("issued before its client was deactivated")
    return caller


def _decoded(keyring: _Keyring, issuer: str, bearer: str, now: float) -> tuple[Caller, int]:
    """The claims of a token whose signature, issuer, audience and times are right. Raises InvalidToken."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=0,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": AUDIENCE},
        **{name: jwt.ClaimsOption(essential=True, allow_blank=True) for name in _ESSENTIAL},
    )
    try:
        claims = jwt.decode(bearer, keyring.public, algorithms=_ALGORITHMS).claims
        registry.validate(claims)
    except ExpiredTokenError as error:
        raise InvalidToken("expired") from error
    except ClaimError as error:
        raise InvalidToken("wrong issuer" if error.claim == "iss" else f"wrong claim {error.claim}") from error
    except BadSignatureError as error:
        raise InvalidToken("bad signature") from error
    except UnsupportedAlgorithmError as error:
        raise InvalidToken("not signed with RS256") from error
    except Exception as error:  # whatever reading a stranger's text comes to
        raise InvalidToken("malformed") from error
    caller = Caller(
        subject=claims["sub"],
        client_id=claims["client_id"],
        org_id=claims["org_id"],
        tenant=claims[TENANT_CLAIM],
        roles=MappingProxyType({role: tuple(granted) for role, granted in claims["roles"].items()}),
        impersonator=claims.get("act", {}).get("sub"),
        expires_at=float(claims["exp"]),
    )
    return caller, claims[GENERATION_CLAIM]


class _OAuthError(Exception):
    """An answer of RFC 6749 §5.2."""

    def __init__(self, error: str, description: str, status: int = 400, *, challenge: bool = False) -> None:
        super().__init__(error)
        self.body = {"error": error, "error_description": description}
        self.status = status
        self.headers = {**_NO_STORE, **({"WWW-Authenticate": 'Basic realm="invora-sandbox"'} if challenge else {})}


@dataclass(frozen=True, slots=True)
class _Endpoints:
    """The provider's HTTP surface over one store."""

    store: Store
    issuer: str
    lifetime: int
    refresh_lifetime: int

    async def discovery(self, request: Request) -> Response:
        """OpenID Connect discovery 1.0."""
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/oauth/v2/authorize",
                "token_endpoint": f"{self.issuer}/oauth/v2/token",
                "jwks_uri": f"{self.issuer}/oauth/v2/keys",
                "revocation_endpoint": f"{self.issuer}/oauth/v2/revoke",
                "userinfo_endpoint": f"{self.issuer}/oidc/v1/userinfo",
                "scopes_supported": ["openid", "offline_access"],
                "response_types_supported": ["code"],
                "grant_types_supported": list(GRANTS),
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": list(_ALGORITHMS),
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "none"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        """People sign in here on the real provider. The sandbox has one person per client, who always says yes."""
        return authorized(self.store, self.issuer, request)

    async def keys(self, request: Request) -> Response:
        """The public signing key as JWKS."""
        public = self.store.companion(_Keyring).public
        return JSONResponse(KeySet([public]).as_dict(private=False, alg="RS256"))

    async def token(self, request: Request) -> Response:
        """RFC 6749 §3.2."""
        try:
            form = await _form(request)
            grant_type = form.get("grant_type")
            if grant_type is None:
                raise _OAuthError("invalid_request", "grant_type is missing")
            if grant_type not in GRANTS:
                raise _OAuthError("unsupported_grant_type", f"use {', '.join(GRANTS)}")
            secretless = "authorization" not in request.headers and "client_secret" not in form
            if secretless and grant_type != "client_credentials":
                client = self._named(form)
            else:
                client = self._authenticated(request, form)
            grant = self._granted(grant_type, client, form, secretless)
            return JSONResponse(self._answer(client, grant), headers=_NO_STORE)
        except _OAuthError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)

    async def revoke(self, request: Request) -> Response:
        """RFC 7009, for refresh tokens: with all of their family. An access token is not kept here, so it lives on."""
        try:
            form = await _form(request)
            secretless = "authorization" not in request.headers and "client_secret" not in form
            client = self._named(form) if secretless else self._authenticated(request, form)
            if "token" not in form:
                raise _OAuthError("invalid_request", "token is missing")
            self.store.revoke_refresh_token(form["token"], client.client_id)
            return Response(headers=_NO_STORE)
        except _OAuthError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)

    async def userinfo(self, request: Request) -> Response:
        """The caller's claims, for a bearer token."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Response(status_code=401, headers={**_NO_STORE, "WWW-Authenticate": "Bearer"})
        try:
            caller = verify_token(self.store, self.issuer, bearer.strip())
        except InvalidToken as error:
            challenge = f'Bearer error="invalid_token", error_description="{error.reason}"'
            body = {"error": "invalid_token", "error_description": error.reason}
            return JSONResponse(body, 401, headers={**_NO_STORE, "WWW-Authenticate": challenge})
        claims: dict[str, Any] = {"sub": caller.subject, "org_id": caller.org_id, TENANT_CLAIM: caller.tenant}
        claims["roles"] = {role: list(granted) for role, granted in caller.roles.items()}
        if caller.impersonator:
            claims["act"] = {"sub": caller.impersonator}
        return JSONResponse(claims, headers=_NO_STORE)

    def _authenticated(self, request: Request, form: Mapping[str, str]) -> Client:
        header = request.headers.get("authorization")
        if header is not None and "client_secret" in form:
            raise _OAuthError("invalid_request", "send the client's credentials in the header or in the form, not both")
        posted = form.get("client_id", ""), form.get("client_secret", "")
        name, secret = posted if header is None else _basic(header)
        if form.get("client_id", name) != name:
            raise _OAuthError("invalid_request", "the header and the form name different clients")
        client = self.store.verify_client(name, secret)
        if client is None:
            raise _OAuthError("invalid_client", "unknown client, or wrong secret", 401, challenge=header is not None)
        return client

    def _named(self, form: Mapping[str, str]) -> Client:
        """A client without a secret: a code with its verifier, or the session of a person, will do."""
        client = self.store.client(form.get("client_id", ""))
        if client is None or not client.active:
            raise _OAuthError("invalid_client", "unknown client", 401)
        return client

    def _granted(self, grant_type: str, client: Client, form: Mapping[str, str], secretless: bool) -> RefreshGrant:
        if grant_type == "client_credentials":
            return self._new_grant(client, form)
        return (
            self._redeemed(client, form)
            if grant_type == "authorization_code"
            else self._renewed(client, form, secretless)
        )

    def _new_grant(self, client: Client, form: Mapping[str, str]) -> RefreshGrant:
        scope = form.get("scope", "")
        if "openid" not in scope.split():
            raise _OAuthError("invalid_scope", "the scope must contain openid")
        family = secrets.token_hex(16)
        return RefreshGrant(client.client_id, client.client_id, client.org_id, client.roles, scope, family)

    def _redeemed(self, client: Client, form: Mapping[str, str]) -> RefreshGrant:
        found = redeemed(self.store, client.client_id, form)
        if found is None:
            raise _OAuthError("invalid_grant", "the code is unknown, expired or used, or the verifier is not its own")
        family = secrets.token_hex(16)
        return RefreshGrant(
            client.client_id, person_of(client.client_id), client.org_id, client.roles, found.scope, family
        )

    def _renewed(self, client: Client, form: Mapping[str, str], secretless: bool) -> RefreshGrant:
        if "refresh_token" not in form:
            raise _OAuthError("invalid_request", "refresh_token is missing")
        with self.store.transaction():
            grant = self.store.use_refresh_token(form["refresh_token"], client.client_id)
            if grant and not set(form.get("scope", "").split()) <= set(grant.scope.split()):
                raise _OAuthError("invalid_scope", "the scope exceeds what was granted")  # and leaves the token unspent
            if grant and secretless and grant.subject != person_of(client.client_id):
                raise _OAuthError("invalid_client", "the client's secret is missing", 401)  # and so does this
        if grant is None:
            raise _OAuthError("invalid_grant", "the refresh token is unknown, expired or was used before")
        return replace(grant, roles=client.roles)

    def _answer(self, client: Client, grant: RefreshGrant) -> dict[str, Any]:
        token = issue_token(
            self.store,
            self.issuer,
            client=client,
            lifetime=self.lifetime,
            subject=grant.subject,
            org_id=grant.org_id,
            roles=grant.roles,
        )
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        if "offline_access" in grant.scope.split():
            answer["refresh_token"] = self.store.add_refresh_token(grant, self.refresh_lifetime)
        return answer


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form-encoded body; an empty one counts as absent, a repeated one is an error (RFC 6749 §3.2)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise _OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise _OAuthError("invalid_request", "the body is too long", 413)
    try:
        fields = parse_qsl(body.decode(), max_num_fields=64, errors="strict")
    except ValueError:
        raise _OAuthError("invalid_request", "the body is not a readable form") from None
    form = dict(fields)
    if len(form) != len(fields):
        raise _OAuthError("invalid_request", "a parameter is repeated")
    return form


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret of a Basic header; both are form-encoded inside it (RFC 6749 §2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if scheme.lower() != "basic" or not colon:
        raise _OAuthError("invalid_client", "the authorization header is not a Basic one", 401, challenge=True)
    return unquote_plus(name), unquote_plus(secret)


def identity_provider(
    store: Store, issuer: str, *, lifetime: int = TOKEN_LIFETIME, refresh_lifetime: int = REFRESH_LIFETIME
) -> Starlette:
    """The provider as an ASGI app. ``issuer`` is its own base URL without a closing slash; lifetimes are in seconds."""
    endpoints = _Endpoints(store, issuer, lifetime, refresh_lifetime)
    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", endpoints.discovery),
            Route("/oauth/v2/authorize", endpoints.authorize),
            Route("/oauth/v2/token", endpoints.token, methods=["POST"]),
            Route("/oauth/v2/revoke", endpoints.revoke, methods=["POST"]),
            Route("/oauth/v2/keys", endpoints.keys),
            Route("/oidc/v1/userinfo", endpoints.userinfo, methods=["GET", "POST"]),
        ]
    )


class _Server(uvicorn.Server):
    """A server that leaves signals to the process that it runs in, and tells when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RunningHttp:
    """A server in the current loop. ``port`` is the one that it really listens on."""

    def __init__(self, server: _Server, task: asyncio.Task[None], port: int) -> None:
        self.port = port
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """Finish the requests at hand (two seconds at most) and close the port. Stopping twice is harmless."""
        self._server.should_exit = True
        await self._task


def bind_http(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        text = f"cannot listen on {host}:{port} ({why}); choose another port, or 0 for a free one"
        raise CannotListen(error.errno, text) from error


async def serve_http(app: ASGIApp, host: str, port: int, *, bound: socket.socket | None = None) -> RunningHttp:
    """Serve ``app`` in the current loop and return once it answers. Raises CannotListen.

    An app that must know its own port first takes it from ``bind_http``, whose socket is given as ``bound``.
    """
    listener = bound or bind_http(host, port)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=2
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    answering = asyncio.create_task(server.answering.wait())
    await asyncio.wait((task, answering), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        answering.cancel()
        listener.close()
        await task
    return RunningHttp(server, task, port)
