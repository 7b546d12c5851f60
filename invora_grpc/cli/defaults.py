"""What `set` and `org` of the shell have set: options that every command of the shell gets, where it has them.

Commands see them as click's own defaults, so that what is written on a line wins. Secrets cannot be set here: a shell
has a history, and a screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import click

from invora_grpc.cli.options import target_options
from invora_grpc.cli.secrecy import is_secret
from invora_grpc.cli.sources import Source, source_options
from invora_grpc.cli.targets import Target
from invora_grpc.errors import RequestError, closest

__all__ = ["Defaults"]

_PER_CALL: Final = frozenset(
    {"all", "curl", "data", "dry-run", "grpcurl", "help", "idempotency-key", "max-items", "python", "yes"}
)
"""Options of `call` that one call has and the next has not. `yes` above all: it is said each time."""
_METADATA: Final = ("header", "reflect-header")
_SECRET: Final = re.compile("secret|token|password|credential")


@click.command()
@source_options
@target_options
def _where(source: Source, target: Target) -> tuple[Source, Target]:
    return source, target


class Defaults:
    """The options that are set. `group`: the commands that get them."""

    def __init__(self, group: click.Group, given: Mapping[str, Any]) -> None:
        self._group = group
        self.values: dict[str, Any] = dict(given)
        """Long name of an option, without dashes → its value, as text if it was typed."""
        self._known: tuple[Source, Target] | None = None

    def settable(self) -> dict[str, click.Option]:
        """The options that can be set, by their long names."""
        call = self._group.get_command(click.Context(self._group), "call")
        commands = [command for command in (_where, call) if command is not None]
        return {
            name: option
            for command in commands
            for name, option in _options(command).items()
            if name not in _PER_CALL and not _SECRET.search(name)
        }

    def put(self, name: str, value: str | None) -> None:
        """Set an option, or take it back with None. Raises RequestError, ClickException and ConfigError, and leaves all
        as it was."""
        settable = self.settable()
        if name not in settable:
            raise RequestError("set", name, _hint(name, settable), "cannot be set")
        if value is not None and _hides(name, value):
            hint = "use `login`, or set INVORA_TOKEN before the shell starts"
            raise RequestError(
                "set", f"{name} {value.partition(':')[0]}: ***", hint, "would keep a secret in the shell"
            )
        before = dict(self.values)
        self.values.pop(name, None)
        try:
            if value is not None:
                option = settable[name]
                self.values[name] = [value] if option.multiple else value
                context = click.Context(_where)
                option.type_cast_value(context, self.values[name])
            self.look_again()
            self.where()
        except BaseException:
            self.values = before
            self.look_again()
            raise

    def shown(self) -> list[str]:
        """What is set, a line each, without secrets."""
        return [f"{name} {_shown(name, value)}" for name, value in sorted(self.values.items())]

    def where(self) -> tuple[Source, Target]:
        """Source and target of a command on which no option is written. Raises ConfigError."""
        known = self._known
        if known is None:
            with _where.make_context("set", [], default_map=self._of(_where)) as context:
                known = self._known = _where.invoke(context)
        return known

    def look_again(self) -> None:
        """Forget source and target: a command may have changed a file, or a profile."""
        self._known = None

    def map_of(self, name: str) -> dict[str, Any]:
        """The default_map of the group for the command of this name."""
        command = self._group.get_command(click.Context(self._group), name)
        return {} if command is None else {name: self._of(command)}

    def _of(self, command: click.Command) -> dict[str, Any]:
        own = {str(option.name): self.values[name] for name, option in _options(command).items() if name in self.values}
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = ((name, command.get_command(context, name)) for name in command.list_commands(context))
            own |= {name: self._of(child) for name, child in children if child is not None}
        return own


def _hides(name: str, value: str) -> bool:
    """Whether this is metadata with a secret in it."""
    return name in _METADATA and is_secret(value.partition(":")[0].strip())


def _shown(name: str, value: Any) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"{part.partition(':')[0]}: ***" if _hides(name, str(part)) else str(part) for part in parts)


def _options(command: click.Command) -> dict[str, click.Option]:
    return {
        option[2:]: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }


def _hint(name: str, settable: Mapping[str, click.Option]) -> str:
    if _SECRET.search(name):
        return "use `login`, or set INVORA_TOKEN or INVORA_CLIENT_SECRET before the shell starts"
    if name in _PER_CALL:
        return f"write --{name} on each line"
    near = closest(name, settable)
    return f"did you mean {' or '.join(near)}?" if near else f"what can be: {', '.join(settable)}"
