"""The shell without its screen: lines in, commands run, exit codes out.

Its commands are those of `invora` itself, run in this process; what is its own (`org`, `set`, `_`) is here. It must not
load prompt_toolkit, which only a terminal needs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import click

from invora_grpc.cli.app import COMMANDS, main, report
from invora_grpc.cli.defaults import Defaults
from invora_grpc.cli.output import FORMS, colours, dumps, render, searched, terminal_width
from invora_grpc.cli.session import NOTHING, Session, running
from invora_grpc.cli.targets import Target
from invora_grpc.cli.words import Word, is_open, split
from invora_grpc.errors import InvoraError, RequestError, closest

__all__ = ["OWN", "Leave", "Shell", "work"]

OWN: Final[Mapping[str, str]] = {
    "org": "Show the organization, or act in another one: org ID; org - for your own.",
    "set": "Show what is set, or set an option for all commands: set timeout 5.",
    "unset": "Take an option back: unset timeout.",
    "_": "The last answer; _.customer.id is a part of it, also as a value: id=_.customer.id.",
    "help": "Show the commands; help COMMAND shows one.",
    "exit": "Leave; so does Ctrl-D.",
}
"""The shell's own commands."""
_LAST: Final = re.compile(r"(?:(?P<path>[^=]+?):?=)?_(?P<rest>|[.\[].*)", re.DOTALL)
"""`_`, `_.path` or `_[0]`, alone or as the value of a field."""


class Leave(Exception):
    """The shell ends."""


def work(given: Mapping[str, Any]) -> int:
    """Run a shell until it ends; its exit code. `given`: options that were given to the shell itself."""
    with running() as session:
        shell = Shell(Defaults(main, given), session)
        if not sys.stdin.isatty():
            return script(shell, sys.stdin)
        from invora_grpc.cli.prompting import interact

        return interact(shell)


def script(shell: Shell, lines: Iterable[str]) -> int:
    """Run lines until one fails; its exit code, or 0."""
    for number, line in _whole(lines):
        try:
            code = shell.run(line)
        except Leave:
            break
        if code:
            click.echo(f"stopped at line {number} of the input", err=True)
            return code
    return 0


def _whole(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with the number of the first, those put together that go on within quotes or after a backslash."""
    text, first = "", 1
    for number, line in enumerate(lines, 1):
        text, first = text + line, first if text else number
        if not is_open(text.removesuffix("\n")):
            yield first, text.removesuffix("\n")
            text = ""
    if text:
        yield first, text


class Shell:
    """Runs lines. What went wrong with one is printed, never raised."""

    def __init__(self, defaults: Defaults, session: Session) -> None:
        self.defaults, self.session = defaults, session
        self._own: Mapping[str, Callable[[list[str]], None]] = {
            "org": self._org,
            "set": self._set,
            "unset": self._unset,
            "help": self._help,
            "exit": self._leave,
            "quit": self._leave,
        }

    def run(self, line: str) -> int:
        """Run one line and return its exit code. Raises Leave."""
        try:
            return self._run(line)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except BrokenPipeError:
            raise Leave from None  # nobody reads any more
        except (KeyboardInterrupt, click.Abort) as error:
            self.session.close()  # which tells the server at once that nobody waits for an answer any more
            return report(error)
        except (InvoraError, OSError) as error:
            return report(error)

    @property
    def commands(self) -> dict[str, str]:
        """First words of a line, and what they do."""
        return {**{name: entry.help for name, entry in COMMANDS.items() if name != "shell"}, **OWN}

    def target(self) -> Target:
        """Where a command goes on which no option is written. Raises ConfigError."""
        return self.defaults.where()[1]

    def _run(self, line: str) -> int:
        words = split(line)
        if words and words[0].text == "invora":
            del words[0]
        if not words or words[0].text.startswith("#"):
            return 0
        if words[-1].open:
            raise RequestError("line", words[-1].text, f"close the {words[-1].open}", "is not whole")
        first = words[0]
        if first.plain and (found := _LAST.fullmatch(first.text)) and found["path"] is None:
            self._print(self._part(found["rest"]))
            return 0
        if first.text in self._own:
            self._own[first.text]([word.text for word in words[1:]])
            return 0
        return self._command(list(self._arguments(words)))

    def _command(self, arguments: list[str]) -> int:
        name = arguments[0]
        if name == "shell":
            raise RequestError("line", name, "go on in this one", "would start a shell in a shell")
        if name not in self.commands and not name.startswith("-"):
            if "." not in name and "/" not in name:
                near = closest(name, self.commands)
                hint = f"did you mean {' or '.join(near)}?" if near else "`help` shows all"
                raise RequestError("command", name, hint, "is no command")
            arguments, name = ["call", *arguments], "call"
        defaults = self.defaults.map_of(name)
        try:
            result = main.main(arguments, prog_name="invora", standalone_mode=False, default_map=defaults)
        except SystemExit as error:
            result = error.code
        finally:
            self.defaults.look_again()
        return result if isinstance(result, int) else 0

    # --- the last answer ---

    def _arguments(self, words: list[Word]) -> Iterator[str]:
        """The words of a command, what stands for the last answer replaced."""
        before = ""
        for word in words:
            found = _LAST.fullmatch(word.text) if word.plain else None
            if found is None:
                yield word.text
            elif found["path"] is not None:
                yield f"{found['path']}:={dumps(self._part(found['rest']))}"
            else:
                yield self._value(word.text, self._part(found["rest"]), before)
            before = word.text

    def _value(self, word: str, part: object, option: str) -> str:
        """A part of the last answer as the value of an option; what a server sent must not become an option or a
        file."""
        if option in ("-d", "--data"):
            return dumps(part)
        if not option.startswith("-"):
            raise RequestError("argument", word, f"write field={word}, or '{word}' for the text itself", "has no name")
        if not isinstance(part, str | int) or str(part).startswith(("-", "@")):
            raise RequestError("argument", word, f"write the value of {option} yourself", "is no plain value")
        return str(part)

    def _part(self, rest: str) -> Any:
        answer = self.session.answer
        if answer is NOTHING:
            raise RequestError("line", f"_{rest}", "call something first", "is the last answer, and there is none")
        part = searched(answer, rest.removeprefix(".")) if rest.removeprefix(".") else answer
        if part is None:
            raise RequestError("line", f"_{rest}", "`_` shows the last answer", "is nothing in the last answer")
        return part

    def _print(self, value: object) -> None:
        form = self.defaults.values.get("output")
        width = terminal_width(sys.stdout)
        form = form if form in FORMS else "json"
        click.echo(render(value, form, colour=colours(sys.stdout), width=width))

    # --- its own commands ---

    def _org(self, arguments: list[str]) -> None:
        if len(arguments) > 1:
            raise RequestError("org", " ".join(arguments), "write org ID, or org - for your own", "is more than one")
        if arguments:
            self.defaults.put("org", None if arguments[0] == "-" else arguments[0])
        click.echo(self.target().describe(), err=bool(arguments))

    def _set(self, arguments: list[str]) -> None:
        if not arguments:
            click.echo("\n".join(self.defaults.shown()) or "nothing is set")
            return
        name = arguments[0].lstrip("-")
        if len(arguments) != 2:
            settable = self.defaults.settable()
            if len(arguments) > 2 or name not in settable or not settable[name].is_flag:
                raise RequestError("set", " ".join(arguments), "write set NAME VALUE, e.g. set timeout 5")
            arguments = [name, "true"]
        self.defaults.put(name, arguments[1])

    def _unset(self, arguments: list[str]) -> None:
        for name in arguments:
            self.defaults.put(name.lstrip("-"), None)

    def _help(self, arguments: list[str]) -> None:
        if arguments and arguments[0] not in OWN:
            self._command([*arguments, "--help"])
            return
        commands = {name: self.commands[name] for name in arguments} or self.commands
        formatter = click.HelpFormatter()
        formatter.write_dl(list(commands.items()))
        click.echo(formatter.getvalue(), nl=False)

    def _leave(self, _: list[str]) -> None:
        raise Leave
