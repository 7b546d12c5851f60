"""The tools that people already have, the real binaries, against the sandbox: grpcurl and buf curl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from sandbox_fixture import Running

BIN = Path(sys.executable).parent
LIST = "invora.simple.invoices.v1.SimpleInvoiceService/List"
REFLECTIONS = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}


def run(*command: str | Path) -> str:
    """Standard output of a command that must succeed; its complaints are shown if it does not."""
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def headers(demo: Running) -> tuple[str, ...]:
    return ("-H", f"authorization: Bearer {demo.token()}", "-H", f"x-target-org-id: {demo.org_id}")


def test_grpcurl_lists_every_service(demo: Running) -> None:
    services = set(run(BIN / "grpcurl", "-plaintext", demo.grpc, "list").split())
    assert {LIST.partition("/")[0], "grpc.health.v1.Health"} | REFLECTIONS <= services
    assert len([name for name in services if name.startswith("invora.")]) == 54


def test_grpcurl_lists_the_methods_of_a_service(demo: Running) -> None:
    methods = run(BIN / "grpcurl", "-plaintext", demo.grpc, "list", LIST.partition("/")[0]).split()
    assert [name.rpartition(".")[2] for name in methods] == ["Create", "Delete", "Freeze", "Get", "List", "Update"]


def test_grpcurl_describes_a_method_with_its_http_rule_and_scope(demo: Running) -> None:
    text = run(BIN / "grpcurl", "-plaintext", demo.grpc, "describe", LIST.replace("/", "."))
    assert (
        "rpc List ( .invora.simple.invoices.v1.ListRequest ) returns ( .invora.simple.invoices.v1.ListResponse )"
        in text
    )
    assert 'post:"/api/v1/simple/invoices/list"' in text.replace(" ", "")
    assert 'scope:"Invora.Simple.Invoices.v1.List"' in text.replace(" ", "")


def test_grpcurl_describes_a_message(demo: Running) -> None:
    text = run(BIN / "grpcurl", "-plaintext", demo.grpc, "describe", "kernel.DecimalValue")
    assert "sfixed32 nanos = 2;" in text


def test_grpcurl_calls_a_list_with_the_headers_of_the_guide(demo: Running) -> None:
    data = json.dumps({"pagination": {"limit": "10"}})
    answer = json.loads(run(BIN / "grpcurl", "-plaintext", *headers(demo), "-d", data, demo.grpc, LIST))
    assert set(answer) <= {"items", "totalCount", "nextPageCursor"}


def test_grpcurl_without_a_token_is_told_so(demo: Running) -> None:
    result = subprocess.run(
        [BIN / "grpcurl", "-plaintext", demo.grpc, LIST], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "Code: Unauthenticated" in result.stderr


def fetch(demo: Running, out: Path) -> dict[str, FileDescriptorProto]:
    """What `invora schema fetch` writes, by file name."""
    run(sys.executable, "-m", "invora_grpc.cli", "schema", "fetch", "--endpoint", demo_url(demo), "--out", out)
    return descriptors(out)


def descriptors(path: Path) -> dict[str, FileDescriptorProto]:
    found = FileDescriptorSet.FromString(path.read_bytes()).file
    assert len({file.name for file in found}) == len(found)
    return {file.name: file for file in found}


def test_schema_fetch_writes_what_grpcurl_writes(demo: Running, tmp_path: Path) -> None:
    run(BIN / "grpcurl", "-plaintext", "-protoset-out", tmp_path / "theirs", demo.grpc, "list")
    theirs = descriptors(tmp_path / "theirs")
    assert len(theirs) > 180
    assert fetch(demo, tmp_path / "ours") == theirs


def test_grpcurl_reads_what_schema_fetch_writes(demo: Running, tmp_path: Path) -> None:
    fetch(demo, tmp_path / "ours")
    listed = run(BIN / "grpcurl", "-plaintext", demo.grpc, "list")
    assert run(BIN / "grpcurl", "-protoset", tmp_path / "ours", "list") == listed


@pytest.fixture
def buf(tmp_path: Path) -> list[str | Path]:
    """`buf curl` over HTTP/2 without TLS, away from the workspace of this project."""
    return [BIN / "buf", "curl", "--http2-prior-knowledge", "--protocol", "grpc"]


def test_buf_curl_lists_services_and_methods(demo: Running, buf: list[str | Path]) -> None:
    assert LIST.partition("/")[0] in run(*buf, "--list-services", demo_url(demo)).split()
    assert LIST in run(*buf, "--list-methods", f"{demo_url(demo)}").split()


def test_schema_fetch_sees_the_methods_that_buf_curl_lists(
    demo: Running, buf: list[str | Path], tmp_path: Path
) -> None:
    methods = {
        f"{file.package}.{service.name}/{method.name}"
        for file in fetch(demo, tmp_path / "ours").values()
        for service in file.service
        for method in service.method
    }
    assert methods == set(run(*buf, "--list-methods", demo_url(demo)).split())


def test_buf_reads_what_schema_fetch_writes_and_finds_no_break(
    demo: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(demo, tmp_path / "ours.binpb")
    run(BIN / "grpcurl", "-plaintext", "-protoset-out", tmp_path / "theirs.binpb", demo.grpc, "list")
    monkeypatch.chdir(tmp_path)  # away from the workspace of this project
    run(BIN / "buf", "breaking", "ours.binpb", "--against", "theirs.binpb")


def test_buf_curl_calls_a_list_with_the_headers_of_the_guide(demo: Running, buf: list[str | Path]) -> None:
    data = json.dumps({"pagination": {"limit": "10"}})
    answer = json.loads(run(*buf, *headers(demo), "-d", data, f"{demo_url(demo)}/{LIST}"))
    assert set(answer) <= {"items", "totalCount", "nextPageCursor"}


def demo_url(demo: Running) -> str:
    return f"http://{demo.grpc}"


def test_the_command_calls_by_a_short_name(demo: Running) -> None:
    environment = {
        "INVORA_ENDPOINT": f"http://{demo.grpc}",
        "INVORA_ISSUER": demo.issuer,
        "INVORA_CLIENT_ID": demo.client_id,
        "INVORA_CLIENT_SECRET": demo.client_secret,
    }
    command = [sys.executable, "-m", "invora_grpc.cli", "call", "billing.customers.create"]
    fields = ["input.external_id=from-the-shell", "input.currency=SAR"]
    result = subprocess.run(
        [*command, *fields], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert json.loads(result.stdout)["customer"]["external_id"] == "from-the-shell"


def test_the_tour_runs_to_its_end() -> None:
    said = run(sys.executable, Path(__file__).parent.parent / "examples" / "demo.py")
    assert "INV-000001, counter 1, QR of" in said
    assert said.rstrip().endswith("Done")
