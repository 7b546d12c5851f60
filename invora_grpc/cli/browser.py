"""A person's sign-in: authorization code with PKCE, by way of a browser and a redirect to this machine.

RFC 8252 (native apps), RFC 7636 (PKCE) and RFC 9207 (the issuer in the redirect). This room listens on 127.0.0.1 until
the browser comes back, and hands out tokens; it keeps none. Code and verifier are wrapped, and no request is logged:
the code is in its address.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, SignInError
from invora_grpc.issuer import Issuer
from invora_grpc.oidc import AccessToken, jitter, token_form

__all__ = ["session_of"]

_GRANT: Final = "authorization_code"
_PATH: Final = "/callback"
_SLOW: Final = 5.0
"""Seconds for a browser to send its request."""
_PAGE: Final = "<!doctype html><meta charset=utf-8><title>invora</title><p style='font:1.2em sans-serif;margin:3em'>{}"


def session_of(
    issuer: str, client_id: str, scope: str, *, show: Callable[[str], None], port: int = 0, wait: float = 300.0
) -> tuple[AccessToken, float]:
    """The token of the person who signs in, and its lifetime in seconds.

    `show` gets the address to open. Waits `wait` seconds for the browser to come back to `port` (0: a free one). Raises
    SignInError if the issuer or the person refuses, or nobody comes; ConfigError if the port is taken.
    """
    asked = Issuer(issuer, _GRANT, None, time.monotonic, time.sleep, jitter)
    verifier, state = Secret(secrets.token_urlsafe(64)), secrets.token_urlsafe(32)
    endpoint = asked.authorization_endpoint()
    with _listening(port, state) as server:
        back = f"http://127.0.0.1:{server.server_port}{_PATH}"
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": back,
            "scope": scope,
            "state": state,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        show(f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}")
        code = _returned(server, asked.url, wait)
    form = token_form(_GRANT, client_id, code=code, code_verifier=verifier, redirect_uri=back)
    fresh = asked.ask(form, repeatable=False)
    return fresh, fresh.expires_at - time.monotonic()


class _Server(HTTPServer):
    """Waits for one redirect."""

    def __init__(self, port: int, state: str) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.state = state
        self.told: dict[str, Secret] | None = None
        """The parameters of the redirect, once it came."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that goes away is none, and a traceback would show the code."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOW

    def do_GET(self) -> None:
        """The redirect; whatever else a browser or a stranger asks for is not here."""
        told, server = _parameters(self.path), cast(_Server, self.server)
        if told is None:
            self._answer(404, "Nothing is here.")
        elif "state" not in told or not hmac.compare_digest(told["state"].reveal().encode(), server.state.encode()):
            self._answer(400, "This is not the sign-in that invora waits for.")
        else:
            server.told = told
            done = "code" in told
            words = "You are signed in. This window can be closed." if done else "The sign-in failed; see the terminal."
            self._answer(200 if done else 400, words)

    def _answer(self, status: int, words: str) -> None:
        body = _PAGE.format(html.escape(words)).encode()
        self.send_response_only(status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the code is in the address."""


def _listening(port: int, state: str) -> _Server:
    try:
        return _Server(port, state)
    except (OSError, OverflowError) as error:
        problem = f"cannot be listened on ({getattr(error, 'strerror', None) or error})"
        raise ConfigError("port", port, "give another one, or 0 for any", problem) from None


def _returned(server: _Server, issuer: str, wait: float) -> Secret:
    """The code that the browser brings. Raises SignInError."""

    def failed(problem: str, hint: str) -> SignInError:
        return SignInError(problem, issuer=issuer, grant=_GRANT, hint=hint)

    until = time.monotonic() + wait
    while server.told is None:
        left = until - time.monotonic()
        if left <= 0:
            raise failed(f"nobody signed in within {wait:g} s", "open the address in a browser on this machine")
        server.timeout = left
        server.handle_request()
    told = server.told
    if "iss" in told and told["iss"] != Secret(issuer):
        raise failed("another issuer has answered", "check the issuer's URL")
    if "code" not in told:
        said = told["error"].reveal() if "error" in told else ""
        said = said if re.fullmatch("[a-z_]{1,40}", said) else "no code came back"
        raise failed(said, "the person, or the issuer, has refused; check the client id and its redirect URIs")
    return told["code"]


def _parameters(path: str) -> dict[str, Secret] | None:
    """The parameters of a redirect, each at most once; None for another address. Never raises: its locals are plain."""
    try:
        parts = urlsplit(path)
        found = parse_qs(parts.query, max_num_fields=20)
    except ValueError:
        return None
    if parts.path != _PATH or any(len(values) != 1 for values in found.values()):
        return None
    return {name: Secret(values[0]) for name, values in found.items()}


def _challenge(verifier: Secret) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.reveal().encode()).digest()).rstrip(b"=").decode()
