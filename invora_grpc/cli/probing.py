"""One look at a host by plain sockets: its name, a connection, TLS, the certificate, and whether HTTP/2 is spoken.

gRPC says UNAVAILABLE for all of these alike; here each step is taken by itself, so that each fault has its own name.
No gRPC, no credentials and no request of anybody's is sent. Each step ends with the deadline that it is given.
"""

from __future__ import annotations

import os
import pkgutil
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from invora_grpc.cli.findings import Deadline, Fault, Finding, Trouble, within
from invora_grpc.cli.targets import Files
from invora_grpc.config import Target
from invora_grpc.errors import one_line

__all__ = ["Line", "gateway_trust", "proxy_for"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""What a client of HTTP/2 says first: the preface and empty SETTINGS (RFC 9113, 3.4)."""
_SETTINGS: Final = 4
_TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")
"""How alerts and handshakes of TLS begin (RFC 8446, 5.1)."""
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""OpenSSL's words for an answer that is no TLS."""
_TIMES: Final = (9, 10)
"""OpenSSL's codes of a certificate that is not valid yet, or no more."""
_ENDS_SOON: Final = 14 * 86_400.0
"""Seconds before a certificate's end from which on that is worth a warning."""

_NO_PASSWORD: Final = ""
"""For a key that is encrypted: OpenSSL would ask the terminal for one."""

Address = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one host."""

    name: str
    """`gateway` or `issuer`."""
    target: Target
    trust: ssl.SSLContext | None
    """Which certificates are trusted; None for plaintext."""
    http2: bool
    """Whether HTTP/2 has to be spoken there, as gRPC does."""
    deadline: Deadline

    def look(self) -> Iterator[Finding]:
        """Step by step; ends with the first fault."""
        step, began = "dns", time.monotonic()
        try:
            addresses = self._resolved()
            yield self._fine(step, _addresses(self.target, addresses), began)
            step, began = "tcp", time.monotonic()
            with closing(self._connected(addresses)) as plain:
                yield self._fine(step, f"{_peer(plain)} accepts connections", began)
                step, began = "tls" if self.target.tls else "http/2", time.monotonic()
                if self.target.tls:
                    yield from self._secured(plain, addresses, began)
                elif self.http2:
                    self._plain_http2(plain, addresses)
                    yield self._fine(step, "is spoken, in plaintext", began)
        except Trouble as trouble:
            yield trouble.finding(f"{self.name} {_STEPS.get(trouble.fault, step)}", time.monotonic() - began)

    def _fine(self, step: str, text: str, began: float) -> Finding:
        return Finding.fine(f"{self.name} {step}", text, time.monotonic() - began)

    # --- name and connection

    def _resolved(self) -> list[Address]:
        """The addresses of the host, each once."""
        host, port = self.target.host, self.target.port
        hint = f"check the {self.name}'s host name, and this machine's DNS"
        try:
            found = within(self.deadline.left, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except TimeoutError:
            raise Trouble(Fault.DNS, f"{host}: no answer within {self.deadline.seconds:g} s", hint) from None
        except OSError as error:  # UnicodeError cannot come: a Target is ASCII
            raise Trouble(Fault.DNS, f"{host} does not resolve: {_words(error)}", hint) from None
        return list(dict.fromkeys((family, *address) for family, _, _, _, address in found))

    def _connected(self, addresses: list[Address]) -> socket.socket:
        """A connection to the first address that takes one."""
        failed = []
        for waiting, (family, *address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            plain = socket.socket(family, socket.SOCK_STREAM)
            plain.settimeout(self.deadline.left / waiting)
            try:
                plain.connect(tuple(address))
            except OSError as error:
                plain.close()
                failed.append(f"{address[0]}: {_words(error)}")
            else:
                return plain
        hint = f"check host and port of the {self.name}, firewalls on the way, and whether it runs"
        problem = f"port {self.target.port} takes no connection ({'; '.join(failed[:3])})"
        raise Trouble(Fault.TCP, problem, hint)

    # --- TLS

    def _secured(self, plain: socket.socket, addresses: list[Address], began: float) -> Iterator[Finding]:
        with closing(self._handshaken(plain, addresses)) as tls:
            yield self._fine("tls", f"{tls.version()}, {(tls.cipher() or ('?',))[0]}", began)
            yield self._certificate(tls.getpeercert() or {})
            if not self.http2:
                return
            agreed = tls.selected_alpn_protocol()
            if agreed != "h2":
                said = f"agrees on {agreed!r}" if agreed else "agrees on no protocol"
                raise _no_alpn(f"the server {said} by ALPN; gRPC needs h2")
            began = time.monotonic()
            self._speaks_http2(tls)
            yield self._fine("http/2", "is agreed on by ALPN, and spoken", began)

    def _handshaken(self, plain: socket.socket, addresses: list[Address]) -> ssl.SSLSocket:
        """TLS on this connection, with the certificate checked."""
        assert self.trust is not None
        self.trust.set_alpn_protocols(["h2"] if self.http2 else ["http/1.1"])
        plain.settimeout(self.deadline.left)
        try:
            return self.trust.wrap_socket(plain, server_hostname=self.target.host)
        except ssl.SSLCertVerificationError as error:
            hint = f"check the {self.name}'s host name and the trusted certificates"
            if timely := error.verify_code in _TIMES:
                hint = f"tell who runs the {self.name}, and check this machine's clock"
            raise Trouble(Fault.CERTIFICATE, _sentence(error.verify_message), hint, timely=timely) from None
        except ssl.SSLError as error:
            raise self._no_handshake(error, addresses) from None
        except TimeoutError:
            problem = f"no handshake within {self.deadline.seconds:g} s"
            raise Trouble(Fault.TLS, problem, f"check that port {self.target.port} speaks TLS") from None
        except OSError as error:
            raise self._no_handshake(error, addresses) from None

    def _no_handshake(self, error: OSError, addresses: list[Address]) -> Trouble:
        """Why a handshake failed. Whether the server speaks plaintext is asked on a connection of its own."""
        reason = _reason(error)
        if "NO_APPLICATION_PROTOCOL" in reason:
            return _no_alpn("the server refuses HTTP/2 by ALPN (no_application_protocol); gRPC needs h2")
        if "CERTIFICATE" in reason:  # the alert of TLS 1.2
            return _wants_certificate(self.name)
        spoken = self._spoken_plainly(addresses)
        if spoken or any(word in reason for word in _NOT_TLS):
            what = f"speaks {spoken or 'no TLS'}, not TLS"
            way = f"use http://{self.target.address}" if self.target.loopback else "use the port that has TLS"
            return Trouble(Fault.PLAINTEXT, f"port {self.target.port} {what}", f"{way}; check the {self.name}'s URL")
        problem = f"the handshake fails: {_words(error)}"
        return Trouble(Fault.TLS, problem, f"check that port {self.target.port} speaks TLS, and which versions")

    def _certificate(self, held: dict[str, Any]) -> Finding:
        names = ", ".join(str(value) for _, value in held.get("subjectAltName", ())) or "no name"
        left = ssl.cert_time_to_seconds(str(held["notAfter"])) - time.time()
        days = f"{left / 86_400:.0f} days" if left > 2 * 86_400 else f"{left / 3600:.0f} h"
        text, subject = f"for {one_line(names, 120)}; trusted; ends in {days}", f"{self.name} certificate"
        if left < _ENDS_SOON:
            return Finding.warning(subject, text, f"tell who runs the {self.name}")
        return Finding.fine(subject, text)

    # --- HTTP/2

    def _plain_http2(self, plain: socket.socket, addresses: list[Address]) -> None:
        """Raises Trouble unless HTTP/2 is spoken on this plain connection."""
        try:
            self._speaks_http2(plain)
        except Trouble:
            if self._speaks_tls(addresses):
                problem = f"port {self.target.port} speaks TLS, and the endpoint says plaintext"
                raise Trouble(Fault.PLAINTEXT, problem, f"use https://{self.target.address}") from None
            raise

    def _speaks_http2(self, line: socket.socket) -> None:
        """Raises Trouble unless the server's first frame is SETTINGS. Takes two thirds of the time that is left."""
        line.settimeout(self.deadline.left * 2 / 3)
        try:
            line.sendall(_PREFACE)
            said = line.recv(64)
        except TimeoutError:
            problem = "the server accepts the connection, and says nothing"
            raise Trouble(Fault.PROTOCOL, problem, f"check that port {self.target.port} is that of gRPC") from None
        except ssl.SSLError as error:
            if "CERTIFICATE" in _reason(error):
                raise _wants_certificate(self.name) from None
            raise Trouble(Fault.TLS, f"the connection breaks: {_words(error)}", "try again") from None
        except OSError as error:
            said, problem = b"", f"ends the connection ({_words(error)})"
        else:
            problem = _said(said)
        if not said and isinstance(line, ssl.SSLSocket):  # h2 was agreed on; gRPC's own servers send no alert
            raise _wants_certificate(self.name, "hangs up after the handshake, as if it wanted")
        if not _is_settings(said):
            raise self._no_http2(problem)

    def _no_http2(self, what: str) -> Trouble:
        return Trouble(Fault.PROTOCOL, f"the server {what}", f"check that port {self.target.port} is that of gRPC")

    def _spoken_plainly(self, addresses: list[Address]) -> str:
        """The plaintext protocol that the server speaks on a new connection; "" if it speaks none."""
        try:
            with closing(self._connected(addresses)) as plain:
                plain.settimeout(self.deadline.left * 2 / 3)
                plain.sendall(_PREFACE)
                said = plain.recv(64)
        except (OSError, Trouble):
            return ""
        return "HTTP/2 in plaintext" if _is_settings(said) else "HTTP/1 in plaintext" if said[:5] == b"HTTP/" else ""

    def _speaks_tls(self, addresses: list[Address]) -> bool:
        """Whether the server answers a TLS handshake on a new connection, whatever its certificate."""
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        anybody.set_alpn_protocols(["h2"])
        try:
            with closing(self._connected(addresses)) as plain:
                plain.settimeout(self.deadline.left)
                anybody.wrap_socket(plain, server_hostname=self.target.host).close()
        except ssl.SSLError as error:
            return "_ALERT_" in _reason(error)
        except (OSError, Trouble):
            return False
        return True


_STEPS: Final = {Fault.ALPN: "alpn", Fault.CERTIFICATE: "certificate", Fault.PROTOCOL: "http/2"}
"""The name of a look whose fault is found during another one."""


def gateway_trust(files: Files) -> ssl.SSLContext:
    """Trust as grpc has it: the given file, else GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, else what grpcio brings along.

    With the client's own certificate, if one is given. Raises OSError and ValueError for files that are none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    roots = files.cacert or os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    if roots:
        context.load_verify_locations(cafile=roots)
    else:
        brought = pkgutil.get_data("grpc", "_cython/_credentials/roots.pem")
        context.load_verify_locations(cadata=(brought or b"").decode("ascii", "ignore"))
    if files.cert is not None and files.key is not None:
        context.load_cert_chain(files.cert, files.key, password=_NO_PASSWORD)
    return context


def proxy_for(target: Target) -> str | None:
    """Host and port of the HTTP proxy that the variables name for this host; None if it is dialled directly."""
    if target.loopback or urllib.request.proxy_bypass(target.host):
        return None
    said = urllib.request.getproxies()
    found = said.get("grpc") or said.get("https" if target.tls else "http")
    return found.rpartition("@")[2].removeprefix("http://").rstrip("/") if found else None


def _no_alpn(problem: str) -> Trouble:
    hint = "let the proxy or load balancer in front of the gateway offer h2, or use the port that does"
    return Trouble(Fault.ALPN, problem, hint)


def _wants_certificate(name: str, how: str = "wants") -> Trouble:
    hint = f"give one that the {name} knows, with --cert and --key"
    return Trouble(Fault.CERTIFICATE, f"the server {how} a certificate of the client (mutual TLS)", hint)


def _is_settings(said: bytes) -> bool:
    return len(said) > 8 and said[3] == _SETTINGS and not any(said.startswith(record) for record in _TLS_RECORDS)


def _said(said: bytes) -> str:
    if not said:
        return "ends the connection without a word"
    if said.startswith(b"HTTP/"):
        return f"speaks {one_line(said[:8].decode('latin-1'))}, not HTTP/2"
    return "answers with something else than HTTP/2"


def _peer(line: socket.socket) -> str:
    host, port = line.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(target: Target, addresses: list[Address]) -> str:
    found = list(dict.fromkeys(str(address) for _, address, *_ in addresses))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "is an address" if found == [target.host] else f"{target.host} is {', '.join(found[:3])}{more}"


def _reason(error: OSError) -> str:
    """OpenSSL's name of what went wrong, e.g. TLSV1_ALERT_NO_APPLICATION_PROTOCOL; "" if it is not about TLS.

    The module ssl has no names for newer alerts, but their words.
    """
    return _words(error).upper().replace(" ", "_") if isinstance(error, ssl.SSLError) else ""


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "reason", None) or error.strerror or str(error)
    return _sentence(re.sub(r"\[[A-Z0-9_: ]*\] *| *\(_ssl\.c:\d+\)", "", text))


def _sentence(text: str) -> str:
    return one_line(text.replace("_", " ").lower(), 200)
