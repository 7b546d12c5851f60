"""The examples of the six cases, as processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox_fixture import Running, running_sandbox
from zatca_tenants import handled

from invora_grpc.sandbox.service import Call

EXAMPLES = Path(__file__).parent.parent / "examples" / "zatca"


def ran(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """An example that has ended."""
    free = {key: value for key, value in os.environ.items() if not key.startswith("INVORA_")}
    command = [sys.executable, str(EXAMPLES / name)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**free, **environment})


def settings(running: Running) -> dict[str, str]:
    told = {"endpoint": f"http://{running.grpc}", "issuer": running.issuer}
    told |= {"client_id": running.client_id, "client_secret": running.client_secret}
    return {f"INVORA_{name.upper()}": value for name, value in told.items()}


def test_the_demo_issues_all_six_cases_for_both_customers_in_a_sandbox_of_its_own() -> None:
    done = ran("demo.py")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = [re.split(r"  +", line) for line in done.stdout.split("\ncase ")[1].split("\n\n")[0].splitlines()[1:]]
    cases = {"1", "2", "3", "4", "5 over 1", "5 over 3", "6 over 1", "6 over 3", "6 over 4"}
    assert {(row[0], row[1]) for row in rows} >= {(case, kind) for case in cases for kind in ("consumer", "business")}
    assert {row[6] for row in rows} == {"REPORTED", "CLEARED", "NO_DOCUMENT", "RECORDED"}
    assert {row[-1] for row in rows} == {"verified", "–"}
    assert done.stdout.count("unbroken") == 2
    assert "43 legs, 0 not final or with a wrong QR code, 0 chains broken" in done.stdout


def test_the_demo_runs_in_the_sandbox_that_is_named_and_fails_if_a_qr_code_is_another_documents() -> None:
    codes: list[str] = []

    def mixed_up(call: Call, request: Any, real: Any) -> Any:
        answer = real(call, request)
        metadata = answer.items[0].metadata
        codes.append(metadata["qrCode"])
        metadata["qrCode"] = codes[0]
        return answer

    told = handled("invoicing.regulation_info.list_document_regulations", mixed_up)
    with running_sandbox(seed="demo") as running, told:
        done = ran("demo.py", **settings(running))
    assert (done.returncode, len(codes)) == (1, 40)
    assert "43 legs, 39 not final or with a wrong QR code, 0 chains broken" in done.stdout


def test_no_example_runs_against_a_gateway_elsewhere() -> None:
    done = ran("case1.py", INVORA_ENDPOINT="https://api.example.com")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no sandbox on this machine" in done.stderr
