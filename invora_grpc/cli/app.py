"""The group of all commands: finds the one that is asked for, and turns what it raises into one line and an exit code.

It must load no command but the one that runs: COMMANDS says where each is, and what its line in the help is.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import click

from invora_grpc.errors import InvoraError, closest, one_line, shown

__all__ = ["COMMANDS", "FORM", "INTERRUPTED", "Command", "main", "report", "run"]

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as shells count."""
FORM: Final = "invora_grpc.form"
"""Where click's `Context.meta` has what -o says, or "envelope", so that errors come in that form."""
_EXTRAS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("jmespath", "keyring", "prompt_toolkit", "tomlkit", "yaml"), "cli"),
    **dict.fromkeys(("grpc_health", "grpc_reflection", "joserfc", "starlette", "uvicorn"), "sandbox"),
    "grpc_tools": "codegen",
    **dict.fromkeys(("cryptography", "lxml", "segno"), "zatca"),
}
"""Top-level module → the extra of this package that installs it."""


class Command(NamedTuple):
    """Where a command is, and what the help says of it."""

    place: str
    """ "module:attribute", the module below `invora_grpc.cli`."""
    section: str
    """The heading that it stands under."""
    help: str


COMMANDS: Final[Mapping[str, Command]] = {
    "ls": Command("explore:list_methods", "Explore", "List services and RPCs."),
    "describe": Command("explore:describe", "Explore", "Show a service, RPC, message or enum as its proto."),
    "search": Command("explore:search", "Explore", "Search names, fields and comments."),
    "template": Command("template:template", "Explore", "Print a filled request, or the client call."),
    "completion": Command("completion:completion", "Explore", "Print the completion script of a shell."),
    "call": Command("calling:call", "Call", "Call an RPC."),
    "login": Command("login:login", "Sign in", "Sign in, and keep the sign-in."),
    "logout": Command("login:logout", "Sign in", "Forget a sign-in."),
    "whoami": Command("whoami:whoami", "Sign in", "Show as whom calls are made."),
    "token": Command("whoami:token", "Sign in", "Print the access token, for other tools."),
    "profiles": Command("profiles:profiles", "Sign in", "List, choose and change profiles."),
    "creds": Command("creds:creds", "Sign in", "Keep one-time secrets straight from a call."),
    "schema": Command("schema:schema", "Work with it", "Fetch, compare and verify what a gateway serves."),
    "shell": Command("shell:shell", "Work with it", "Read and run commands one after the other."),
    "watch": Command("watch:watch", "Work with it", "Repeat a call and show what changes."),
    "record": Command("recording:record", "Work with it", "Call, and keep request and answer in a file."),
    "replay": Command("recording:replay", "Work with it", "Call again what a file keeps, and compare."),
    "bench": Command("load:bench", "Work with it", "Measure how fast calls are answered."),
    "doctor": Command("doctor:doctor", "Work with it", "Find out what is wrong, and what to do."),
    "gen": Command("generating:gen", "Work with it", "Generate stubs and client from a schema."),
    "zatca": Command("zatca:zatca", "Work with it", "Find lawful cases, check documents of ZATCA."),
    "sandbox": Command("sandbox:sandbox", "Work with it", "Run the embedded sandbox."),
}
"""Every command by its name, in the order of the help."""


class _Commands(click.Group):
    """Loads commands when they are asked for, and turns what they raise into one line on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.place.partition(":")
        gc.disable()  # all that an import makes is kept: to look for garbage among it takes time and finds none
        try:
            command: click.Command = getattr(import_module(f"invora_grpc.cli.{module}"), name)
        finally:
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-") and (near := closest(name, COMMANDS)):
            ctx.fail(f"No such command {name!r}; did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items() if entry.section == section])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            raise click.exceptions.Exit(_refused(error, None)) from None

    def invoke(self, ctx: click.Context) -> Any:
        form = ctx.meta[FORM] = _form([*ctx._protected_args, *ctx.args])  # also for options that cannot be read
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
            raise
        except click.ClickException as error:
            ctx.exit(_refused(error, form))
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader has gone; click ends quietly
            ctx.exit(report(error))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. An interruption is as quiet before a command runs as while it does.

    Raises SystemExit where whoever read the output has gone.
    """
    try:
        code = main.main(arguments, prog_name="invora", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def report(error: BaseException) -> int:
    """Say on standard error what a command raised, without a traceback, and return the exit code: one line, and for
    errors of this package on a terminal what the server told in detail."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED
    if isinstance(error, InvoraError):
        from invora_grpc.cli import failures

        context = click.get_current_context(silent=True)
        return failures.report(error, None if context is None else context.meta.get(FORM))
    click.echo(f"error: {_of_system(error) if isinstance(error, OSError) else _unexpected(error)}", err=True)
    _let_go()
    return 1


def _let_go() -> None:
    """Drop what cannot be written to standard output: Python would try again at its end, and make the exit code 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _form(words: Sequence[str]) -> str | None:
    """The form that these words of a command line ask for: "envelope", what -o says, or None."""
    form = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "--":
            break
        if word == "--envelope" and words[0] == "call":
            return "envelope"
        if word in ("-o", "--output"):
            form = after
        elif word.startswith("--output=") or (word.startswith("-o") and word != "-o"):
            form = word.removeprefix("--output=").removeprefix("-o")
    return form


def _refused(error: click.ClickException, form: str | None) -> int:
    """Say in that form what is wrong with the command line, and return the exit code."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else None
    hint = f"`{command} --help` tells what can be given" if command is not None else ""
    message = one_line(error.format_message(), 4000).removesuffix(".")
    if form in ("json", "envelope"):
        from invora_grpc.cli.failures import tell

        facts = {"kind": "UsageError", "exit_code": error.exit_code, "message": message, "hint": hint}
        tell({name: value for name, value in facts.items() if value != ""}, form)
    else:
        click.echo(f"error: {message}" + (f" ({hint})" if hint else ""), err=True)
    return error.exit_code


def _of_system(error: OSError) -> str:
    """A system's error in its own words, without its number."""
    names = ", ".join(
        shown(os.fsdecode(one)) for one in (error.filename, error.filename2) if isinstance(one, str | bytes)
    )
    return one_line(": ".join(part for part in (names, error.strerror or str(error)) if part))


def _unexpected(error: BaseException) -> str:
    """One line about what no command has words for: a package that is missing, or a fault of this one."""
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        return f"{error.name} is not installed: pip install 'invora-grpc[{extra}]'"
    return one_line(f"unexpected {type(error).__name__}: {error}; this is a fault of invora-grpc, please report it")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="invora-grpc", prog_name="invora")
def main() -> None:
    """Work with an Invora gateway, or any other gRPC server that offers reflection.

    Settings come from INVORA_ENV, INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID, INVORA_CLIENT_SECRET, INVORA_TOKEN
    and INVORA_ORG_ID, or from the options of a command.
    """
