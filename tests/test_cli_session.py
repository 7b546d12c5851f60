"""The session of the guides, once with the real grpcurl and once with `invora`: the same comes out of both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_lines import Home, settings_of
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from sandbox_fixture import Running, running_sandbox

from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.cli.requests import read_request
from invora_grpc.reading import to_json
from invora_grpc.values import build

SERVICE = "invora.simple.invoices.v1.SimpleInvoiceService"
LIST, GET, CREATE = (f"{SERVICE}/{rpc}" for rpc in ("List", "Get", "Create"))
INVOICE = {
    "changes": {
        "currencyCode": "SAR",
        "supplyDate": {"year": 2026, "month": 4, "day": 27},
        "buyer": {"inline": {"legalName": "شركة الأمل"}},
        "lines": [
            {
                "description": "Consulting",
                "quantity": {"value": {"units": "3"}, "unitCode": "HUR"},
                "unitPrice": {"units": "199", "nanos": 900000000},
                "tax": {"taxRate": {"units": "15"}},
            }
        ],
    },
    "key": "side-by-side",
    "freezeImmediately": True,
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Running]:
    with running_sandbox(seed="demo") as running:
        yield running


@pytest.fixture(scope="module")
def home(shop: Running, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Both tools with the same token, as the guides have it in $TOKEN."""
    own = {"INVORA_ENDPOINT": settings_of(shop)["INVORA_ENDPOINT"], "TOKEN": shop.token(), "GATEWAY": shop.grpc}
    return Home(tmp_path_factory.mktemp("session") / "home", own)


def theirs(home: Home, line: str) -> subprocess.CompletedProcess[str]:
    """grpcurl, with the header of the guides."""
    return home.run(f'grpcurl -plaintext -H "Authorization: Bearer $TOKEN" {line}')


def ours(home: Home, line: str) -> subprocess.CompletedProcess[str]:
    """invora, with the same token."""
    return home.run(f'INVORA_TOKEN="$TOKEN" invora {line}')


def fine(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def message_of(rpc: str, printed: Any) -> Message:
    """grpcurl's JSON as the message that it stands for."""
    return ParseDict(printed, bind(catalog().method(rpc)).response_class())


def from_ours(rpc: str, printed: Any) -> Message:
    """invora's JSON as the message that it stands for: what it prints can be read back."""
    return build(bind(catalog().method(rpc)).response_class, printed)


def services_of(listing: str) -> dict[str, list[str]]:
    """What `invora ls` lists: services, and the names of their RPCs."""
    found: dict[str, list[str]] = {}
    for row in listing.splitlines():
        name = row.split()[0]
        if row.startswith(" "):
            list(found.values())[-1].append(name)
        else:
            found[name] = []
    return found


def test_both_list_the_same_services(home: Home) -> None:
    listed = set(fine(theirs(home, "$GATEWAY list")).split())
    assert len(listed) > 50
    assert set(services_of(fine(ours(home, "ls --endpoint http://$GATEWAY")))) == listed


def test_both_list_the_same_methods_of_every_service(home: Home) -> None:
    described = fine(theirs(home, f"$GATEWAY list {SERVICE}")).split()
    rpcs = services_of(fine(ours(home, f"ls --endpoint http://$GATEWAY {SERVICE}")))[SERVICE]
    assert sorted(f"{SERVICE}.{catalog().method(name).name}" for name in rpcs) == sorted(described)


def test_both_describe_the_same_method_and_message(home: Home) -> None:
    rpc = fine(theirs(home, f"$GATEWAY describe {SERVICE}.Freeze"))
    text = fine(ours(home, f"describe --endpoint http://$GATEWAY {SERVICE}.Freeze"))
    for word in ("FreezeRequest", "FreezeResponse", "/api/v1/simple/invoices/{key}/freeze"):
        assert word in rpc and word in text
    fields = fine(theirs(home, "$GATEWAY describe kernel.DecimalValue"))
    wanted = [row.strip() for row in fields.splitlines() if row.endswith(";")]
    assert len(wanted) == 2
    shown = fine(ours(home, "describe --endpoint http://$GATEWAY kernel.DecimalValue"))
    assert [row for row in wanted if row not in shown] == []


def test_both_create_get_and_list_the_same_invoice(home: Home) -> None:
    (home.work / "invoice.json").write_text(json.dumps(INVOICE))
    made = json.loads(fine(theirs(home, f"-d @ $GATEWAY {CREATE} < invoice.json")))
    line = f"call {CREATE} --idempotency-key side-by-side -d @invoice.json"  # no second invoice comes of it
    again = json.loads(fine(ours(home, line)))
    assert from_ours(CREATE, again) == message_of(CREATE, made)
    assert again["details"]["calculations"]["payable_amount"] == "689.66"
    for rpc, data in ((GET, {"key": "side-by-side"}), (LIST, {"pagination": {"limit": "10"}})):
        same(home, rpc, json.dumps(data))


def same(home: Home, rpc: str, data: str) -> None:
    """The answer of both is one and the same message, and the JSON of each can be made of that of the other."""
    told = json.loads(fine(theirs(home, f"-d '{data}' $GATEWAY {rpc}")))
    printed = json.loads(fine(ours(home, f"call {rpc} -d '{data}'")))
    assert printed == to_json(message_of(rpc, told))
    assert MessageToDict(from_ours(rpc, printed)) == told
    assert told


def test_both_send_the_same_request(home: Home) -> None:
    method = catalog().method(CREATE)
    request = bind(method).request_class
    assert build(request, read_request(method, json.dumps(INVOICE), ())) == ParseDict(INVOICE, request())


@pytest.mark.parametrize(("rpc", "data", "code"), [(GET, '{"key": "nothing"}', 5), (LIST, "{}", 16)])
def test_both_end_with_the_same_exit_code_when_refused(home: Home, rpc: str, data: str, code: int) -> None:
    token = "$TOKEN" if code != 16 else "wrong"
    told = home.run(f"grpcurl -plaintext -H \"Authorization: Bearer {token}\" -d '{data}' $GATEWAY {rpc}")
    assert told.returncode == 64 + code
    assert home.run(f"INVORA_TOKEN={token} invora call {rpc} -d '{data}'").returncode == 64 + code


def test_the_short_form_answers_the_same(home: Home, shop: Running) -> None:
    """Settings from the environment, the RPC by its short name, and no token that is handled by hand."""
    signed_in = Home(home.folder / "signed-in", settings_of(shop))
    answer = json.loads(fine(signed_in.run("invora call simple.invoices.list pagination.limit=10")))
    assert answer == json.loads(fine(ours(home, f'call {LIST} -d \'{{"pagination": {{"limit": 10}}}}\'')))


def test_a_call_printed_for_grpcurl_answers_the_same(home: Home, tmp_path: Path) -> None:
    line = fine(ours(home, "call simple.invoices.list pagination.limit=10 --grpcurl"))
    assert "$INVORA_TOKEN" in line
    script = tmp_path / "call.sh"
    script.write_text(line)
    told = json.loads(fine(home.run(f'INVORA_TOKEN="$TOKEN" bash {script}')))
    assert to_json(message_of(LIST, told)) == json.loads(
        fine(ours(home, "call simple.invoices.list pagination.limit=10"))
    )
