"""The sandbox's server: sign-in, tenants, scopes, statuses, reflection, health, and how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from conftest import client_of
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sandbox_fixture import Refusal, Running, refusal_of, running_sandbox

from invora_api.identity.v2 import platform_enrollment_service_pb2 as businesses
from invora_api.identity.v2 import public_registration_service_pb2 as registration
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import (
    dispatch,
    documents,
    engine,
    identity,
    regulations,
    regulations_enrollment,
    regulations_zatca,
    server,
    simple,
)
from invora_grpc.sandbox.gate import grants, reads_only
from invora_grpc.sandbox.idp import issue_token
from invora_grpc.sandbox.launch import SEEDS
from invora_grpc.sandbox.reflection import V1, V1ALPHA
from invora_grpc.sandbox.server import HANDLERS, Sandbox
from invora_grpc.sandbox.service import ERROR_DOMAIN

Code = grpc.StatusCode
STATUS = "GetOnboardingStatus"


class Clock:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def first_child(running: Running) -> str:
    return str(running.store.connected(running.org_id)[0].org_id)


def with_metadata(running: Running, *metadata: tuple[str, str], rpc: str = STATUS) -> Refusal:
    """The refusal of a call with exactly this metadata."""
    with pytest.raises(grpc.RpcError) as caught:
        running.raw(catalog().method(rpc), metadata)
    return refusal_of(caught.value)


class TestSignIn:
    def test_no_token(self, demo: Running) -> None:
        refusal = with_metadata(demo)
        assert (refusal.code, refusal.reason) == (Code.UNAUTHENTICATED, "MISSING_TOKEN")
        assert refusal.info.domain == ERROR_DOMAIN
        assert "/oauth/v2/token" in refusal.message

    @pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer  ", ""])
    def test_something_else_than_a_bearer_token(self, demo: Running, value: str) -> None:
        assert with_metadata(demo, ("authorization", value)).reason == "MISSING_TOKEN"

    def test_the_scheme_is_written_in_any_case(self, demo: Running) -> None:
        demo.raw(catalog().method(STATUS), [("authorization", f"bEARER {demo.token()}")])

    def test_two_tokens(self, demo: Running) -> None:
        twice = ("authorization", f"Bearer {demo.token()}")
        assert with_metadata(demo, twice, twice).reason == "INVALID_TOKEN"

    def test_a_tampered_token_is_refused_and_not_repeated(self, demo: Running) -> None:
        head, body, signature = demo.token().split(".")
        refusal = demo.refusal(STATUS, token=f"{head}.{body}.{signature[::-1]}")
        assert (refusal.code, refusal.reason) == (Code.UNAUTHENTICATED, "INVALID_TOKEN")
        assert body not in str(refusal)

    def test_an_expired_token(self) -> None:
        clock = Clock()
        with running_sandbox(clock=clock, token_lifetime=60) as running:
            running.call(STATUS)
            clock.now += 61
            refusal = running.refusal(STATUS)
            assert (refusal.code, refusal.reason) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")

    def test_another_issuers_token(self, demo: Running) -> None:
        client = demo.store.client(demo.client_id)
        token = issue_token(demo.store, "http://127.0.0.1:1", client=client)
        assert demo.refusal(STATUS, token=token).reason == "INVALID_TOKEN"


class TestTenants:
    def test_the_callers_own_organization_may_be_named(self, demo: Running) -> None:
        assert demo.call(STATUS, org=demo.org_id).tenant_id == demo.org_id

    def test_a_connected_business_may_be_named(self, demo: Running) -> None:
        assert demo.call(STATUS, org=first_child(demo)).tenant_id == first_child(demo)

    def test_a_stranger_and_nobody_get_the_same_refusal(self, demo: Running) -> None:
        stranger = demo.store.create_organization("Stranger")
        refused = [demo.refusal(STATUS, org=org) for org in (stranger.org_id, "123456789012345678")]
        assert {(one.code, one.reason) for one in refused} == {(Code.PERMISSION_DENIED, "TARGET_DENIED")}
        assert refused[0].status == refused[1].status

    def test_a_connected_business_may_not_act_in_its_platform_or_sister(self, demo: Running) -> None:
        child, sister = (one.org_id for one in demo.store.connected(demo.org_id)[:2])
        token = demo.token(*demo.store.create_client(child, roles=("owner",)))
        assert demo.call(STATUS, token=token).tenant_id == child
        for org in (demo.org_id, sister):
            assert demo.refusal(STATUS, token=token, org=org).reason == "TARGET_DENIED"

    def test_a_caller_without_a_role_there_may_not(self, demo: Running) -> None:
        token = demo.token(*demo.store.create_client(demo.org_id, roles=("owner",)))
        assert demo.refusal(STATUS, token=token, org=first_child(demo)).reason == "TARGET_DENIED"

    def test_a_role_there_is_the_role_that_counts(self, demo: Running) -> None:
        roles = {"owner": (demo.org_id,), "viewer": (first_child(demo),)}
        token = demo.token(*demo.store.create_client(demo.org_id, roles=roles))
        demo.call(STATUS, token=token, org=first_child(demo))
        assert demo.refusal("SelectPlan", token=token, org=first_child(demo)).reason == "SCOPE_MISSING"

    @pytest.mark.parametrize("targets", [("1", "2"), ("",)])
    def test_the_header_is_sent_once_with_one_id(self, demo: Running, targets: tuple[str, ...]) -> None:
        sent = [("authorization", f"Bearer {demo.token()}"), *(("x-target-org-id", one) for one in targets)]
        refusal = with_metadata(demo, *sent)
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, ["x-target-org-id"])

    def test_a_suspended_business_is_refused_on_both_ways(self, sandbox: Running) -> None:
        child = first_child(sandbox)
        token = sandbox.token(*sandbox.store.create_client(child, roles=("owner",)))
        sandbox.store.update_organization(child, state="suspended")
        for refusal in (sandbox.refusal(STATUS, token=token), sandbox.refusal(STATUS, org=child)):
            assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "ORGANIZATION_SUSPENDED")


class TestScopes:
    def test_a_viewer_reads(self, demo: Running) -> None:
        assert demo.call(STATUS, token=demo.viewer()).tenant_id == demo.org_id

    def test_a_viewer_is_denied_a_write_by_the_scopes_name(self, demo: Running) -> None:
        refusal = demo.refusal("SelectPlan", token=demo.viewer())
        scope, method = "Invora.Identity.v2.SelectPlan", "invora.identity.v2.PublicRegistrationService/SelectPlan"
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "SCOPE_MISSING")
        assert dict(refusal.info.metadata) == {"scope": scope, "method": method}
        assert scope in refusal.message
        assert "viewer" in refusal.message

    def test_a_caller_without_roles_may_nothing(self, demo: Running) -> None:
        token = demo.token(*demo.store.create_client(demo.org_id))
        assert demo.refusal(STATUS, token=token).reason == "SCOPE_MISSING"

    @pytest.mark.parametrize(
        ("role", "scope", "granted"),
        [
            ("owner", "Invora.Admin.Impersonate", True),
            ("accountant", "Invora.Admin.Impersonate", False),
            ("accountant", "Invora.Identity.v2.SelectPlan", False),
            ("accountant", "Invora.Identity.v2.ConnectedBusiness.List", True),
            ("accountant", "Invora.Simple.Invoices.v1.Modify.Create", True),
            ("viewer", "Invora.Documents.v2.List.Stream", True),
            ("viewer", "Invora.Documents.v2.Modify.StreamCreate", False),
            ("viewer", "Invora.Billing.Analytics.v2.Mrrs", True),
            ("viewer", "Invora.Billing.Invoices.v2.CreateDataExport", False),
            ("viewer", "Invora.Billing.Invoices.v2.DownloadInvoice", True),
            ("viewer", "Invora.Simple.Invoices.v1.Modify.Freeze", False),
            ("impersonator", "Invora.Admin.Impersonate", True),
            ("impersonator", "Invora.Identity.v2.GetOnboardingStatus", False),
            ("gardener", "Invora.Documents.v2.Get", False),
        ],
    )
    def test_roles_grant(self, role: str, scope: str, granted: bool) -> None:
        assert grants(role, scope) is granted

    def test_no_modifying_scope_counts_as_reading(self) -> None:
        scopes = {method.scope for method in catalog().methods}
        assert not [scope for scope in scopes if ".Modify." in scope and reads_only(scope)]


class TestAnswers:
    def test_every_handler_is_of_the_catalog_and_of_a_form_that_is_served(self) -> None:
        methods = {method.path: method for method in catalog().methods}
        assert all(path in methods and methods[path].streaming != "client" for path in HANDLERS)

    def test_no_rpc_has_two_handlers(self) -> None:
        regulatory = (regulations, regulations_enrollment, regulations_zatca)
        rooms = (documents, engine, identity, simple, *regulatory)
        assert sum(len(room.REGISTRY) for room in rooms) == len(HANDLERS)

    def test_all_of_identity_is_served(self) -> None:
        assert {m.path for m in catalog().methods if m.module == "identity"} <= set(HANDLERS)

    def test_an_rpc_without_a_handler_is_named(self, demo: Running) -> None:
        method = next(m for m in catalog().methods if m.path not in HANDLERS and not m.streaming)
        refusal = demo.refusal(method.full_name)
        assert (refusal.code, refusal.reason) == (Code.UNIMPLEMENTED, "NOT_SERVED")
        assert method.full_name in refusal.message

    @pytest.mark.parametrize("rpc", ["documents.list_stream", "documents.get_stream"])
    def test_streams_are_admitted_and_not_served(self, demo: Running, rpc: str) -> None:
        method = catalog().method(rpc)
        assert stream_refusal(demo, method.path).reason == "MISSING_TOKEN"
        token = ("authorization", f"Bearer {demo.token()}")
        assert stream_refusal(demo, method.path, token).reason == "NOT_SERVED"
        viewer = ("authorization", f"Bearer {demo.viewer()}")
        expected = "NOT_SERVED" if reads_only(method.scope) else "SCOPE_MISSING"
        assert stream_refusal(demo, method.path, viewer).reason == expected

    def test_a_foreign_service_is_unimplemented(self, demo: Running) -> None:
        call: Any = demo.channel().unary_unary("/acme.v1.Foreign/Get")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
        assert refusal_of(caught.value).code is Code.UNIMPLEMENTED

    def test_bytes_that_are_no_request(self, demo: Running) -> None:
        call: Any = demo.channel().unary_unary(catalog().method("SelectPlan").path)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", metadata=[("authorization", f"Bearer {demo.token()}")], timeout=5)
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "MALFORMED")

    def test_a_request_id_is_echoed_in_answers_and_refusals(self, demo: Running) -> None:
        sent = [("x-request-id", "mine-1"), ("authorization", f"Bearer {demo.token()}")]
        assert demo.raw(catalog().method(STATUS), sent)[1]["x-request-id"] == "mine-1"
        assert with_metadata(demo, sent[0]).trailers["x-request-id"] == "mine-1"

    def test_a_request_id_is_made_where_none_is_sent(self, demo: Running) -> None:
        first, second = (with_metadata(demo).trailers["x-request-id"] for _ in range(2))
        assert first
        assert first != second

    def test_a_crash_tells_an_incident_and_nothing_else(
        self, sandbox: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def crash(call: Any, request: Any) -> Any:
            call.store.update_organization(call.org_id, name="half done")
            raise KeyError("an inner secret")

        monkeypatch.setitem(HANDLERS, catalog().method("SelectPlan").path, crash)
        request = registration.SelectPlanRequest(plan_code="a word of the request")
        with caplog.at_level(logging.ERROR, dispatch.__name__):
            refusal = sandbox.refusal("SelectPlan", request)
        assert (refusal.code, refusal.reason) == (Code.INTERNAL, "INTERNAL")
        assert "secret" not in str(refusal)
        incident = refusal.info.metadata["incident"]
        assert incident in refusal.message
        assert incident in caplog.text
        assert "Traceback" in caplog.text
        assert "a word of the request" not in caplog.text
        assert sandbox.token() not in caplog.text
        assert sandbox.store.organization(sandbox.org_id).name == "Demo Platform"

    def test_a_wrong_response_is_a_crash_that_writes_nothing(
        self, sandbox: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def mistaken(call: Any, request: Any) -> Any:
            call.store.update_organization(call.org_id, name="half done")
            return registration.SelectPlanRequest()

        monkeypatch.setitem(HANDLERS, catalog().method("SelectPlan").path, mistaken)
        assert sandbox.refusal("SelectPlan").code is Code.INTERNAL
        assert sandbox.store.organization(sandbox.org_id).name == "Demo Platform"


def stream_refusal(running: Running, path: str, *metadata: tuple[str, str]) -> Refusal:
    call: Any = running.channel().stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([b""]), metadata=metadata, timeout=5))
    return refusal_of(caught.value)


class TestReflection:
    @pytest.fixture(params=[V1, V1ALPHA])
    def ask(self, demo: Running, request: pytest.FixtureRequest) -> Any:
        """Asks one question by the raw protocol, without a token."""
        stub: Any = demo.channel().stream_stream(
            f"/{request.param}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )

        def asking(**question: Any) -> Any:
            return next(iter(stub(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=5)))

        return asking

    def files(self, response: Any) -> dict[str, descriptor_pb2.FileDescriptorProto]:
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(text)
            for text in response.file_descriptor_response.file_descriptor_proto
        ]
        return {file.name: file for file in files}

    def test_it_lists_the_catalog_and_its_own(self, ask: Any) -> None:
        listed = {service.name for service in ask(list_services="").list_services_response.service}
        assert listed == {service.name for service in catalog()} | {V1, V1ALPHA, "grpc.health.v1.Health"}
        assert len(listed) == 57

    @pytest.mark.parametrize("symbol", [V1, V1ALPHA, "grpc.health.v1.Health", "grpc.reflection.v1.ErrorResponse"])
    def test_its_own_services_are_described(self, ask: Any, symbol: str) -> None:
        files = self.files(ask(file_containing_symbol=symbol))
        package, _, name = symbol.rpartition(".")
        (file,) = (file for file in files.values() if file.package == package)
        assert name in {one.name for one in file.service} | {one.name for one in file.message_type}

    @pytest.mark.parametrize(
        "symbol",
        [
            "invora.identity.v2.ConnectedBusinessService",
            "invora.identity.v2.ConnectedBusinessService.GetConnectedBusiness",
        ],
    )
    def test_a_service_comes_whole_with_its_options(self, ask: Any, symbol: str) -> None:
        files = self.files(ask(file_containing_symbol=symbol))
        file = files["invora/identity/v2/platform_enrollment_service.proto"]
        assert set(file.dependency) <= set(files)
        options = str(file.service[0].method[0].options)
        assert "Invora.Identity.v2.ConnectedBusiness.Create" in options
        assert "/api/v2/identity/connected-businesses" in options

    @pytest.mark.parametrize("symbol", ["acme.Nothing", "invora.identity.v2.ImpersonationService.Nothing", ""])
    def test_what_is_unknown_is_not_found(self, ask: Any, symbol: str) -> None:
        assert ask(file_containing_symbol=symbol).error_response.error_code == Code.NOT_FOUND.value[0]

    def test_files_and_extensions(self, ask: Any) -> None:
        assert "kernel/options.proto" in self.files(ask(file_by_filename="kernel/options.proto"))
        numbers = ask(all_extension_numbers_of_type="google.protobuf.MethodOptions").all_extension_numbers_response
        assert 53036 in numbers.extension_number
        extension = {"containing_type": "google.protobuf.MethodOptions", "extension_number": 53036}
        assert "kernel/options.proto" in self.files(ask(file_containing_extension=extension))

    def test_the_stock_stub_of_v1alpha_works(self, demo: Running) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(demo.channel())
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=5)
        assert answer.list_services_response.service


class TestHealth:
    @pytest.mark.parametrize("service", ["", "invora.identity.v2.ConnectedBusinessService"])
    def test_it_serves(self, demo: Running, service: str) -> None:
        stub = health_pb2_grpc.HealthStub(demo.channel())
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def test_an_unknown_service_is_not_found(self, demo: Running) -> None:
        stub = health_pb2_grpc.HealthStub(demo.channel())
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="acme.v1.Foreign"), timeout=5)
        assert caught.value.code() is Code.NOT_FOUND


class TestStarting:
    @pytest.fixture
    def ready(self, tmp_path: Path) -> Path:
        return tmp_path / "ready.json"

    def test_a_restart_without_them_makes_new_ones_and_keeps_the_old(self, tmp_path: Path) -> None:
        data = tmp_path / "data.db"
        with running_sandbox(data=data) as running:
            former = running.credentials
        with running_sandbox(data=data) as running:
            assert running.org_id == former.org_id
            assert running.client_id != former.client_id
            assert running.sign_in(former.client_id, former.client_secret).status_code == 200
            assert running.call("ListConnectedBusinesses").total_count == 2
            running.call(STATUS, org=first_child(running))

    def test_a_token_stays_valid_over_a_restart_on_the_same_ports(self, tmp_path: Path) -> None:
        data = tmp_path / "data.db"
        with running_sandbox(data=data) as running:
            token, port = running.token(), int(running.http.rpartition(":")[2])
        with running_sandbox(data=data, http_port=port) as running:
            assert running.call(STATUS, token=token)

    def test_a_taken_port_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for ports in ((port, 0), (0, port)):
                assert server.main(*ports) == 1
                error = capsys.readouterr().err
                assert error.startswith(f"error: cannot listen on 127.0.0.1:{port} ")
                assert error.count("\n") == 1

    def test_what_cannot_be_used_is_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        note = tmp_path / "note.txt"
        note.write_text("not a database")
        for options in ({"data": str(note)}, {"seed": "none"}, {"ready_file": str(tmp_path / "no" / "ready")}):
            assert server.main(0, 0, **options) == 1
            error = capsys.readouterr().err
            assert error.startswith("error: ")
            assert error.count("\n") == 1

    def test_no_repr_shows_a_secret(self, demo: Running) -> None:
        assert demo.client_secret not in f"{demo.credentials!r} {demo.sandbox!r}"

    @pytest.mark.parametrize("seed", SEEDS)
    def test_stopping_twice_is_harmless(self, seed: str) -> None:
        async def twice() -> None:
            sandbox = await Sandbox.start(seed=seed)
            await sandbox.stop(0)
            await sandbox.stop()

        asyncio.run(twice())

    def test_the_module_runs_until_it_is_told_to_stop(self, ready: Path) -> None:
        arguments = [*("--grpc-port", "0", "--http-port", "0"), "--ready-file", str(ready), "--seed", "empty"]
        with started(*arguments) as process:
            told = announcement(process)
            content = json.loads(ready.read_text())
            assert httpx.get(f"{content['issuer']}/.well-known/openid-configuration").status_code == 200
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        assert process.returncode == 0
        assert content["client_id"] in told
        assert content["client_secret"] not in told
        assert not ready.exists()

    def test_without_a_ready_file_the_secret_is_printed(self) -> None:
        with started("--grpc-port", "0", "--http-port", "0") as process:
            told = announcement(process)
            process.send_signal(signal.SIGINT)
            process.wait(20)
        assert process.returncode == 0
        assert "a sandbox secret" in told


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "invora_grpc.cli", "sandbox", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def announcement(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return "".join(process.stdout.readline() for _ in range(6))


def test_a_request_may_have_sixteen_megabytes(demo: Running) -> None:
    def sized(megabytes: int) -> businesses.GetConnectedBusinessRequest:
        return businesses.GetConnectedBusinessRequest(tenant_id="x" * (megabytes * 1024 * 1024))

    assert len(demo.refusal("GetConnectedBusiness", sized(15)).message) > 0
    assert demo.refusal("GetConnectedBusiness", sized(17)).code is Code.RESOURCE_EXHAUSTED


def test_the_demo_seed_has_documents_in_each_connected_business(demo: Running) -> None:
    with client_of(demo) as client:
        businesses = client.identity.connected_business.list_connected_businesses().items
        for business in businesses[:2]:
            items = client.for_org(business.tenant_id).simple.invoices.list().items
            assert [item.frozen for item in items] == [True, False, False]
        assert client.billing.subscriptions.list().total_count == 2
