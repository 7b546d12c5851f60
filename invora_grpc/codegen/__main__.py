"""`python -m invora_grpc.codegen`: generate the stubs, check that they are current, guard the wire surface.

Run from the top of the source tree.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from invora_grpc.codegen.googleapis import materialise
from invora_grpc.codegen.origins import Origins
from invora_grpc.codegen.surface import additions, differences, fingerprint, from_facts, surface

PROTOS = Path("proto")
FINGERPRINTS = PROTOS / "fingerprints.txt"
GEN = Path("gen")
_TAIL = re.compile(r"_(pb2(_grpc)?|dicts|client)\.pyi?$")
"""What a generated file's name has behind the name of its proto file."""


def buf(*arguments: str) -> bytes:
    """Run buf and return its output. It, and the plugin that it starts, come from this interpreter's environment first.

    Ends the program with buf's own message if it fails.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("buf", path=path)
    if found is None:
        sys.exit("buf is not installed here: pip install 'invora-grpc[codegen]'")
    result = subprocess.run([found, *arguments], check=False, stdout=subprocess.PIPE, env={**os.environ, "PATH": path})
    if result.returncode != 0:
        sys.exit(f"buf {arguments[0]} failed, see above")
    return result.stdout


def compiled() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Compile the workspace with buf: proto path → descriptor."""
    materialise(Path("build/googleapis"))
    image = buf("build", "--exclude-path", "build/googleapis/google", "--as-file-descriptor-set", "-o", "-")
    files = descriptor_pb2.FileDescriptorSet.FromString(image).file
    return {file.name: file for file in files if not file.name.startswith("google/")}


def generate(output: Path) -> None:
    """Run buf generate; `gen/` appears in the folder `output`."""
    materialise(Path("build/googleapis"))
    buf("generate", "--output", str(output))


def stale(fresh: Path, current: Path, protos: Path) -> Iterator[str]:
    """Say which generated files differ, one line each, with the proto file that each comes from."""
    sources = {
        path.relative_to(module).as_posix().removeprefix("invora/").removesuffix(".proto"): path
        for module in protos.iterdir()
        if module.is_dir()
        for path in module.rglob("*.proto")
    }
    left = {p.relative_to(fresh): p for p in fresh.rglob("*") if p.is_file()}
    right = {p.relative_to(current): p for p in current.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    for name in sorted(left.keys() | right.keys()):
        stem = _TAIL.sub("", name.as_posix().partition("/")[2])
        source = f" (from {sources[stem]})" if stem in sources else ""
        if name not in right:
            yield f"missing  {current / name}{source}"
        elif name not in left:
            yield f"surplus  {current / name}: nothing generates it"
        elif left[name].read_bytes() != right[name].read_bytes():
            yield f"stale    {current / name}{source}"


def fingerprints() -> str:
    """One line per proto file: origin, hash of the wire surface, path.

    Methods that were added to a published service are kept out of the file's hash and have a line of their own, so that
    the published part stays provably what was published.
    """
    origins = Origins.load(PROTOS)
    lines = []
    for name, file in sorted(compiled().items()):
        lines.append(f"{origins.of_file(name):10} {fingerprint(surface(file, without=origins.added))} {name}")
        if extra := additions(file, origins.added):
            lines.append(f"{'documented':10} {fingerprint(extra)} {name}#additions")
    return "\n".join(lines) + "\n"


def compare(facts: Path) -> tuple[int, int, list[str]]:
    """Compare the compiled schema with recorded wire facts (a folder of JSON files).

    Returns the number of files compared, the number that are equal, and a line for each difference.
    """
    files, origins = compiled(), Origins.load(PROTOS)
    total, equal, lines = 0, 0, list[str]()
    compared = set()
    for source in sorted(facts.glob("*.json")):
        for expected in json.loads(source.read_text("utf-8")):
            total += 1
            name = expected["file"]
            compared.add(name)
            if name not in files:
                lines.append(f"{name}: no such file in the schema")
                continue
            found = list(differences(from_facts(expected), surface(files[name], without=origins.added)))
            missing = set(expected["imports"]) - set(files[name].dependency)
            found += [f"import {x}: missing" for x in sorted(missing)]
            if origins.of_file(name) != expected["origin"]:
                found.append(f"origin: expected {expected['origin']}, found {origins.of_file(name)}")
            equal += not found
            lines += [f"{name}: {line}" for line in found]
    for name in sorted(files.keys() - compared):
        if origins.of_file(name) != "documented":
            lines.append(f"{name}: is {origins.of_file(name)}, but no facts are recorded of it")
    if not total:
        lines.append(f"{facts}: no facts in this folder")
    return total, equal, lines


def main() -> int:
    """Run one command; the exit code is 0 if all is well, 1 if something differs."""
    parser = argparse.ArgumentParser(prog="python -m invora_grpc.codegen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("gen", help="regenerate gen/ from proto/")
    commands.add_parser("check", help="fail with a list if gen/ is stale")
    prints = commands.add_parser("fingerprint", help="compare the wire surface with the committed fingerprints")
    prints.add_argument("--write", action="store_true", help="accept the surface as it is now")
    facts = commands.add_parser("compare", help="compare the schema with recorded wire facts")
    facts.add_argument("facts", type=Path, help="a folder of JSON files with wire facts")
    arguments = parser.parse_args()
    if arguments.command == "gen":
        generate(Path("."))
        return 0
    if arguments.command == "check":
        return _check()
    if arguments.command == "fingerprint":
        return _fingerprint(arguments.write)
    total, equal, lines = compare(arguments.facts)
    print(*lines, sep="\n", end="\n" if lines else "")
    print(f"{equal} of {total} files equal")
    return 1 if lines else 0


def _check() -> int:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        lines = list(stale(Path(folder, "gen"), GEN, PROTOS))
    if lines:
        print(f"gen/ is stale: {len(lines)} files differ from what proto/ generates. Run `make gen` and commit it.")
        print(*lines, sep="\n")
        return 1
    print("gen/ is current")
    return 0


def _fingerprint(write: bool) -> int:
    now = fingerprints()
    if write:
        FINGERPRINTS.write_text(now, "utf-8")
        return 0
    before = FINGERPRINTS.read_text("utf-8").splitlines()
    changed = sorted(set(before) ^ set(now.splitlines()), key=lambda line: line.split()[2])
    for line in changed:
        print(("was " if line in before else "is  ") + line)
    if changed:
        print("The wire surface changed. If that is meant: python -m invora_grpc.codegen fingerprint --write")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
