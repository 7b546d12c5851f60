"""The catalog: every service and RPC, without grpc and without protobuf."""

from __future__ import annotations

import subprocess
import sys

import pytest

from invora_grpc.catalog import catalog
from invora_grpc.errors import RequestError

HEAVY = ("grpc", "google.protobuf", "httpx", "click")


def run(code: str) -> str:
    """The output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_loads_neither_grpc_nor_protobuf() -> None:
    code = f"import sys, invora_grpc; print([m for m in {HEAVY} if m in sys.modules], 'invora_api' in sys.modules)"
    assert run(code).split() == ["[]", "False"]


def test_ls_lists_every_service_and_rpc_without_grpc_and_protobuf() -> None:
    code = (
        "import sys\nfrom invora_grpc.cli import main\nmain(['ls'])\n"
        "print([m for m in ('grpc', 'google.protobuf', 'httpx') if m in sys.modules])"
    )
    lines = run(code).splitlines()
    assert lines[-1] == "[]"
    listed = {line.split()[0] for line in lines[:-1]}
    assert {service.name for service in catalog()} <= listed
    assert {method.attribute for method in catalog().methods} <= listed


def test_every_method_has_a_scope_and_a_comment() -> None:
    assert [m.full_name for m in catalog().methods if not m.scope] == []
    assert [m.full_name for m in catalog().methods if not m.doc] == []


def test_every_unary_method_has_an_http_rule() -> None:
    assert [m.full_name for m in catalog().methods if not m.streaming and m.http is None] == []


def test_no_two_methods_share_an_attribute() -> None:
    attributes = [m.attribute for m in catalog().methods]
    assert len(attributes) == len(set(attributes))


def test_origin_tells_published_from_documented() -> None:
    origins = {m.full_name: m.origin for m in catalog().methods}
    assert origins["invora.billing.plans.v2.PlanService/Create"] == "published"
    assert origins["invora.billing.plans.v2.PlanService/CreateFeature"] == "documented"
    assert {m.origin for m in catalog().methods if m.module == "simple"} == {"documented"}
    assert sum(origin == "published" for origin in origins.values()) == 406


@pytest.mark.parametrize(
    "name",
    [
        "invora.simple.invoices.v1.SimpleInvoiceService/Create",
        "/invora.simple.invoices.v1.SimpleInvoiceService/Create",
        "invora.simple.invoices.v1.SimpleInvoiceService.Create",
        "simple.invoices.create",
        "simple.invoices.Create",
        "SimpleInvoiceService.Create",
    ],
)
def test_a_method_is_found_by_any_unambiguous_name(name: str) -> None:
    assert catalog().method(name).path == "/invora.simple.invoices.v1.SimpleInvoiceService/Create"


def test_an_ambiguous_name_lists_what_it_fits() -> None:
    with pytest.raises(
        RequestError, match=r"fits 2 RPCs; write one of billing.invoices.create, simple.invoices.create"
    ):
        catalog().method("invoices.create")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"did you mean .*simple\.invoices\.freeze"):
        catalog().method("simple.invoices.freze")


def test_a_python_keyword_gets_an_underscore() -> None:
    assert catalog().method("invora.parties.v2.PartiesService/Import").rpc == "import_"
