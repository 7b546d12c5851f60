"""One call written down for other tools: curl, grpcurl and Python; and what would be sent, without sending it.

A snippet sends the same request as the command, byte for byte, or it is refused. No secret is in one: the token, and
metadata whose name says that it is secret, are variables of the shell. Nothing here dials.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from invora_grpc.attempt import keys_of
from invora_grpc.call import Binding, CallOptions, bind, request
from invora_grpc.catalog import Method
from invora_grpc.cli.redaction import hidden
from invora_grpc.cli.secrecy import is_secret, variable
from invora_grpc.cli.sources import AUTO, Source
from invora_grpc.config import Settings
from invora_grpc.connection import Link
from invora_grpc.errors import RequestError, one_line
from invora_grpc.idempotency import key_plan, new_key
from invora_grpc.kinds import FIELD_MASK, descriptor_of, inner_type, is_map, kind_of
from invora_grpc.metadata import TARGET_ORG_KEY, Pair, fitting
from invora_grpc.reading import to_json
from invora_grpc.retry import retry_class
from invora_grpc.transcoding import HttpRequest, http_request, printable_json, proto_json

if TYPE_CHECKING:
    from invora_grpc.cli.targets import Files

__all__ = ["TOKEN", "Call", "call_of", "curl", "dry_run", "grpcurl", "pems", "planned", "text_of"]

TOKEN: Final = "INVORA_TOKEN"
"""The variable that snippets take the token from."""
_LONGEST_DURATION: Final = 2**63 // 10**9
"""Seconds that Go's time.Duration holds."""
_LONGEST: Final = 100_000
"""Characters of one argument; what is longer comes from standard input. Linux takes 128 KiB."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it would be made."""

    method: Method
    requests: tuple[Message, ...]
    """One, or as many as are streamed; creates have their keys."""
    settings: Settings
    source: Source = AUTO
    timeout: float | None = None
    """Seconds until the deadline."""
    headers: tuple[Pair, ...] = ()
    """Metadata besides token and organization."""
    reflect_headers: tuple[Pair, ...] = ()
    """Metadata only of questions for the schema."""
    files: Files | None = None
    """Certificates; None: the built-in authorities."""
    authorized: bool = True
    """Whether a token is sent."""
    policy: str | None = None
    """What is done about another schema: the client's option `schema`."""
    where: str = ""
    """Profile, environment and organization, in words."""

    @property
    def metadata(self) -> tuple[Pair, ...]:
        """All but the token."""
        org = self.settings.org_id
        return self.headers if org is None else ((TARGET_ORG_KEY, org), *self.headers)


def call_of(
    method: Method,
    given: Any,
    settings: Settings,
    *,
    key: str | None = None,
    headers: Iterable[Pair] = (),
    reflect_headers: Iterable[Pair] = (),
    **others: Any,
) -> Call:
    """The call of an RPC with plain values or messages; a sequence of them if it streams its requests.

    `key`: the idempotency key. A create whose key nobody gave gets one here, so that all snippets create one record.
    `others`: fields of `Call`. Raises RequestError and ConfigError as the client does.
    """
    binding = bind(method)
    others |= {"headers": fitting(tuple(headers)), "reflect_headers": fitting(tuple(reflect_headers))}
    if method.client_streaming:
        items = given if isinstance(given, Iterable) and not isinstance(given, dict | Message) else [given]
        return Call(method, tuple(request(binding, item, {}) for item in items), settings, **others)
    return Call(method, (_keyed(binding, request(binding, given, {}), given, key),), settings, **others)


def _keyed(binding: Binding, message: Message, given: object, key: str | None) -> Message:
    """The request with the keys that it would be sent with."""
    method = binding.method
    plan = key_plan(method)
    kind = retry_class(method, plan is not None)
    link = Link(binding, method.path, bind, kind, plan, 0.0, 0, binding.response_class.FromString)
    keys = keys_of(link, CallOptions(idempotency_key=key), message, given)
    return message if plan is None else plan.with_keys(message, tuple(one or new_key() for one in keys))


def text_of(form: str, call: Call) -> str:
    """The call in one of `forms.FORMS`. Raises RequestError where that form cannot send this very request."""
    if form == "python":
        from invora_grpc.cli.snippets_python import python

        return python(call)
    return {"dry_run": dry_run, "curl": curl, "grpcurl": grpcurl}[form](call)


def pems(call: Call) -> dict[str, str]:
    """The files of certificates that are given: cacert, cert and key."""
    given = {name: getattr(call.files, name, None) for name in ("cacert", "cert", "key")}
    return {name: path for name, path in given.items() if path is not None}


# --- curl ---------------------------------------------------------------------------------------------------------


def curl(call: Call) -> str:
    """The call as a curl command over REST. Raises RequestError for an RPC or a request that REST cannot express."""
    sent = http_request(call.method, call.requests[0])
    url = f"{call.settings.target.url}{sent.target}"
    lines = ["curl --silent --show-error --fail-with-body" + (f" --max-time {call.timeout:g}" if call.timeout else "")]
    lines += ["--no-buffer"] if call.method.server_streaming else []
    lines += ["--globoff"] if "[" in url else []
    lines += _verb(sent)
    lines += _certificates(call, "--")
    lines += _headers(call)
    here = ""
    if sent.body is not None:
        lines.append("-H 'content-type: application/json'")
        data, here = _data([sent.body], "--data-raw {}", "--data-binary @-")
        lines.append(data)
    return _command(call, [*lines, shlex.quote(url)], here)


def _verb(sent: HttpRequest) -> list[str]:
    plain = "POST" if sent.body is not None else "GET"
    return [] if sent.verb == plain else [f"--request {shlex.quote(sent.verb)}"]


# --- grpcurl ------------------------------------------------------------------------------------------------------


def grpcurl(call: Call) -> str:
    """The call as a grpcurl command, which asks the gateway for its schema unless that came from files.

    Raises RequestError if JSON cannot express the request, or grpcurl cannot read these sources.
    """
    target = call.settings.target
    lines = [
        "grpcurl" + ("" if target.tls else " -plaintext") + (f" -max-time {call.timeout:g}" if call.timeout else "")
    ]
    lines += _schema_flags(call)
    lines += _certificates(call, "-")
    lines += _headers(call)
    lines += [_header("-reflect-header", *pair) for pair in call.reflect_headers]
    texts = [printable_json(_as_read(message, proto_json(message, json_names=False))) for message in call.requests]
    data, here = _data(texts, "-d {}", "-d @")
    return _command(call, [*lines, data, f"{shlex.quote(target.address)} {shlex.quote(call.method.full_name)}"], here)


def _schema_flags(call: Call) -> list[str]:
    source, schema = call.source, call.source.schema
    if source.kind == "descriptors":
        for path in source.paths:
            if Path(path).read_bytes()[:2] == b"\x1f\x8b":
                raise RequestError("descriptors", path, "gunzip it first", "is gzipped, and grpcurl does not read that")
        return [f"-protoset {shlex.quote(path)}" for path in source.paths]
    if source.kind != "proto" or schema is None:
        return []
    from invora_grpc.cli.protos import bundled

    file = schema.service(call.method.service).file
    roots = [path.parent if path.is_file() else path for path in map(Path, source.paths)]
    if not any((root / file).is_file() for root in roots):
        hint = "write it to a file by `buf build -o FILE`, and take that with --descriptors"
        raise RequestError("proto", ", ".join(source.paths), hint, f"is no folder that grpcurl finds {file} in")
    needed = any(not any((root / name).is_file() for root in roots) for name in schema.files.files)
    return [
        *(f"-import-path {shlex.quote(str(root))}" for root in [*roots, *(bundled() if needed else [])]),
        f"-proto {shlex.quote(file)}",
    ]


def _is_zero(value: object) -> bool:
    return isinstance(value, float) and value == 0


def _as_read(message: Any, values: Any) -> Any:
    """The JSON of a message as grpcurl reads it. Raises RequestError for what it cannot read.

    To it, field masks are messages like any other (issue 393, open for all versions up to 1.9), while protobuf's JSON
    has them as one text; a duration has the range of Go's; and what equals zero is left out.
    """
    kind = kind_of(descriptor_of(message))
    if kind == FIELD_MASK:
        return {"paths": list(message.paths)}
    if kind == "google.protobuf.Duration" and abs(message.seconds) >= _LONGEST_DURATION:
        raise RequestError("request", f"{message.seconds} s", "use --python", "is a longer duration than grpcurl reads")
    if not isinstance(values, dict):
        return values
    for field, value in message.ListFields():
        if _is_zero(value) and not field.has_presence:  # else it would not be listed
            raise RequestError(field.name, value, "use --python", "is a zero with a sign, which grpcurl leaves out")
        if inner_type(field) is None or field.name not in values:
            continue
        told = values[field.name]
        if is_map(field):
            pairs = {str(key).lower() if isinstance(key, bool) else str(key): value[key] for key in value}
            values[field.name] = {name: _as_read(item, told[name]) for name, item in pairs.items()}
        elif field.is_repeated:
            values[field.name] = [_as_read(*pair) for pair in zip(value, told, strict=True)]
        else:
            values[field.name] = _as_read(value, told)
    return values


# --- shell --------------------------------------------------------------------------------------------------------


def _headers(call: Call) -> list[str]:
    """One -H for each pair of metadata; secrets as variables."""
    lines = [f'-H "authorization: Bearer ${TOKEN}"'] if call.authorized else []
    return [*lines, *(_header("-H", *pair) for pair in call.metadata)]


def _header(option: str, name: str, value: str | bytes) -> str:
    """One pair of metadata; a secret one as a variable."""
    if is_secret(name):
        return f'{option} "{name}: ${variable(name)}"'
    return f"{option} {shlex.quote(f'{name}: {_shown(value)}')}"


def _certificates(call: Call, dash: str) -> list[str]:
    return [f"{dash}{name} {shlex.quote(path)}" for name, path in pems(call).items()]


def _data(texts: list[str], argument: str, from_input: str) -> tuple[str, str]:
    """The option that holds these texts, and what follows the command: a here-document for several or long ones."""
    if len(texts) == 1 and len(texts[0].encode()) < _LONGEST:
        return argument.format(shlex.quote(texts[0])), ""
    return from_input, "\n".join([" <<'JSON'", *texts, "JSON"])


def _command(call: Call, lines: list[str], here: str) -> str:
    return f"{_note(call)}{_wrapped(lines)}{here}"


def _wrapped(lines: list[str]) -> str:
    whole = " ".join(lines)
    return whole if len(whole) <= 120 else " \\\n  ".join(lines)


def _note(call: Call) -> str:
    """How the variables come to their values, as comments of the shell."""
    notes = [f'# {TOKEN}="$(invora token)"'] if call.authorized else []
    pairs = (*call.metadata, *call.reflect_headers)
    notes += [f"# {variable(name)}: the value of {name}" for name, _ in pairs if is_secret(name)]
    return "".join(f"{note}\n" for note in notes)


# --- what would be sent -------------------------------------------------------------------------------------------


def planned(call: Call) -> dict[str, Any]:
    """What would be sent, in JSON's own types; secrets are "***", in the requests too."""
    method = call.method
    try:
        rest = http_request(method, call.requests[0]) if not method.client_streaming else None
    except RequestError:
        rest = None
    return {
        "where": call.where,
        "endpoint": call.settings.target.url,
        "method": method.full_name,
        "streaming": method.streaming,
        "scope": method.scope,
        "schema": "server reflection" if call.source.schema is None and method.schema is not None
        else call.source.described,
        "timeout": call.timeout,
        "metadata": {
            **({"authorization": "Bearer ***"} if call.authorized else {}),
            **{name: "***" if is_secret(name) else _shown(value) for name, value in call.metadata},
        },
        "http": None if rest is None else f"{rest.verb} {rest.target}",
        "bytes": [message.ByteSize() for message in call.requests],
        "requests": [hidden(to_json(message)) for message in call.requests],
    }  # fmt: skip


def _shown(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def dry_run(call: Call) -> str:
    """What would be sent, for people."""
    plan = planned(call)
    kind = f"{plan['streaming']} streaming" if plan["streaming"] else "unary"
    rows = [
        ("to", plan["where"] or plan["endpoint"]),
        ("method", f"/{plan['method']} ({kind})"),
        *([("scope", plan["scope"])] if plan["scope"] else []),
        ("schema", plan["schema"]),
        ("deadline", f"{call.timeout:g} s" if call.timeout else "none"),
        *((name, value) for name, value in plan["metadata"].items()),
        *([("REST", plan["http"])] if plan["http"] else []),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {one_line(str(value), 4000)}" for name, value in rows]
    for size, values in zip(plan["bytes"], plan["requests"], strict=True):
        lines += [f"{'request':<{width}}  {size} bytes", printable_json(values, indent=2)]
    return "\n".join([*lines, "nothing was sent"])
