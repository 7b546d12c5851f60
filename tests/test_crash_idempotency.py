"""A process that dies between a create and its answer, and the one that comes after it: one record, under one key.

Real processes and a real SIGKILL. The proxy holds the answer back, so that the moment of death is no matter of luck.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import FROZEN_AFTER, FROZEN_BEFORE, Fault, FaultProxy, running_proxy
from google.protobuf.message import Message
from sandbox_fixture import Running, running_sandbox

from invora_grpc.catalog import catalog
from invora_grpc.sandbox import server
from invora_grpc.sandbox.service import Call

CREATE = catalog().method("simple.invoices.create").path
KIND = "simple.invoices"
CHILD = """
import json, sys
from invora_grpc import Invora, RequestError
from invora_grpc.journal import Journal

endpoint, journal, price, key = sys.argv[1:]
line = {"description": "Goods", "quantity": {"value": 1, "unit_code": "C62"}, "tax": {"tax_rate": 15}}
changes = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Layla"}}}
changes["lines"] = [{**line, "unit_price": price}]
with Invora(endpoint=endpoint, journal=Journal(journal), timeout=20) as client:
    acting = client.with_options(idempotency_key=key) if key else client
    try:
        details = acting.simple.invoices.create(changes=changes).details
        told = {"key": details.id.key, "stamp": details.concurrency_stamp}
    except RequestError as error:
        told = {"refused": str(error)}
print(json.dumps(told))
"""


@pytest.fixture
def keys() -> list[str]:
    """The key of every create that has reached the server."""
    return []


@pytest.fixture
def sandbox(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    create = server.HANDLERS[CREATE]

    def noted(call: Call, request: Any) -> Message:
        keys.append(request.key)
        return create(call, request)

    monkeypatch.setattr(server, "HANDLERS", {**server.HANDLERS, CREATE: noted})
    with running_sandbox(seed="demo") as running:
        yield running


@pytest.fixture
def proxy(sandbox: Running) -> Iterator[FaultProxy]:
    with running_proxy(sandbox.grpc) as running:
        yield running


class Callers:
    """Processes that create one invoice each, with one journal."""

    def __init__(self, proxy: FaultProxy, token: str, journal: Path) -> None:
        self.proxy = proxy
        self.journal = journal
        self.environment = {**os.environ, "INVORA_TOKEN": token}

    def start(self, price: str, key: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, self.proxy.url, str(self.journal), price, key]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def killed(self, fault: Fault, price: str = "9.99", key: str = "") -> None:
        """One whose request has this fate, and that is killed as soon as it is met."""
        self.proxy.script(fault)
        with self.start(price, key) as process:
            assert self.proxy.happened.get(timeout=20) == fault
            process.kill()
        assert process.returncode == -9
        self.proxy.cut()

    def finished(self, price: str = "9.99", key: str = "") -> dict[str, str]:
        """What one that nothing happens to tells."""
        with self.start(price, key) as process:
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err[-2000:]
        told: dict[str, str] = json.loads(out)
        return told


@pytest.fixture
def callers(sandbox: Running, proxy: FaultProxy, tmp_path: Path) -> Callers:
    return Callers(proxy, sandbox.token(), tmp_path / "journal.sqlite")


@pytest.mark.parametrize("key", ["", "order-17"], ids=["no key", "a key of the caller's"])
@pytest.mark.parametrize("fault", [FROZEN_BEFORE, FROZEN_AFTER], ids=["before the commit", "after the commit"])
def test_the_same_document_after_a_crash_is_the_same_record(
    sandbox: Running, callers: Callers, keys: list[str], fault: Fault, key: str
) -> None:
    callers.killed(fault, key=key)
    told = callers.finished(key=key)
    (record,) = sandbox.store.all(sandbox.org_id, KIND)
    assert told == {"key": record.key, "stamp": record.stamp}
    assert set(keys) == {record.key}
    assert len(keys) == (1 if fault == FROZEN_BEFORE else 2)
    assert record.key == key or not key


def test_the_next_document_of_the_same_content_is_another_record(sandbox: Running, callers: Callers) -> None:
    """A crash is resumed once: whoever sells the same thing twice means it."""
    callers.killed(FROZEN_AFTER)
    first, second = callers.finished(), callers.finished()
    assert first["key"] != second["key"]
    assert sandbox.store.count(sandbox.org_id, KIND) == 2


def test_another_document_under_a_key_in_doubt_is_refused_before_it_is_sent(
    sandbox: Running, proxy: FaultProxy, callers: Callers, keys: list[str]
) -> None:
    callers.killed(FROZEN_AFTER, key="order-17")
    reached = proxy.counts.requests
    told = callers.finished(price="8.88", key="order-17")
    assert "order-17" in told["refused"] and "other content" in told["refused"]
    assert proxy.counts.requests == reached
    assert keys == ["order-17"]


def test_another_document_under_a_key_whose_record_exists_is_refused_before_it_is_sent(
    proxy: FaultProxy, callers: Callers, keys: list[str]
) -> None:
    callers.finished(key="order-17")
    reached = proxy.counts.requests
    assert "order-17" in callers.finished(price="8.88", key="order-17")["refused"]
    assert proxy.counts.requests == reached
    assert keys == ["order-17"]
