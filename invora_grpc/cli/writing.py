"""Readable .proto sources on disk. Their names come from a gateway, and may name no place outside of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from invora_grpc.errors import one_line
from invora_grpc.schema.files import DescriptorError, FileSet
from invora_grpc.schema.printing import Printer

__all__ = ["text_of", "write_folder"]

_FORBIDDEN = frozenset('\\:*?"<>|')
"""What separates, or may not be in, a name on some system."""


def write_folder(files: FileSet, folder: Path) -> Mapping[str, str]:
    """Write each file under its name, and return those that are refused, and why. Raises OSError."""
    refused, printer = {}, Printer(files)
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    for name, file in files.files.items():
        if (problem := _problem(name)) is not None:
            refused[name] = problem
            continue
        path = root / name
        if not path.resolve().is_relative_to(root):
            refused[name] = "is not written: a link leads out of the folder"
            continue
        try:
            text = printer.text(file)
        except DescriptorError as error:
            refused[name] = f"is not written: it {error.problem}"
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return refused


def text_of(files: FileSet) -> str:
    """All files one after the other, each under a comment with its name. Raises DescriptorError."""
    printer = Printer(files)
    return "\n".join(f"// --- {one_line(name, 300)}\n\n{printer.text(file)}" for name, file in files.files.items())


def _problem(name: str) -> str | None:
    """Why a file of this name must not be written; None if it may."""
    parts = name.split("/")
    if not name.endswith(".proto") or name == ".proto":
        return "is not written: its name does not end with .proto"
    if any(not part or part.endswith((".", " ")) for part in parts):  # "." and ".." among them
        return "is not written: its name is no plain path"
    if not name.isprintable() or _FORBIDDEN.intersection(name):
        return "is not written: its name has characters that are not safe in one"
    if any(len(part.encode()) > 250 for part in parts) or len(parts) > 50:
        return "is not written: its name is too long"
    return None
