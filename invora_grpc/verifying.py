"""Messages that a caller built by hand, checked before they are sent: amounts that no rule allows are refused.

`build` checks what it builds; a ready message does not pass through it, and protobuf takes any units and nanos.
A check is compiled per message type from its descriptor and visits only the branches that can hold an amount. The room
must not change a message, and it must not import generated modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc import kinds
from invora_grpc.compiling import Source, attribute
from invora_grpc.exact import check_decimal
from invora_grpc.kinds import descriptor_of, inner_type, is_map, kind_of
from invora_grpc.scalars import Refused

Check = Callable[[Any], None]
_CHECK = "__invora_check__"
_HOLDERS = "__invora_holders__"
_ASKED_AT_MOST = 12  # fields asked one by one; for more, listing those that are set is quicker


def verifier_of(message_class: type[Message]) -> Callable[[Message], None] | None:
    """The check of a message class; None if no message of it can hold an amount, however deep.

    The check raises RequestError, with the path, for the first `kernel.DecimalValue` whose units and nanos differ in
    sign or whose nanos make a unit. Ask once per class and keep the answer.
    """
    if not _holds_amounts(descriptor_of(message_class)):
        return None

    check = _check_of(message_class)

    def verify(message: Message) -> None:
        try:
            check(message)
        except ValueError:
            raise _refusal(message).at("") from None

    return verify


def refuse_bad_amounts(message: Message) -> None:
    """Refuses, with the steps that lead to it, an amount that must not be sent, wherever it is in the message."""
    try:
        _check_of(type(message))(message)
    except ValueError:
        raise _refusal(message) from None


def _refusal(message: Message) -> Refused:
    """What is wrong with a message that its check turned down."""
    for steps, amount in _amounts(message):
        try:
            check_decimal(amount.units, amount.nanos)
        except ValueError as problem:
            return Refused(amount, str(problem), *steps)
    return Refused(message, "it changed while it was checked: build one message per call")


def _amounts(message: Any) -> Iterator[tuple[list[str], Any]]:
    """All amounts in a message, each with the steps of its path, innermost first."""
    if kind_of(descriptor_of(type(message))) == kinds.DECIMAL:
        yield [], message
        return
    for field, value in type(message).ListFields(message):
        for step, inner in kinds.messages_in(field, value):
            for steps, amount in _amounts(inner):
                yield [*steps, f".{field.name}{step}"], amount


# --- checks, compiled ---------------------------------------------------------------------------------------------


def _check_of(message_class: type[Message]) -> Check:
    """The check of a message class, compiled once; raises ValueError. Two threads make two equal ones."""
    check: Check | None = getattr(message_class, _CHECK, None)
    if check is None:
        check = _compiled(message_class)
        setattr(message_class, _CHECK, check)
    return check


def _compiled(message_class: type[Message]) -> Check:
    descriptor = descriptor_of(message_class)
    if kind_of(descriptor) == kinds.DECIMAL:
        return lambda message: check_decimal(message.units, message.nanos)
    fields = [
        field for field in descriptor.fields if (inner := inner_type(field)) is not None and _holds_amounts(inner)
    ]
    if len(fields) > _ASKED_AT_MOST:
        return _listing(message_class)
    source = Source()
    source.add("pass")
    has, amount = source.bind(message_class.HasField), source.bind(check_decimal)
    for field in fields:
        held = attribute("m", field.name)
        is_amount = not is_map(field) and (of := field.message_type) is not None and kind_of(of) == kinds.DECIMAL
        check = "" if is_amount else _bound(source, field)
        if is_map(field):
            source.add(f"v = {held}", f"for k in v: {check}(v[k])")
        elif field.is_repeated and is_amount:
            source.add(f"for v in {held}[:]: {amount}(v.units, v.nanos)")
        elif field.is_repeated:
            source.add(f"for v in {held}[:]: {check}(v)")
        elif is_amount:
            source.add(f"if {has}(m, {field.name!r}):", f" v = {held}")
            source.add(f" if v.nanos: {amount}(v.units, v.nanos)")
        else:
            source.add(f"if {has}(m, {field.name!r}): {check}({held})")
    return source.function(descriptor.full_name)


def _bound(source: Source, field: FieldDescriptor) -> str:
    """A name for the check of the messages in a field, which is compiled when the first one turns up."""
    name = source.bind(None)

    def first(message: Any) -> None:
        check = source.names[name] = _check_of(type(message))
        check(message)

    source.names[name] = first
    return name


def _listing(message_class: type[Message]) -> Check:
    """A check for a wide type, of which a message holds little: asks for what is set."""
    list_fields = message_class.ListFields
    known: dict[FieldDescriptor, bool] = {}

    def check(message: Any) -> None:
        for field, value in list_fields(message):
            holds = known.get(field)
            if holds is None:
                inner = inner_type(field)
                holds = known[field] = inner is not None and _holds_amounts(inner)
            if holds:
                for _, part in kinds.messages_in(field, value):
                    _check_of(type(part))(part)

    return check


def _holds_amounts(descriptor: Descriptor) -> bool:
    """Whether a message of the type can hold an amount, at any depth. Types may contain themselves."""
    try:
        amount = descriptor.file.pool.FindMessageTypeByName(kinds.DECIMAL)
    except KeyError:
        return False
    amount_class = GetMessageClass(amount)
    known: dict[str, bool] | None = getattr(amount_class, _HOLDERS, None)
    if known is None:
        known = {amount.full_name: bool(kind_of(amount))}
        setattr(amount_class, _HOLDERS, known)  # there, because it goes when the pool goes
    if descriptor.full_name not in known:
        _search_amounts(descriptor, known)
    return known[descriptor.full_name]


def _search_amounts(descriptor: Descriptor, known: dict[str, bool]) -> None:
    """Find out about a type and add it to what is known, with all types on the way."""
    come_from: dict[str, str] = {descriptor.full_name: ""}
    to_visit = [descriptor]
    while to_visit:
        current = to_visit.pop()
        inner = {of.full_name: of for field in current.fields if (of := inner_type(field)) is not None}
        if any(known.get(name) for name in inner):
            name = current.full_name
            while name:
                known[name] = True
                name = come_from[name]
            return
        for name, of in inner.items():
            if name not in come_from and name not in known:
                come_from[name] = current.full_name
                to_visit.append(of)
    known.update(dict.fromkeys(come_from, False))
