"""How a person signs in at the sandbox: authorization codes with PKCE (RFC 6749 §4.1, RFC 7636, RFC 8252).

The sandbox has one person for each client, with the client's organization and roles, who is always signed in and always
agrees. A code goes to loopback addresses only, is good once and for a minute, and only together with its verifier. This
room issues no token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from invora_grpc.sandbox.store import Store

__all__ = ["CODE_LIFETIME", "Code", "authorized", "person_of", "redeemed"]

CODE_LIFETIME = 60.0  # seconds
MAX_CODES = 1024
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class Code:
    """What an authorization code stands for."""

    client_id: str
    redirect_uri: str
    challenge: str
    scope: str
    expires_at: float


class _Codes(dict[str, Code]):
    """One store's codes by their SHA-256; they do not outlive the process."""

    def __init__(self, store: Store) -> None:
        super().__init__()


def person_of(client_id: str) -> str:
    """The subject of the person who signs in by way of a client."""
    return f"person:{client_id}"


def authorized(store: Store, issuer: str, request: Request) -> Response:
    """The answer of the authorization endpoint: back to the client with a code, or with what is wrong.

    What is wrong with the client or its redirect URI is told here: nothing is sent to an address that may not be its.
    """
    asked = dict(request.query_params)
    client = store.client(asked.get("client_id", ""))
    back = asked.get("redirect_uri", "")
    if client is None or not client.active:
        return _refused("unknown client_id")
    if not _is_loopback(back):
        return _refused("redirect_uri must be http://127.0.0.1:port/path, or the same with [::1]")
    problem, told = _problem(asked, len(asked) != len(request.query_params.multi_items())), {"iss": issuer}
    if "state" in asked:
        told["state"] = asked["state"]
    if problem is None:
        code = secrets.token_urlsafe(32)
        found = Code(client.client_id, back, asked["code_challenge"], asked["scope"], store.clock() + CODE_LIFETIME)
        _keep(store, code, found)
        told["code"] = code
    else:
        told["error"], told["error_description"] = problem
    separator = "&" if urlsplit(back).query else "?"
    return RedirectResponse(f"{back}{separator}{urlencode(told)}", 302, headers={"Cache-Control": "no-store"})


def redeemed(store: Store, client_id: str, form: Mapping[str, str]) -> Code | None:
    """What a client's code stands for; None if it is unknown, expired, used, another's, or comes without its verifier.

    A code is used up by the first try, also by one that fails.
    """
    found = store.companion(_Codes).pop(_digest(form.get("code", "")), None)
    if found is None or found.expires_at <= store.clock() or found.client_id != client_id:
        return None
    if found.redirect_uri != form.get("redirect_uri"):
        return None
    verifier = form.get("code_verifier", "")
    return found if _VERIFIER.fullmatch(verifier) and hmac.compare_digest(_s256(verifier), found.challenge) else None


def _problem(asked: Mapping[str, str], repeated: bool) -> tuple[str, str] | None:
    """Error code and description of a request that gets no code; None if it does."""
    if repeated:
        return "invalid_request", "a parameter is repeated"
    if asked.get("response_type") != "code":
        return "unsupported_response_type", "response_type must be code"
    if "openid" not in asked.get("scope", "").split():
        return "invalid_scope", "the scope must contain openid"
    if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(asked.get("code_challenge", "")):
        return "invalid_request", "PKCE is required: code_challenge, with code_challenge_method=S256"
    return None


def _keep(store: Store, code: str, found: Code) -> None:
    codes = store.companion(_Codes)
    for old in [key for key, each in codes.items() if each.expires_at <= store.clock()]:
        del codes[old]
    while len(codes) >= MAX_CODES:
        del codes[next(iter(codes))]
    codes[_digest(code)] = found


def _refused(description: str) -> Response:
    return JSONResponse({"error": "invalid_request", "error_description": description}, 400)


def _is_loopback(uri: str) -> bool:
    """Whether this is a redirect URI of a program on this machine (RFC 8252 §7.3)."""
    try:
        parts = urlsplit(uri)
        return (
            parts.scheme == "http"
            and parts.username is None
            and not parts.fragment
            and parts.port is not None
            and ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return False


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="backslashreplace")).hexdigest()


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
