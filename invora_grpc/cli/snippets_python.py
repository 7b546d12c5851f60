"""A call as Python that makes it with this package, and Python literals for the values of a request.

What is printed is checked first: the values, read by `build`, have to give the very request.
"""

from __future__ import annotations

import datetime
import keyword
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from invora_grpc.cli.secrecy import is_secret, variable
from invora_grpc.errors import RequestError
from invora_grpc.kinds import descriptor_of
from invora_grpc.reading import to_python
from invora_grpc.values import build

if TYPE_CHECKING:
    from invora_grpc.cli.snippets import Call
    from invora_grpc.metadata import Pair

__all__ = ["arguments", "literal", "python"]

_WIDTH: Final = 100
_INDENT: Final = "    "
_REPR: Final = (bool, int, float, bytes, datetime.date, datetime.time, datetime.timedelta)
"""Types whose repr is an expression."""


def python(call: Call) -> str:
    """The call as a Python program. Raises RequestError if plain Python values cannot express the request."""
    requests = [_plain(message) for message in call.requests]
    before, area = _area(call)
    if call.method.client_streaming:
        expression = f"{area}.{call.method.rpc}({literal(requests, 1)})"
    else:
        expression = f"{area}.{call.method.rpc}({arguments(requests[0], 1)})"
    lines = [*before, f"with Invora({_joined(_settings(call))}) as client:"]
    options = _options(call)
    lines += [f"    client = client.with_options({_joined(options)})"] if options else []
    lines += [f"    for answer in {expression}:", "        print(answer)"] if call.method.server_streaming else [
        f"    print({expression})"
    ]  # fmt: skip
    body = "\n".join(lines)
    note = (
        "# Signs in with INVORA_TOKEN, or with INVORA_CLIENT_ID and INVORA_CLIENT_SECRET.\n" if call.authorized else ""
    )
    return f"{_imports(body, call)}\n\n{note}{body}"


def _plain(message: Message) -> dict[str, Any]:
    """The request as Python values, of which `build` makes the very same."""
    values = to_python(message)
    again = build(type(message), values)
    if again.SerializeToString(deterministic=True) != message.SerializeToString(deterministic=True):
        raise RequestError("request", descriptor_of(message).full_name, "use --grpcurl", "is no plain Python value")
    return values


def _area(call: Call) -> tuple[list[str], str]:
    """What comes before, and the expression for the service."""
    method, source = call.method, call.source
    if method.rpc.startswith("_") or method.rpc == "service":
        raise RequestError("method", method.full_name, "use --grpcurl", "has a name that no attribute can have")
    if method.schema is None:
        return [], f"client.{method.module}.{method.area}"
    if source.schema is None:
        if not call.reflect_headers:
            return [], f'client.service({literal(method.service)}, schema="server")'
        schema = f"client.reflect([{literal(method.service)}], metadata={_pairs(call.reflect_headers)})"
        return [], f"client.service({literal(method.service)}, schema={schema})"
    made = f"schema = source_of({source.kind}={literal(list(source.paths))}).schema"
    return [made, ""], f"client.service({literal(method.service)}, schema=schema)"


def _settings(call: Call) -> list[str]:
    settings = call.settings
    given = {"endpoint": settings.target.url, "org_id": settings.org_id, "timeout": call.timeout, "schema": call.policy}
    if settings.issuer != settings.environment.issuer:
        given["issuer"] = settings.issuer
    said = [f"{name}={literal(value)}" for name, value in given.items() if value is not None]
    said += [] if call.authorized else ["tokens=NoToken()"]
    return [*said, *([] if call.timeout else ["timeout=None"]), *_certificates(call)]


def _certificates(call: Call) -> list[str]:
    from invora_grpc.cli.snippets import pems

    read = {name: f"Path({literal(path)}).read_bytes()" for name, path in pems(call).items()}
    said = [f"root_certificates={read['cacert']}"] if "cacert" in read else []
    return [*said, f"client_certificate=({read['key']}, {read['cert']})"] if {"key", "cert"} <= read.keys() else said


def _options(call: Call) -> list[str]:
    """What is no setting of a client: metadata, and the deadline of a stream."""
    options = [f"timeout={literal(call.timeout)}"] if call.method.streaming and call.timeout else []
    if call.headers:
        options.append(f"metadata={_pairs(call.headers)}")
    return options


def _pairs(headers: Iterable[Pair]) -> str:
    return f"[{_joined(f'({literal(name)}, {_value(name, value)})' for name, value in headers)}]"


def _value(name: str, value: str | bytes) -> str:
    if not is_secret(name):
        return literal(value)
    taken = f'os.environ["{variable(name)}"]'
    return f"base64.b64decode({taken})" if isinstance(value, bytes) else taken


def _imports(body: str, call: Call) -> str:
    """The imports of what the program uses."""
    words = {"base64.b64decode(": "import base64", "datetime.": "import datetime", "os.environ[": "import os"}
    plain = [line for word, line in words.items() if word in body]
    plain += ["from decimal import Decimal"] if "Decimal(" in body else []
    plain += ["from pathlib import Path"] if "Path(" in body else []
    own = ["from invora_grpc import Invora"]
    own += [] if call.authorized else ["from invora_grpc.auth import NoToken"]
    own += ["from invora_grpc.cli.sources import source_of"] if "source_of(" in body else []
    return "\n\n".join("\n".join(part) for part in (plain, own) if part)


# --- literals -----------------------------------------------------------------------------------------------------


def arguments(values: Mapping[str, Any], depth: int = 0) -> str:
    """The fields of a request as keyword arguments; as a mapping where a name cannot be one."""
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in values):
        return literal(dict(values), depth)
    items = [f"{name}={literal(value, depth + 1)}" for name, value in values.items()]
    return _laid_out(items, depth, "", "")


def literal(value: Any, depth: int = 0) -> str:
    """A Python expression for a plain value, over several lines if it is long; `depth` levels are around it."""
    if isinstance(value, Mapping):
        items = [f"{literal(key)}: {literal(item, depth + 1)}" for key, item in value.items()]
        return _laid_out(items, depth, "{", "}")
    if isinstance(value, list | tuple):
        return _laid_out([literal(item, depth + 1) for item in value], depth, "[", "]")
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        text = repr(value)
        return text if '"' in text or "\\'" in text or text[0] == '"' else f'"{text[1:-1]}"'
    if isinstance(value, Decimal):
        return f'Decimal("{value}")'
    if value is None or isinstance(value, _REPR):
        return repr(value)
    raise RequestError("request", value, "use --grpcurl", f"is a {type(value).__name__}, which has no literal")


def _laid_out(items: Iterable[str], depth: int, start: str, end: str) -> str:
    items = list(items)
    flat = start + ", ".join(items) + end
    if "\n" not in flat and len(flat) + len(_INDENT) * depth <= _WIDTH:
        return flat
    inner = _INDENT * (depth + 1)
    return "".join([start, "\n", *(f"{inner}{item},\n" for item in items), _INDENT * depth, end])


def _joined(items: Iterable[str]) -> str:
    return ", ".join(items)
