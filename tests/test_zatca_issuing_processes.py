"""Processes that die while they issue, or issue the same deal at the same time: one document each, under one number.

Real processes and a real SIGKILL. The proxy holds a request or its answer, so that the moment of death is no matter of
luck.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from door import Door
from fault_proxy import FROZEN_AFTER, FROZEN_BEFORE, PASS, Fault, FaultProxy, running_proxy
from sandbox_fixture import running_sandbox
from zatca_deals import option
from zatca_tenants import Tenants, agreement_of, issue, ready, today_deal

from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.supply import Role

CHILD = """
import base64, json, pickle, sys
from invora_grpc import Invora
from invora_grpc.zatca.issuing import issue, tenants

endpoint, provider_org, work = sys.argv[1:]
option, deal, agreement = pickle.loads(base64.b64decode(work))
with Invora(endpoint=endpoint, timeout=20) as client:
    clients = tenants(client, provider_org)
    print("ready", flush=True)
    sys.stdin.readline()
    issued = issue(clients, option, deal, agreement)
print(json.dumps([[leg.key, leg.number, leg.counter, leg.status] for leg in issued.legs]))
"""


@pytest.fixture(scope="module")
def tenants() -> Iterator[Tenants]:
    with running_sandbox(seed="demo") as running:
        yield ready(running)


@pytest.fixture(scope="module")
def proxy(tenants: Tenants) -> Iterator[FaultProxy]:
    with running_proxy(tenants.running.grpc) as running:
        yield running


@contextmanager
def child(tenants: Tenants, proxy: FaultProxy, case: int, deal: Deal) -> Iterator[subprocess.Popen[str]]:
    """A process that will issue the deal as soon as it is told to."""
    work = pickle.dumps((option(case), replace(deal, branches=dict(deal.branches)), agreement_of(case)))
    told = (proxy.url, tenants.provider_org, base64.b64encode(work).decode())
    environment = {**os.environ, "INVORA_TOKEN": tenants.running.token()}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD, *told], env=environment, text=True, **pipes) as process:
        assert process.stdout and process.stderr
        try:
            if process.stdout.readline() != "ready\n":
                raise AssertionError(process.stderr.read()[-2000:])
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def killed(tenants: Tenants, proxy: FaultProxy, case: int, deal: Deal, *faults: Fault) -> None:
    """A process whose requests have these fates, and that is killed as soon as the last of them is met."""
    with child(tenants, proxy, case, deal) as process:
        proxy.script(*faults)
        go(process)
        assert proxy.happened.get(timeout=20) == faults[-1]
        process.kill()
    assert process.returncode == -9
    proxy.cut()


CHECKS = (PASS, PASS)
"""Whose tenants these are is asked first."""
DEATHS = {
    "between create and freeze": (1, (*CHECKS, PASS, FROZEN_BEFORE), (0, 0)),
    "after freeze": (1, (*CHECKS, PASS, FROZEN_AFTER), (1, 0)),
    "between the legs": (1, (*CHECKS, PASS, PASS, FROZEN_BEFORE), (1, 0)),
    "after freeze of leg 1, documents": (3, (*CHECKS, PASS, FROZEN_AFTER), (1, 0)),
}


@pytest.mark.parametrize("name", DEATHS)
def test_a_deal_whose_process_was_killed_is_issued_to_its_end_and_nothing_twice(
    tenants: Tenants, proxy: FaultProxy, name: str
) -> None:
    case, faults, expected = DEATHS[name]
    deal, before = today_deal(f"killed {name}"), counted(tenants)
    killed(tenants, proxy, case, deal, *faults)
    assert since(tenants, before) == expected
    numbers = [one.key for one in tenants.submissions(Role.SP)]
    door = Door()
    issued = issue(door, tenants.of(door), option(case), deal, agreement_of(case))
    again = issue(door, tenants.of(door), option(case), deal, agreement_of(case))
    door.close()
    assert [leg.status for leg in issued.legs] == ["REPORTED", "CLEARED"]
    assert again == issued
    assert since(tenants, before) == (1, 1)
    assert [one.key for one in tenants.submissions(Role.SP)][: len(numbers)] == numbers
    assert issued.leg(1).counter == len(tenants.chain(Role.SP, "sp-main"))


def test_two_processes_that_issue_one_deal_at_the_same_time_issue_it_once(tenants: Tenants, proxy: FaultProxy) -> None:
    deal, before = today_deal("race"), counted(tenants)
    with child(tenants, proxy, 1, deal) as one, child(tenants, proxy, 1, deal) as other:
        go(one)
        go(other)
        told = [json.loads(process.communicate(timeout=30)[0]) for process in (one, other)]
    assert told[0] == told[1]
    assert [status for *_, status in told[0]] == ["REPORTED", "CLEARED"]
    assert since(tenants, before) == (1, 1)
    for role, branch in ((Role.P, "p-main"), (Role.SP, "sp-main")):
        assert check_chain(tenants.chain(role, branch)) == ()


def counted(tenants: Tenants) -> tuple[int, int]:
    """How many documents the provider and the platform have frozen."""
    return len(tenants.submissions(Role.SP)), len(tenants.submissions(Role.P))


def since(tenants: Tenants, before: tuple[int, int]) -> tuple[int, int]:
    now = counted(tenants)
    return now[0] - before[0], now[1] - before[1]
