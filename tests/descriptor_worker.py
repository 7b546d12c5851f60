"""A process that takes descriptors from stdin and uses them as the client would, so that a crash is its crash.

Each line is a FileDescriptorSet in base64; each answer a line: what became of it. Run it as a program; the class below
is for those who feed it.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import DescriptorError, FileSet


def used(data: bytes) -> str:
    """Take these descriptors in, and make a message of each type; the outcome in words."""
    try:
        schema = Schema(FileSet.parse(data), source="a test")
    except DescriptorError as error:
        return f"refused: {error}"
    names = [
        message.full_name
        for file in sorted(schema.pool.files)
        for message in schema.pool.pool.FindFileByName(file).message_types_by_name.values()
    ]
    for name in names:
        try:
            made = schema.message_class(name)()
        except DescriptorError:
            continue  # types a thousand deep
        for text in (b"", b"\x08\x01", b"\x0a\x00\x12\x02\x08\x01", b"\x0b\x0c"):
            with suppress(DecodeError):
                made.ParseFromString(text)
                made.SerializePartialToString()
    for service in schema.services.values():
        for method in service.methods:
            schema.method(method)
    problems = sorted({*schema.pool.problems.values(), *schema.problems.values()})
    return f"{len(schema.pool.files)} of {len(schema.files.files)} files, {len(names)} messages; {problems[:3]}"


def mebibytes() -> int:
    """The most memory that this process has had. getrusage would count that of the process that it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


class Worker:
    """The process, for those who feed it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def use(self, data: bytes) -> str:
        """What became of a serialized FileDescriptorSet. Fails if the process died of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(base64.b64encode(data).decode() + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer.endswith("\n"), f"died with {self.process.wait(10)} of {base64.b64encode(data).decode()}"
        return answer.rstrip("\n")

    def use_files(self, files: Iterable[FileDescriptorProto]) -> str:
        """As `use`."""
        return self.use(FileDescriptorSet(file=files).SerializeToString())

    def end(self) -> int:
        """End the process: the most memory that it had, in MiB. Fails if a signal ended it."""
        rest, _ = self.process.communicate("", 20)
        assert self.process.returncode == 0
        return int(rest)


if __name__ == "__main__":
    for line in sys.stdin:
        print(ascii(used(base64.b64decode(line))), flush=True)
    print(mebibytes())
