"""What may stand at the end of a line of the shell: commands, RPCs, options, and fields and values from the schema.

Pure of terminals: it is given the words before the cursor and gives suggestions; the shell shows them. What bash and
others ask for is in `invora_grpc.cli.completing`, which may load neither click nor protobuf and knows text only; here
both are loaded, and the types are those of any source and of the gateway that is connected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from invora_grpc.catalog import Method
from invora_grpc.cli.words import Word
from invora_grpc.errors import RequestError, one_line

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["Suggestion", "Vocabulary", "fields_of", "suggestions", "values_of"]

_STEP = re.compile(r"([A-Za-z_]\w*)((?:\[\d*\])*)")
_NAMES_OF_METHODS = ("method", "symbol")
"""How commands call an argument that names an RPC."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One way to go on."""

    text: str
    """The whole word, to be put in place of what is typed of it."""
    meta: str = ""
    """What it is, in a few words."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the words of a line can be."""

    commands: Mapping[str, str]
    """First word → what it does."""
    command: Callable[[str], click.Command | None]
    """The command of a first word; None if it has no options, or is none."""
    methods: Callable[[], Iterable[Method]]
    """The RPCs that are known."""
    method: Callable[[str], Method]
    """The RPC of a name. Raises RequestError."""
    settings: Callable[[], Mapping[str, click.Option]]
    """What `set` can set."""


def suggestions(words: Sequence[Word], typed: str, known: Vocabulary) -> Iterator[Suggestion]:
    """How the word `typed`, "" for a new one, may go on after `words`."""
    if not words:
        yield from _starting(typed, known.commands.items())
        if typed:
            yield from _methods(typed, known)
        return
    first = words[0].text
    if first in ("set", "unset"):
        yield from _settings(words, typed, known)
        return
    command, rest = known.command(first), list(words[1:])
    if command is None and first not in known.commands:  # an RPC stands for a call of it
        command, rest = known.command("call"), list(words)
    while isinstance(command, click.Group):
        context = click.Context(command)
        if not rest:
            yield from _starting(typed, ((name, "") for name in command.list_commands(context)))
            return
        command, rest = command.get_command(context, rest[0].text), rest[1:]
    if command is not None:
        yield from _of_command(command, rest, typed, known)


def _of_command(command: click.Command, words: Sequence[Word], typed: str, known: Vocabulary) -> Iterator[Suggestion]:
    options = {name: option for option in _options(command) for name in (*option.opts, *option.secondary_opts)}
    before = options.get(words[-1].text) if words else None
    if before is not None and not before.is_flag:
        yield from _choices(before, typed)
        return
    if typed.startswith("-"):
        yield from _starting(typed, ((name, _line(option)) for name, option in options.items() if name[1:2] == "-"))
        return
    names = [argument.name for argument in command.params if isinstance(argument, click.Argument)]
    if not names or names[0] not in _NAMES_OF_METHODS:
        return
    given = list(_arguments(words, options))
    if not given:
        yield from _methods(typed, known)
    elif "fields" in names:
        yield from _request(given[0], typed, known)


def _arguments(words: Sequence[Word], options: Mapping[str, click.Option]) -> Iterator[str]:
    """The words that are neither options nor their values."""
    value = False
    for word in words:
        option = options.get(word.text)
        if not value and option is None and not word.text.startswith("--"):
            yield word.text
        value = not value and option is not None and not option.is_flag


def _options(command: click.Command) -> Iterator[click.Option]:
    return (option for option in command.params if isinstance(option, click.Option) and not option.hidden)


def _settings(words: Sequence[Word], typed: str, known: Vocabulary) -> Iterator[Suggestion]:
    settings = known.settings()
    if len(words) == 1:
        yield from _starting(typed, ((name, _line(option)) for name, option in settings.items()))
    elif len(words) == 2 and words[0].text == "set" and words[1].text in settings:
        yield from _choices(settings[words[1].text], typed)


def _choices(option: click.Option, typed: str) -> Iterator[Suggestion]:
    if isinstance(option.type, click.Choice):
        yield from _starting(typed, ((str(choice), "") for choice in option.type.choices))


def _line(option: click.Option) -> str:
    return (option.help or "").partition(". ")[0].rstrip(".")


def _starting(typed: str, all_of_them: Iterable[tuple[str, str]]) -> Iterator[Suggestion]:
    return (Suggestion(text, meta) for text, meta in all_of_them if text.startswith(typed))


# --- RPCs ---------------------------------------------------------------------------------------------------------


def _methods(typed: str, known: Vocabulary) -> Iterator[Suggestion]:
    """The RPCs of which some word, and what follows it, begins as typed."""
    wanted = f".{typed}".lower()
    for method in known.methods():
        name = method.attribute
        if wanted in f".{name}" or wanted in f".{method.service}.{method.name}".lower():
            yield Suggestion(one_line(name, 200), _meaning(method))


def _meaning(method: Method) -> str:
    kind = f"{method.streaming} streaming" if method.streaming else ""
    return one_line(", ".join(part for part in (kind, method.doc.split("\n")[0]) if part), 80)


# --- requests -----------------------------------------------------------------------------------------------------


def _request(name: str, typed: str, known: Vocabulary) -> Iterator[Suggestion]:
    try:
        descriptor = _request_type(known.method(name))
    except (RequestError, KeyError):
        return
    path, equals, value = typed.partition("=")
    if not equals:
        yield from fields_of(descriptor, path)
        return
    field = _field_at(descriptor, path.rstrip(":"))
    if field is not None:
        for text in values_of(field):
            if text.lower().startswith(value.lower()):
                yield Suggestion(f"{path}={text}")


def _request_type(method: Method) -> Descriptor:
    from invora_grpc.call import bind
    from invora_grpc.kinds import descriptor_of

    return descriptor_of(bind(method).request_class)


def fields_of(descriptor: Descriptor, path: str) -> Iterator[Suggestion]:
    """The fields that go on a path such as `lines[0].un`: with a dot if there is more inside, else with a =."""
    holder, dot, start = path.rpartition(".")
    inner = _message_at(descriptor, holder) if dot else descriptor
    if inner is None:
        return
    name, bracket, _ = start.partition("[")
    for field in inner.fields:
        if (field.name == name) if bracket else field.name.startswith(name):
            place = f"{holder}{dot}{field.name}{'[0]' if _is_list(field) else ''}"
            if not bracket or place.startswith(path):
                yield Suggestion(place + ("." if _has_fields(field) else "="), _type(field))


def values_of(field: FieldDescriptor) -> list[str]:
    """The values of a field that has only a few: an enum's short names, true and false."""
    from invora_grpc.kinds import enum_names

    if field.enum_type is not None:
        return [one_line(name, 200) for name in enum_names(field.enum_type)]
    return ["true", "false"] if field.cpp_type == field.CPPTYPE_BOOL else []


def _message_at(descriptor: Descriptor, path: str) -> Descriptor | None:
    field = _field_at(descriptor, path)
    return _inside(field) if field is not None and _has_fields(field) else None


def _inside(field: FieldDescriptor) -> Descriptor | None:
    """The type whose fields follow in a path; None also for maps, since any key may."""
    from invora_grpc.kinds import is_map

    return None if is_map(field) else field.message_type


def _field_at(descriptor: Descriptor, path: str) -> FieldDescriptor | None:
    inner: Descriptor | None = descriptor
    field: FieldDescriptor | None = None
    for part in path.split("."):
        step = _STEP.fullmatch(part)
        if inner is None or step is None:
            return None
        fields: Any = inner.fields_by_name
        field = fields.get(step[1]) or inner.fields_by_camelcase_name.get(step[1])
        inner = _inside(field) if field is not None else None
    return field


def _is_list(field: FieldDescriptor) -> bool:
    from invora_grpc.kinds import is_map

    return field.is_repeated and not is_map(field)


def _has_fields(field: FieldDescriptor) -> bool:
    """Whether a value of the field is written field by field: not for amounts, dates, wrappers and JSON."""
    from invora_grpc.kinds import is_map, kind_of

    return field.message_type is not None and (is_map(field) or not kind_of(field.message_type))


def _type(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    if kind is not None:
        name = kind.name
    elif field.cpp_type == field.CPPTYPE_STRING:
        name = "base64" if field.type == field.TYPE_BYTES else "text"
    elif field.cpp_type == field.CPPTYPE_BOOL:
        name = "true or false"
    else:
        name = "number" if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT) else "whole number"
    return one_line(f"list of {name}" if _is_list(field) else name, 60)
