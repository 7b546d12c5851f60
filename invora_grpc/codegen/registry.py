"""The schema from the registry: modules pinned in buf.lock, fetched and checked by buf.

buf does the asking: it resolves, downloads, keeps a cache, and refuses content that differs from the digest in the
lock. Here is only what it is asked, and what its answers mean. This room must not talk to the registry itself, and
must not read credentials: buf takes them from BUF_TOKEN or from the netrc file (`buf registry login`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from invora_grpc.codegen import buf
from invora_grpc.codegen.inputs import Input, files_of, from_files
from invora_grpc.codegen.origins import Origins
from invora_grpc.errors import ConfigError, InvoraError, closest, one_line

__all__ = [
    "HOST",
    "LOCK",
    "MODULES",
    "Fetched",
    "Pin",
    "RegistryError",
    "fetched",
    "from_registry",
    "pins_of",
    "render",
]

HOST: Final = "buf.build"
"""The registry that publishes the schema."""
OWNER: Final = "invora"
"""Its account there."""
MODULES: Final[Mapping[str, str]] = {
    "billing": "billing",
    "common": "common",
    "identity": "identity",
    "invoicing": "invoicing",
    "simple": "simple",
    "ubl": "ubl-2-1",
}
"""Name of a module here → its name in the registry."""
LOCK: Final = Path("buf.lock")
"""Where the pins are, from the working directory."""

_PATIENCE: Final = "120s"
"""The limit of one run of buf, unless BUF_TIMEOUT sets another: by itself it waits for a silent server for ever."""
_ROOT = "invora_grpc_codegen_root.proto"
"""The one file of the workspace that is built: it imports what is wanted."""
_HOST: Final = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_NAME: Final = re.compile(rf"(?:(?P<host>{_HOST})/)?(?P<owner>[a-z0-9-]+)/(?P<module>[a-z0-9._-]+)")
_PIN: Final = re.compile(rf"{_HOST}/[a-z0-9-]+/[a-z0-9._-]+ [0-9a-f]{{32}} b5:[0-9a-f]{{128}}")
_HINTS: Final = (
    (r"\.proto(:[0-9]+:[0-9]+:| is contained in)", "these commits do not fit together: --lock pins their newest ones"),
    (r"BUF_TOKEN|not authenticated|invalid token|[Pp]ermission", "set BUF_TOKEN, or run: buf registry login {host}"),
    (r"digest", "what came is not what was pinned: ask the module's owner before you use --lock"),
    (r"not found|could not get module", "check its name and commit, and that your token may read it"),
    (r"certificate", "SSL_CERT_FILE names the file with the certificate of the registry's authority"),
    (r"unavailable|connect|dial|lookup|timeout|deadline|EOF", "check the host, the network, and HTTPS_PROXY"),
    (r"", "try again, with another folder as BUF_CACHE_DIR if it stays"),
)
"""What buf's complaint looks like, and the way out."""


class RegistryError(InvoraError):
    """buf could not get the modules from the registry. Nothing was written."""

    host: str
    """The registry's host."""
    problem: str
    """What buf says, in one line."""
    hint: str
    """The way out."""

    def __init__(self, host: str, problem: str) -> None:
        told = one_line(problem, 600).rstrip(".")
        hint = next(
            (hint for sign, hint in _HINTS if re.search(sign, told)), "run the same with BUF_CACHE_DIR elsewhere"
        )
        self.host, self.problem, self.hint = host, told, hint.format(host=host)
        super().__init__(f"registry {host}: {told}; {self.hint}")


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of buf.lock."""

    module: str
    """`host/owner/name`."""
    commit: str
    """The commit's id, 32 hexadecimal digits."""
    digest: str
    """What buf checks the content against: `b5:` and hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Modules as they came from the registry, and the pins of what came."""

    source: Input
    lock: Path
    pins: tuple[Pin, ...]
    """The new pins; none if those in the lock were used."""

    def pin(self) -> None:
        """Write the new pins into the lock, if there are any. Raises ConfigError."""
        if self.pins:
            _write(self.lock, pins_of(self.lock), self.pins)


def from_registry(modules: Sequence[str] = (), *, lock: Path = LOCK, renew: bool = False, host: str = HOST) -> Input:
    """What `fetched` gives, with its pins written. Raises as that."""
    found = fetched(modules, lock=lock, renew=renew, host=host)
    found.pin()
    return found.source


def fetched(modules: Sequence[str] = (), *, lock: Path = LOCK, renew: bool = False, host: str = HOST) -> Fetched:
    """Read modules from the registry at the commits that `lock` pins; all of MODULES if none is named.

    A module is one of MODULES, or anybody's as `owner/name` or `host/owner/name`. With `renew` the newest commits are
    taken instead, and are to be written into `lock`: these modules, what they need, and nothing else unless a buf.yaml
    beside the lock says that it is a workspace's. With pins whose content is in buf's cache, nothing is asked of the
    network. Nothing is written here.

    Raises ConfigError for an unknown module, a missing pin or a lock that cannot be read, and RegistryError for what
    buf reports.
    """
    if not re.fullmatch(_HOST, host):
        raise ConfigError("registry", host, f"give a host, as in {HOST} or schemas.example.com:8443", "is no host")
    wanted = tuple(dict.fromkeys(_full_name(module, host) for module in modules or MODULES))
    if renew:
        _guard_workspace(lock, wanted)
    known = pins_of(lock)
    pinned = {pin.module for pin in known}
    if missing := [name for name in wanted if name not in pinned and not renew]:
        raise ConfigError(
            "lock",
            str(lock),
            "add --lock to pin their newest commits, and commit the file",
            f"does not pin {_listed(missing)}",
        )
    with tempfile.TemporaryDirectory(prefix="invora-registry-") as folder:
        workspace = Path(folder)
        (workspace / "buf.yaml").write_text(f"version: v2\ndeps: {json.dumps(wanted)}\n", "utf-8")
        (workspace / _ROOT).write_text('syntax = "proto3";\n', "utf-8")
        (workspace / "buf.lock").write_text(render([] if renew else known), "utf-8")
        with _told_as_registry_errors(host):
            if renew:
                _buf(workspace, "dep", "update")
            found = _build(workspace, wanted)
        return Fetched(found, lock, pins_of(workspace / "buf.lock") if renew else ())


def pins_of(lock: Path) -> tuple[Pin, ...]:
    """The entries of a buf.lock file (version v2), in its order; none if there is no such file.

    Raises ConfigError if it is something else.
    """
    with contextlib.suppress(LookupError, TypeError, AttributeError, ValueError):
        data = _yaml(lock)
        if data is None:
            return ()
        if data["version"] == "v2":
            return tuple(_pin(entry["name"], entry["commit"], entry["digest"]) for entry in data.get("deps") or ())
    raise ConfigError("lock", str(lock), "remove it and add --lock to pin anew", "is not a buf.lock of version v2")


def render(pins: Iterable[Pin]) -> str:
    """The text of a buf.lock file, as buf itself writes it: by name."""
    lines = ["# Generated by buf. DO NOT EDIT.", "version: v2"]
    entries = [
        line
        for pin in sorted(pins, key=lambda pin: pin.module)
        for line in (f"  - name: {pin.module}", f"    commit: {_scalar(pin.commit)}", f"    digest: {pin.digest}")
    ]
    return "\n".join([*lines, *(["deps:"] if entries else []), *entries, ""])


def _build(workspace: Path, wanted: Sequence[str]) -> Input:
    """Build the wanted modules of the workspace, whose lock is complete."""
    listed = _buf(workspace, "ls-files", "--include-importable", "--format", "json")
    rows = [json.loads(line) for line in listed.splitlines()]
    modules: dict[str, str] = {row["import_path"]: row["module"] for row in rows if row.get("module")}
    imports = "".join(f"import {json.dumps(path)};\n" for path in sorted(modules) if modules[path] in wanted)
    (workspace / _ROOT).write_text(f'syntax = "proto3";\n{imports}', "utf-8")
    files = [file for file in files_of(_buf(workspace, "build", "-o", "-")) if file.name != _ROOT]
    return _input(files, modules, wanted)


def _buf(workspace: Path, *arguments: str) -> bytes:
    return buf.run(*arguments, cwd=workspace, env={"BUF_TIMEOUT": os.environ.get("BUF_TIMEOUT") or _PATIENCE})


def _input(files: Sequence[FileDescriptorProto], modules: Mapping[str, str], wanted: Sequence[str]) -> Input:
    short = _short_names({*modules.values(), *wanted})
    folders = {file.name: short[modules[file.name]] for file in files if file.name in modules}
    # What a registry publishes is the truth about itself: nothing in it is provisional.
    origins = Origins(default="published", files={}, methods={}, folders=folders)
    return from_files(files, origins, [short[name] for name in wanted])


def _short_names(modules: Iterable[str]) -> dict[str, str]:
    """What each module (full name) is called here: as MODULES says, else by its own name, if only one has it."""
    ours = {f"{OWNER}/{name}": short for short, name in MODULES.items()}
    parts = {module: module.partition("/")[2] for module in modules}
    count = Counter(ours.get(part, part.rpartition("/")[2]) for part in parts.values())
    return {
        module: ours.get(part) or (name if count[name := part.rpartition("/")[2]] == 1 else part.replace("/", "_"))
        for module, part in parts.items()
    }


def _full_name(module: str, host: str) -> str:
    if module in MODULES:
        return f"{host}/{OWNER}/{MODULES[module]}"
    if match := _NAME.fullmatch(module):
        return f"{match['host'] or host}/{match['owner']}/{match['module']}"
    near = closest(module, MODULES)
    hint = f"did you mean {near[0]}?" if near else f"say one of {', '.join(MODULES)}, or owner/name"
    raise ConfigError("module", module, hint, "is no module of the registry")


def _guard_workspace(lock: Path, wanted: Iterable[str]) -> None:
    """Refuse to pin what the workspace that the lock belongs to does not depend on.

    Its own builds would take such pins for more modules of theirs, ask the registry for them, and fail for files that
    come twice.
    """
    workspace = lock.with_name("buf.yaml")
    data = _yaml(workspace)
    if data is None:
        return
    deps = (data.get("deps") if isinstance(data, dict) else None) or ()
    declared = {f"{path}/{name.partition(':')[0]}" for path, _, name in (str(dep).rpartition("/") for dep in deps)}
    if missing := [name for name in wanted if name not in declared]:
        hint = "name another file with --lock-file, or add them to the deps of that workspace"
        problem = f"belongs to the workspace of {workspace}, which does not depend on {_listed(missing)}"
        raise ConfigError("lock", str(lock), hint, problem)


def _yaml(path: Path) -> Any:
    """What a YAML file says, all scalars as text (a commit may be nothing but digits); None if there is no such file.

    Raises ConfigError if it cannot be read, and ValueError if it is no YAML.
    """
    try:
        import yaml  # of the extra `codegen`; only this source needs it
    except ImportError:
        raise ConfigError("PyYAML", None, "pip install 'invora-grpc[codegen]'", "is not installed here") from None
    try:
        return yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader) or {}
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({error.__class__.__name__})"
        raise ConfigError("lock", str(path), "name another file", problem) from None
    except yaml.YAMLError:
        raise ValueError(path) from None


def _write(lock: Path, before: Sequence[Pin], now: Sequence[Pin]) -> None:
    """Write the pins. A lock that belongs to a workspace of buf keeps the pins that are not ours to move."""
    named = {pin.module for pin in now}
    kept = [pin for pin in before if pin.module not in named] if lock.with_name("buf.yaml").is_file() else []
    beside = lock.with_name(f".{lock.name}.{os.getpid()}")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(render([*kept, *now]), "utf-8")
        beside.replace(lock)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        problem = f"cannot be written: {error.strerror or error}"
        raise ConfigError("lock", str(lock), "name a file that can be written", problem) from None


@contextlib.contextmanager
def _told_as_registry_errors(host: str) -> Iterator[None]:
    try:
        yield
    except buf.BufError as error:
        told = [line for line in error.complaints if not line.startswith("WARN")] or list(error.complaints)
        raise RegistryError(host, "; ".join(told).replace(":; ", ": ")) from None


def _pin(module: str, commit: str, digest: str) -> Pin:
    if not _PIN.fullmatch(f"{module} {commit} {digest}"):
        raise ValueError(module)
    return Pin(module, commit, digest)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _scalar(text: str) -> str:
    """Quoted where a reader of YAML could take it for a number."""
    return f'"{text}"' if re.fullmatch("[0-9]+(e[0-9]+)?", text) else text
