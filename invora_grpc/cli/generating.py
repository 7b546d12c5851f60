"""`invora gen`: from a schema, wherever it is, to the package of generated code, and what that changes.

The command only puts together what `invora_grpc.codegen` does, and loads it when it runs. Standard output is for what
was asked for: the list of a check, or the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.cli.options import Target, target_options

if TYPE_CHECKING:
    from invora_grpc.codegen.inputs import Input
    from invora_grpc.codegen.registry import Fetched
    from invora_grpc.schema.descriptors import Schema

__all__ = ["gen"]

_SOURCES: Final = ("registry", "proto", "reflection", "image")
_OF_SOURCE: Final = {
    "proto": "proto",
    "image": "image",
    "registry": "registry",
    "lock": "registry",
    "lock_file": "registry",
}
"""Option → the source that it is for."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be generated, and where to."""

    modules: tuple[str, ...]
    out: Path
    package: str
    check: bool


@dataclass(frozen=True, slots=True)
class _Report:
    """What is to be told about it."""

    form: str
    against: str | None
    approved: Path | None


@click.command()
@click.option(
    "--source",
    type=click.Choice(_SOURCES),
    help="Where the schema is: pinned registry modules, .proto sources, a gateway, or an image.  "
    "[default: proto if there is ./proto or ./buf.yaml]",
)
@click.option("--proto", metavar="DIR", help="Folder of .proto sources.  [default: proto, or . if it has a buf.yaml]")
@click.option("--image", metavar="FILE", help="A buf image or FileDescriptorSet with imports.")
@click.option("--registry", metavar="HOST", help="The registry.  [default: buf.build]")
@click.option("--lock", is_flag=True, help="Resolve the registry's modules anew, and write the pins.")
@click.option("--lock-file", metavar="FILE", help="Where the pins of the registry's modules are.  [default: buf.lock]")
@click.option("--module", "modules", multiple=True, metavar="NAME", help="Only this module. Repeatable.")
@click.option("--out", default="gen", show_default=True, metavar="DIR", help="Folder that the package goes to.")
@click.option("--package", default="invora_api", show_default=True, metavar="NAME", help="Name of the package.")
@click.option("--check", is_flag=True, help="Write nothing; list what is stale, and exit with 1 if anything is.")
@click.option("--report", type=click.Choice(["md", "json"]), help="Print what the new package changes, for reviewers.")
@click.option(
    "--against",
    metavar="WHAT",
    help="Report changes since an image, a folder or a git commit.  [default: the package in --out]",
)
@click.option(
    "--approved", metavar="FILE", help="With --report: exit with 1 for breaking changes that FILE does not name."
)
@target_options
def gen(
    source: str | None,
    modules: tuple[str, ...],
    out: str,
    package: str,
    check: bool,
    report: str | None,
    against: str | None,
    approved: str | None,
    target: Target,
    **of_source: Any,
) -> None:
    """Generate messages, stubs, catalog and typed client from a schema.

    \b
    Exit codes: 0 done, 1 stale (--check) or a breaking change that is not approved (--approved), 2 and above not done.

    \b
    Examples:
      invora gen --source reflection --module simple --out stubs
      invora gen --source reflection --module simple --out stubs --check
    """
    name = _source(source, of_source)
    if check and of_source["lock"]:
        raise click.UsageError("--check writes nothing, and --lock does; give one of them")
    if report is None and (against is not None or approved is not None):
        raise click.UsageError(f"--{'against' if against is not None else 'approved'} needs --report md or json")
    told = None if report is None else _Report(report, against, None if approved is None else Path(approved))
    job = _Job(modules, Path(out), package, check)
    from invora_grpc.codegen.packages import checked_name

    checked_name(package)  # before a gateway or a registry is asked
    if name == "registry":
        found = _fetched(of_source, modules)
        click.get_current_context().exit(_work(found.source, job, told, found.pin))
    click.get_current_context().exit(_work(_input(name, of_source, modules, target), job, told))


def _source(named: str | None, options: dict[str, Any]) -> str:
    """The source that is meant. Raises UsageError for options of two, or if nothing says which."""
    meant = {_OF_SOURCE[option]: f"--{option.replace('_', '-')}" for option, value in options.items() if value}
    for source, option in meant.items():
        if source != (named or next(iter(meant))):
            other = f"--source {named}" if named else next(iter(meant.values()))
            raise click.UsageError(f"{option} is no option of {other}")
    found = named or next(iter(meant), None) or ("proto" if _folder() is not None else None)
    if found is None:
        raise click.UsageError(f"there is neither ./proto nor ./buf.yaml: say --source {'|'.join(_SOURCES)}")
    if found == "image" and not options["image"]:
        raise click.UsageError("--source image needs --image FILE")
    return found


def _folder() -> str | None:
    """The folder of .proto sources in the working directory; None if there is none."""
    if Path("proto").is_dir():
        return "proto"
    return "." if Path("buf.yaml").is_file() else None


def _input(source: str, options: dict[str, Any], modules: Sequence[str], target: Target) -> Input:
    """What the source holds that is no registry. Raises InvoraError."""
    from invora_grpc.codegen import inputs

    if source == "proto":
        with _complaining():
            return inputs.from_protos(Path(options["proto"] or _folder() or "proto"), modules)
    if source == "image":
        return inputs.from_image(Path(options["image"]), modules)
    return inputs.from_schema(_served(target), modules)


def _fetched(options: dict[str, Any], modules: Sequence[str]) -> Fetched:
    """What the registry has. Raises InvoraError."""
    from invora_grpc.codegen.registry import HOST, LOCK, fetched

    lock = Path(options["lock_file"] or LOCK)
    with _complaining():
        return fetched(modules, lock=lock, renew=options["lock"], host=options["registry"] or HOST)


def _served(target: Target) -> Schema:
    """What a gateway says of itself. Raises Unanswered."""
    from invora_grpc.cli.drift import Unanswered
    from invora_grpc.schema.reflection import ReflectionError

    try:
        with target.open() as client:
            return client.reflect(metadata=target.reflect_headers)
    except ReflectionError as error:
        raise Unanswered(error) from error


# --- the work -----------------------------------------------------------------------------------------------------


def _work(source: Input, job: _Job, report: _Report | None, pin: Callable[[], None] = lambda: None) -> int:
    """Generate, tell, and write or compare; the exit code. Nothing is written if anything fails.

    `pin`: what remembers where the source is from, once the package is there.
    """
    from invora_grpc.codegen.generation import generated, install, stale

    with _complaining(), generated(source, job.package) as fresh:
        told = None if report is None else _told(source, job, report)
        lines = list(stale(fresh, job.out, source, job.package)) if job.check else []
        done = None if job.check else install(fresh, job.out, job.package)
    pin()
    if told is not None:
        click.echo(told.text)
    if done is not None:
        counts = f"{done.written} files written, {done.removed} removed, {done.unchanged} as they were"
        click.echo(f"{job.out}: {counts}", err=told is not None)
    elif lines:
        click.echo(f"{job.out} is stale, {len(lines)} files differ: run `invora gen` with these options", err=True)
        click.echo("\n".join(lines), err=told is not None)
    else:
        click.echo(f"{job.out} is current", err=told is not None)
    if told is not None and told.unapproved:
        many = f"{told.unapproved} breaking change{'s are' if told.unapproved > 1 else ' is'}"
        click.echo(f"{many} not approved: put the ids into the file of --approved", err=True)
    return 1 if lines or (told is not None and told.unapproved) else 0


@dataclass(frozen=True, slots=True)
class _Told:
    """A report, and the number of breaking changes that nobody approved."""

    text: str
    unapproved: int


def _told(source: Input, job: _Job, report: _Report) -> _Told:
    """What the generation changes, in the form that is asked for."""
    from invora_grpc.codegen.approvals import read, unapproved
    from invora_grpc.codegen.changes import changes
    from invora_grpc.codegen.changes_report import report_json, report_markdown
    from invora_grpc.codegen.earlier import earlier

    before = earlier(report.against, job.out, job.package, source.origins)
    changed = changes(before.files, source.files, before.origins, source.origins)
    approved = frozenset() if report.approved is None else read(report.approved)
    left = () if report.approved is None else unapproved(changed, report.approved)
    text = report_markdown(changed, approved) if report.form == "md" else report_json(changed, approved)
    return _Told(text.rstrip("\n"), len(left))


@contextmanager
def _complaining() -> Iterator[None]:
    """Show all that a compiler complains about before the one line of the error that says so."""
    from invora_grpc.codegen.buf import BufError

    try:
        yield
    except BufError as error:
        if len(error.complaints) > 1:
            click.echo("\n".join(error.complaints), err=True)
        raise
