"""google.api.http: an RPC's request as the HTTP request that a REST gateway turns back into it.

The rules are those of google/api/http.proto and AIP-127: path variables, then the body, and the rest is query
parameters, with JSON names. What cannot be said in a URL, or would come out as another request or another RPC, is
refused and never sent as something similar. The room sends nothing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from invora_grpc.catalog import HttpRule, Method, catalog
from invora_grpc.errors import RequestError
from invora_grpc.kinds import ANY, LIST_VALUE, STRUCT, VALUE, descriptor_of, is_map
from invora_grpc.unknown import unknown_fields

__all__ = ["HttpRequest", "Template", "http_request", "printable_json", "proto_json"]

_GRPC: Final = "use gRPC for this request"
_PIECE: Final = re.compile(r"\{([^{}=]+)(?:=([^{}]*))?\}|(/)|(\*\*)|(\*)|([^/{}*]+)")
_FIELD_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")
_FREE: Final = (STRUCT, VALUE, LIST_VALUE, ANY)
"""Types whose JSON form is anything at all, which no query parameter can hold."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request without host and headers."""

    verb: str
    """GET, POST, PUT, PATCH, DELETE, or one of the rule's own."""
    path: str
    """Percent-encoded, from the first slash on."""
    query: tuple[tuple[str, str], ...]
    """Parameters as they are before they are encoded; repeated fields come several times."""
    body: str | None
    """JSON; None for none."""

    @property
    def target(self) -> str:
        """Path and query, encoded, as in the first line of the request."""
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path


# --- path templates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """A path template, e.g. /v1/{name=shelves/*}:read (google/api/http.proto, "Path template syntax")."""

    text: str
    pieces: tuple[str | tuple[str, str], ...]
    """Literals and bare wildcards as they stand, and variables as field path and pattern."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """The template of a rule. Raises RequestError for what is none."""
        pieces: list[str | tuple[str, str]] = []
        at = 0
        while match := _PIECE.match(text, at):
            at = match.end()
            name, pattern = match[1], match[2]
            pieces.append(match[0] if name is None else (name, "*" if pattern is None else pattern))
        names = [piece[0] for piece in pieces if not isinstance(piece, str)]
        plain = text.startswith("/") and _PLAIN.fullmatch(text) is not None
        if at != len(text) or not plain or not all(map(_FIELD_PATH.fullmatch, names)):
            raise RequestError("http", text, _GRPC, "is no path template")
        return cls(text, tuple(pieces))

    @property
    def variables(self) -> tuple[str, ...]:
        """The field paths that the path binds."""
        return tuple(piece[0] for piece in self.pieces if not isinstance(piece, str))

    @property
    def specificity(self) -> tuple[int, ...]:
        """Of two templates that match one path, gateways take the smaller: a literal goes before * and that before **.

        One number for each segment.
        """
        flat = "".join(piece if isinstance(piece, str) else piece[1] for piece in self.pieces)
        return tuple(2 if "**" in segment else 1 if "*" in segment else 0 for segment in flat.split("/")[1:])

    def expand(self, values: Mapping[str, str]) -> str:
        """The encoded path with these texts for its variables.

        A variable of one segment has all but unreserved characters encoded, others keep their slashes. Raises
        RequestError for a text that its variable cannot hold.
        """
        return "".join(
            self._literal(piece) if isinstance(piece, str) else _filled(*piece, values[piece[0]])
            for piece in self.pieces
        )

    def _literal(self, piece: str) -> str:
        if piece in ("*", "**"):
            raise RequestError("http", self.text, _GRPC, "has a wildcard that is no field")
        return piece

    def match(self, path: str) -> dict[str, str] | None:
        """The texts of the variables in an encoded path, None if the path is of another template."""
        found = _matcher(self).fullmatch(path)
        return None if found is None else {name: unquote(found[f"v{n}"]) for n, name in enumerate(self.variables)}


@functools.lru_cache(1024)
def _matcher(template: Template) -> re.Pattern[str]:
    number = iter(range(len(template.pieces)))
    return re.compile(
        "".join(
            _expression(piece) if isinstance(piece, str) else f"(?P<v{next(number)}>{_expression(piece[1])})"
            for piece in template.pieces
        )
    )


def _expression(pattern: str) -> str:
    """What a pattern of literals and wildcards matches, as a regular expression."""
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/:]+"}.get(part, re.escape(part)) for part in parts)


def _filled(name: str, pattern: str, text: str) -> str:
    several = pattern != "*"
    encoded = quote(text, safe="/" if several else "")
    if not text:
        raise RequestError(name, text, "give it: it is a part of the HTTP path", "is empty")
    if any(segment in ("", ".", "..") for segment in (text.split("/") if several else [text])):
        raise RequestError(name, text, _GRPC, "has a step that HTTP leaves out of paths")
    if several and not re.fullmatch(_expression(pattern), encoded):
        raise RequestError(name, text, f"give a value of the form {pattern}", "does not fit the HTTP path")
    return encoded


# --- requests -----------------------------------------------------------------------------------------------------


def http_request(method: Method, request: Message) -> HttpRequest:
    """The HTTP request for an RPC, by its google.api.http rule.

    Raises RequestError if the RPC has no rule or streams requests, if the request cannot be said in HTTP without loss,
    or if a gateway could take it for one of another RPC.
    """
    rule = method.http
    if method.client_streaming or rule is None:
        problem = "streams its requests" if method.client_streaming else "has no HTTP rule"
        raise RequestError("method", method.full_name, _GRPC, problem)
    if unknown_fields(request):
        name = descriptor_of(request).full_name
        raise RequestError("request", name, _GRPC, "has fields that the schema does not know, and JSON has no name for")
    template, rest = Template.parse(rule.path), _copy(request)
    path = template.expand({name: _path_text(request, name) for name in template.variables})
    for name in template.variables:
        _clear(rest, name)
    body = _body(rest, rule)
    if rule.body == "*":
        rest = type(request)()
    elif rule.body:
        rest.ClearField(_own(rest, rule.body).name)
    _refuse_rivals(method, rule, path)
    query = tuple(_parameters(descriptor_of(rest), proto_json(rest), ""))
    return HttpRequest(rule.verb, path, query, body)


def printable_json(value: object, *, indent: int | None = None) -> str:
    """JSON in which only characters stand for themselves that a terminal shows, of whatever script."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def proto_json(message: Message, *, json_names: bool = True) -> dict[str, Any]:
    """The message in JSON's own types, as protobuf's JSON mapping writes it, which is what gateways and tools read.

    `json_names`: camelCase unless the schema says otherwise; False: proto field names. Raises RequestError if JSON
    cannot hold it: what is read back has to be the same.
    """
    kind, pool = descriptor_of(message).full_name, descriptor_of(message).file.pool
    try:
        values: dict[str, Any] = json_format.MessageToDict(
            message, preserving_proto_field_name=not json_names, descriptor_pool=pool
        )
        again = json_format.ParseDict(values, type(message)(), descriptor_pool=pool)
    except (json_format.Error, TypeError, ValueError, RecursionError) as error:
        raise RequestError("request", kind, _GRPC, f"cannot be written as JSON: {error}") from None
    if again.SerializeToString(deterministic=True) != message.SerializeToString(deterministic=True):
        raise RequestError("request", kind, _GRPC, "cannot be written as JSON without loss")
    return values


def _body(rest: Message, rule: HttpRule) -> str | None:
    if not rule.body:
        return None
    values = proto_json(rest)
    if rule.body == "*":
        return printable_json(values)
    name = _own(rest, rule.body).json_name
    return printable_json(values[name]) if name in values else None


def _own(message: Message, name: str) -> FieldDescriptor:
    """A field of the message. Raises RequestError if the rule names one that there is not."""
    field = descriptor_of(message).fields_by_name.get(name)
    if field is None:
        raise RequestError("http", name, _GRPC, f"is no field of {descriptor_of(message).full_name}")
    return field


# --- path variables -----------------------------------------------------------------------------------------------


def _path_text(message: Any, path: str) -> str:
    """The field at a path as text. Raises RequestError if it is none that a path can hold, or is not given."""
    *outer, last = path.split(".")
    for name in outer:
        field = _own(message, name)
        if field.is_repeated or field.message_type is None:
            raise RequestError("http", path, _GRPC, "is no field of a message")
        if not message.HasField(name):
            raise RequestError(path, None, "give it: it is a part of the HTTP path", "is missing")
        message = getattr(message, name)
    field = _own(message, last)
    if field.is_repeated or field.message_type is not None:
        raise RequestError("http", path, _GRPC, "is no field that a path can hold")
    if field.has_presence and not message.HasField(last):
        raise RequestError(path, None, "give it: it is a part of the HTTP path", "is missing")
    return (
        _default_text(field)
        if not _is_set(message, field)
        else _text(proto_json(_only(message, last))[field.json_name])
    )


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    return any(one.name == field.name for one, _ in message.ListFields())


def _default_text(field: FieldDescriptor) -> str:
    """The text of a field without presence that has its default value."""
    if field.enum_type is not None:
        return str(field.enum_type.values[0].name)
    return "false" if field.type == FieldDescriptor.TYPE_BOOL else "" if _is_text(field) else "0"


def _is_text(field: FieldDescriptor) -> bool:
    return field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _only(message: Any, name: str) -> Message:
    """A message that has this one field only."""
    made: Any = type(message)()
    setattr(made, name, getattr(message, name))
    only: Message = made
    return only


def _clear(message: Any, path: str) -> None:
    """Leave a field out, and the messages around it that hold nothing else: the path brings them back."""
    first, _, rest = path.partition(".")
    if rest:
        inner = getattr(message, first)
        _clear(inner, rest)
        if inner.ByteSize():
            return
    message.ClearField(first)


# --- query parameters ---------------------------------------------------------------------------------------------


def _parameters(descriptor: Descriptor, values: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """A parameter for each value: fields of messages with dots, those of lists one by one."""
    for field in descriptor.fields:
        if field.json_name not in values:
            continue
        name, value = f"{path}{field.json_name}", values[field.json_name]
        if field.message_type is None:
            yield from ((name, _text(item)) for item in (value if field.is_repeated else [value]))
        elif is_map(field) or field.is_repeated or field.message_type.full_name in _FREE:
            raise RequestError(
                name, None, _GRPC, "cannot be a query parameter: it is a map, a list of messages or JSON"
            )
        elif not isinstance(value, dict):
            yield name, _text(value)
        elif not value:
            raise RequestError(name, value, _GRPC, "is an empty message, and no query parameter can say so")
        else:
            yield from _parameters(field.message_type, value, f"{name}.")


def _text(value: Any) -> str:
    """A JSON scalar as it stands in a URL."""
    return value if isinstance(value, str) else json.dumps(value)


# --- other RPCs ---------------------------------------------------------------------------------------------------


def _refuse_rivals(method: Method, rule: HttpRule, path: str) -> None:
    """Raises RequestError if the path is also that of another RPC, and not more so of this one."""
    mine = Template.parse(rule.path).specificity
    for other in _methods(method):
        if other.http is None or other.http.verb != rule.verb or other.path == method.path:
            continue
        theirs = _template(other.http.path)
        if theirs is not None and theirs.match(path) is not None and theirs.specificity <= mine:
            problem = f"has the HTTP path of {other.full_name} too, and a gateway cannot tell them apart"
            raise RequestError("method", method.full_name, _GRPC, problem)


@functools.lru_cache(2048)
def _template(text: str) -> Template | None:
    """The template of another RPC's rule; None if no gateway could take it for one."""
    try:
        return Template.parse(text)
    except RequestError:
        return None


def _methods(method: Method) -> Iterable[Method]:
    if method.schema is None:
        return catalog().methods
    return (one for service in method.schema.services.values() for one in service.methods)
