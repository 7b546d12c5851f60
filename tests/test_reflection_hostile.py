"""What hostile servers can do to a client that asks for descriptors: nothing but fail, soon, in a few words.

The clients are in processes of their own, so that a crash or a flood of memory would be seen as that. There is one for
each driver, which meets one server after the other, and has to be none the worse for it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from reflection_server import Answers, Response, Script, answering, refusal, scripted

File = FileDescriptorProto
MEBIBYTES = 200
RENEWED = 90
"""MiB from which on another process goes on."""
HERE = str(Path(__file__).parent)
SECONDS = 20.0

CLIENT = textwrap.dedent(
    """
    import asyncio, json, sys
    import grpc, grpc.aio
    from descriptor_worker import mebibytes
    from invora_grpc.errors import InvoraError
    from invora_grpc.schema.asking import areflect, reflect
    from invora_grpc.schema.descriptors import Schema

    driver = sys.argv[1]
    options = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]

    def ask(address, **wanted):
        with grpc.insecure_channel(address, options) as channel:
            return reflect(channel, **wanted)

    async def aask(address, **wanted):
        async with grpc.aio.insecure_channel(address, options) as channel:
            return await areflect(channel, **wanted)

    def met(address, timeout):
        wanted = {"timeout": timeout, "endpoint": "http://gateway", "metadata": [("authorization", "s3cret")]}
        try:
            served = ask(address, **wanted) if driver == "sync" else asyncio.run(aask(address, **wanted))
            schema = Schema(served.files, source=address)
            problems = sorted({*served.failures.values(), *schema.pool.problems.values()})
            return {"services": sorted(schema.services), "problems": problems}
        except InvoraError as error:
            return {"error": str(error), "reason": error.reason}

    for line in sys.stdin:
        found = met(*json.loads(line))
        print(json.dumps({**found, "mebibytes": mebibytes()}), flush=True)
    """
)


@dataclass
class Outcome:
    """What the client said about a hostile server."""

    error: str = ""
    reason: str = ""
    services: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    mebibytes: int = 0


class Client:
    """The process with one driver. Another one takes its place if it dies, or has memory that would count as the next
    meeting's."""

    def __init__(self, driver: str) -> None:
        code = f"import sys; sys.path.insert(0, {HERE!r})" + CLIENT
        self._command = [sys.executable, "-c", code, driver]
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def meet(self, script: Script, timeout: float = 15.0) -> Outcome:
        """Meet a server; fails if the client dies, hangs, floods or babbles."""
        if self._process.poll() is not None:
            self._process = self._started()
        process, patience = self._process, threading.Timer(60, self._process.kill)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        with scripted({"v1": script}) as server:
            begun = time.monotonic()
            patience.start()
            process.stdin.write(json.dumps([server.address, timeout]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            patience.cancel()
            assert time.monotonic() - begun < SECONDS
        if not answer:
            pytest.fail(f"ended with {process.wait(10)}: {process.stderr.read()[-2000:]}")
        outcome = Outcome(**json.loads(answer))
        if outcome.mebibytes > RENEWED:
            self.end()
        assert outcome.mebibytes < MEBIBYTES
        for text in (outcome.error, *outcome.problems):
            assert text.isprintable()
            assert len(text) <= 1000
            assert "s3cret" not in text
        return outcome

    def end(self) -> None:
        """End the process, which has to be able to."""
        _, words = self._process.communicate("", 20)
        assert self._process.returncode == 0, words[-2000:]


@pytest.fixture(scope="module", params=["sync", "async"])
def meet(request: pytest.FixtureRequest) -> Iterator[Callable[..., Outcome]]:
    """Lets a client meet a server, with each driver."""
    client = Client(request.param)
    yield client.meet
    client.end()


Meet = Callable[..., Outcome]


def files_of(*files: File) -> Script:
    return answering(Answers(files))


def good() -> File:
    """A file that is all right, and has a service that has to stay usable."""
    made = File(name="good.proto", package="good", syntax="proto3")
    made.message_type.add(name="M")
    made.service.add(name="S").method.add(name="Do", input_type=".good.M", output_type=".good.M")
    return made


def chain(names: Iterable[str]) -> Iterator[File]:
    """Files each of which imports the next; the first one has a service."""
    for number, (name, imported) in enumerate(itertools.pairwise(names)):
        made = File(name=name, package=f"p{number}", syntax="proto3", dependency=[imported])
        made.message_type.add(name="M")
        if number == 0:
            made.service.add(name="S").method.add(name="Do", input_type=".p0.M", output_type=".p0.M")
        yield made


# --- point 16: circles and depths ---


@pytest.mark.parametrize("size", [1, 2, 1500])
def test_point_16_imports_in_a_circle_are_told_and_others_stay_usable(meet: Meet, size: int) -> None:
    names = [f"c{number}.proto" for number in range(size)]
    outcome = meet(files_of(*chain([*names, names[0]]), good()))
    assert outcome.services == ["good.S"]
    assert any("imports itself: c0.proto → " in problem for problem in outcome.problems)


def test_point_16_a_file_above_a_circle_is_told_as_well(meet: Meet) -> None:
    outcome = meet(files_of(*chain(["top", "c1", "c2", "c1"]), good()))
    assert outcome.services == ["good.S"]
    assert "imports c1, which cannot be used, since there are imports in a circle" in outcome.problems


def test_point_16_imports_a_thousand_deep_are_fetched(meet: Meet) -> None:
    deep = list(chain(f"d{number}.proto" for number in range(1000)))
    outcome = meet(files_of(*deep, File(name="d999.proto", syntax="proto3")))
    assert outcome.services == ["p0.S"]


# --- floods ---


def endless_imports(request: Any) -> Any:
    """Each file imports one that nobody has seen yet."""
    if request.WhichOneof("message_request") == "list_services":
        return Response(list_services_response={"service": [{"name": "p0.S"}]})
    number = int(request.file_by_filename.removeprefix("e") or 0)
    (made,) = chain([f"e{number}", f"e{number + 1}"])
    return Answers([made]).found(made)


def test_imports_without_end_are_given_up(meet: Meet) -> None:
    assert meet(answering(endless_imports)).reason == "too-large"


def raw(field: int, payload: bytes) -> bytes:
    """A length-delimited field on the wire."""
    size = len(payload)
    varint = bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([field << 3 | 2, *varint, size]) + payload


def file_answer(data: bytes) -> bytes:
    return raw(4, raw(1, data))


MIB = 1024 * 1024
FLOODS = {
    "services without a name": raw(6, raw(1, b"") * (4 * MIB)),
    "files without a byte": raw(4, raw(1, b"") * (4 * MIB)),
    "empty messages": file_answer(raw(4, b"") * (4 * MIB)),
    "empty fields": file_answer(raw(1, b"x") + raw(4, raw(2, b"") * (4 * MIB))),
    "empty extension ranges": file_answer(raw(1, b"x") + raw(4, raw(5, b"") * (4 * MIB))),
    "empty imports": file_answer(raw(1, b"x") + raw(3, b"") * (4 * MIB)),
    "numbers": file_answer(raw(1, b"x") + b"\x50\x01" * (4 * MIB)),
    "packed numbers": file_answer(raw(1, b"x") + raw(10, b"\x01" * (12 * MIB))),
    "scalars": file_answer(b"\x70\x01" * (4 * MIB)),
    "positions": file_answer(raw(1, b"x") + raw(9, raw(1, b"") * (4 * MIB))),
    "unknown fields": file_answer(raw(1, b"x") + raw(100 % 16, b"") * (2 * MIB)),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_bytes_that_would_become_gigabytes_are_refused_unparsed(meet: Meet, kind: str) -> None:
    honest = Answers([good()])
    listing = kind.startswith("services")

    def answer(request: Any) -> Any:
        return FLOODS[kind] if listing or request.file_containing_symbol else honest(request)

    outcome = meet(answering(answer))
    assert outcome.reason in ("too-large", "malformed") or outcome.problems


def test_a_schema_at_the_limit_fits(meet: Meet) -> None:
    large = good()
    for number in range(90_000):
        large.message_type.add(name=f"M{number}")
    assert meet(files_of(large)).services == ["good.S"]


def test_large_answers_again_and_again_are_given_up(meet: Meet) -> None:
    padded = [File(name=f"f{number}", package=f"p{number}", syntax="proto3") for number in range(12)]
    for number, one in enumerate(padded):
        one.service.add(name="S")
        one.options.java_package = str(number % 10) * (3 * MIB)
    assert meet(files_of(*padded)).reason == "too-large"


# --- noise and silence ---


@pytest.mark.parametrize("noise", [b"\xff" * 100, b"\x22\xff\xff\xff\xff\x0f", b"<html>no</html>", bytes(range(256))])
def test_garbage_instead_of_an_answer_is_malformed(meet: Meet, noise: bytes) -> None:
    outcome = meet(answering(lambda request: noise))
    assert outcome.reason == "malformed"
    assert "http://gateway sends what is no answer to server reflection (v1: " in outcome.error


def test_garbage_instead_of_a_descriptor_is_a_problem_of_that_service(meet: Meet) -> None:
    honest = Answers([good()], listed=["good.S", "bad.S"])
    script = answering(lambda one: file_answer(b"\xff" * 99) if one.file_containing_symbol == "bad.S" else honest(one))
    outcome = meet(script)
    assert outcome.services == ["good.S"]
    assert any("cannot be read as a descriptor" in problem for problem in outcome.problems)


def test_silence_in_the_middle_costs_the_timeout(meet: Meet) -> None:
    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield Answers([good()])(next(requests))
        for _ in requests:
            continue

    assert meet(script, timeout=0.5).reason == "timeout"


def test_answers_that_nobody_asked_for_do_not_matter(meet: Meet) -> None:
    honest = Answers([good()])

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield honest(request)
            if request.file_containing_symbol:
                yield from itertools.repeat(honest(request), 1000)

    assert meet(script).services == ["good.S"]


def test_hostile_words_do_not_reach_the_terminal(meet: Meet) -> None:
    words = "\x1b]0;owned\x07\x1b[2Jno\r\n\u202e" * 2000
    outcome = meet(answering(lambda request: refusal(grpc.StatusCode.PERMISSION_DENIED, words)))
    assert outcome.reason in ("denied", "failed")


def test_hostile_names_are_told_in_print(meet: Meet) -> None:
    evil = File(
        name="../\x1b[2J\n.proto", package="evil", syntax="proto3", dependency=["../../etc/passwd\x00", "x" * 5000]
    )
    evil.service.add(name="S").method.add(name="Do", input_type=".\x1b[31m", output_type=".evil.\u202e")
    assert meet(files_of(evil, good())).services == ["good.S"]


def test_types_that_contradict_each_other_take_nobody_else_down(meet: Meet) -> None:
    twins = [File(name=f"t{number}", package="t", syntax="proto3") for number in range(2)]
    for number, one in enumerate(twins):
        one.message_type.add(name="M").field.add(name="x", number=number + 1, type=9, label=1)
        one.service.add(name=f"S{number}").method.add(name="Do", input_type=".t.M", output_type=".t.M")
    outcome = meet(files_of(*twins, good()))
    assert outcome.services == ["good.S"]
    assert "defines t.M, and so does t0 in another way" in outcome.problems
