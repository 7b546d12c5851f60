"""A process that reads and writes messages by generated modules, since one process holds one package of them.

Its first line of input lists modules, as [name, path]: imported by name, from the file where there is a path. Each
further line is [module, name of the message, its bytes in base64]; each answer what the class made of them.
"""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format


def loaded(name: str, path: str) -> None:
    """Import a module, from its file if it has one: folders of its package may belong to installed ones."""
    if not path:
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def read(module: str, name: str, data: str) -> list[Any]:
    """The message's bytes again, its text, and whether it is the same after a pickle and of the right module."""
    kind: Any = functools.reduce(getattr, name.split("."), sys.modules[module])
    message = kind()
    message.MergeFromString(base64.b64decode(data))
    again = message.SerializePartialToString(deterministic=True)
    same = pickle.loads(pickle.dumps(message)).SerializePartialToString(deterministic=True) == again
    return [base64.b64encode(again).decode(), text_format.MessageToString(message), same, kind.__module__]


class Worker:
    """The process, for those who feed it."""

    def __init__(self, modules: Sequence[tuple[str, str]], path: Path | None = None) -> None:
        """`path`: a folder of packages."""
        command = [sys.executable, __file__, *([str(path)] if path is not None else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self.ask(modules) == "ready"

    def ask(self, question: object) -> Any:
        """One line and its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer.endswith("\n"), f"ended with {self.process.wait(10)}"
        return json.loads(answer)

    def read(self, module: str, name: str, data: bytes) -> list[Any]:
        """What the class `name` of a module makes of a message."""
        answer: list[Any] = self.ask([module, name, base64.b64encode(data).decode()])
        return answer

    def end(self) -> None:
        """End the process."""
        self.process.communicate("", 20)
        assert self.process.returncode == 0


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    for name, path in json.loads(input()):
        loaded(name, path)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(read(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
