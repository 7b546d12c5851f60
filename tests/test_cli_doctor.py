"""`invora doctor`: every fault is provoked with real sockets, TLS servers and gateways, and has its own exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import grpc
import pytest
from auth_issuer import Issuer, as_json, running_issuer
from certificates import Authority, authority
from click.testing import CliRunner
from faulty_servers import accepting, grpc_server, saying, silent, tls_without_h2
from gateway import Gateway, abort, empty, running_gateway
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc.error_details_pb2 import ErrorInfo
from reflected import unused_port
from reflection_server import reflecting
from sandbox_fixture import Running

from invora_grpc.cli.app import main
from invora_grpc.cli.checks import PROBE
from invora_grpc.cli.findings import Fault

TOKEN = "t0k3n-of-a-test"


def doctor(*arguments: str, **variables: str) -> dict[str, Any]:
    """The page as JSON. A fault has to be told within two seconds, and by the exit code that it says."""
    settings = {name: None for name in os.environ if name.startswith("INVORA_")} | {"XDG_CONFIG_HOME": "/nowhere"}
    settings |= variables
    result = CliRunner().invoke(main, ["doctor", "-o", "json", *arguments], env=settings)
    page: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == page["exit_code"]
    assert page["ok"] or page["seconds"] <= 2, page
    assert TOKEN not in result.output
    return page


def as_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as people run it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    environment |= {"XDG_CONFIG_HOME": "/nowhere"} | variables
    command = [sys.executable, "-m", "invora_grpc.cli", "doctor", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=30)


def at(endpoint: str, *arguments: str, token: str = TOKEN) -> dict[str, Any]:
    """The page about a gateway, with a ready token and no issuer."""
    issuer = f"http://127.0.0.1:{unused_port()}"
    return doctor(*arguments, INVORA_ENDPOINT=endpoint, INVORA_TOKEN=token, INVORA_ISSUER=issuer)


def told(page: dict[str, Any], fault: Fault) -> str:
    """Text and way out of the fault that the exit code is of; fails if that is another one."""
    assert page["exit_code"] == fault.value, page
    found = next(one for one in page["findings"] if one.get("fault") == page["fault"])
    return f"{found['text']}; {found['hint']}"


def page_marks(page: dict[str, Any]) -> dict[str, str]:
    """How each look went."""
    return {one["subject"]: one["mark"] for one in page["findings"]}


def of(running: Running, **more: str) -> dict[str, str]:
    """The variables that sign in at a sandbox."""
    settings = {"INVORA_ENDPOINT": f"http://{running.grpc}", "INVORA_ISSUER": running.issuer}
    settings |= {"INVORA_CLIENT_ID": running.client_id, "INVORA_CLIENT_SECRET": running.client_secret}
    return settings | more


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture
def trusted(ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that the doctor trusts, as grpc would."""
    (tmp_path / "roots.pem").write_bytes(ours.pem)
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tmp_path / "roots.pem"))
    return ours


# --- nothing is wrong ---------------------------------------------------------------------------------------------


def test_without_a_fault_every_look_is_fine_and_the_exit_code_is_0(demo: Running) -> None:
    page = doctor(**of(demo, INVORA_ORG_ID=demo.org_id))
    assert (page["ok"], page["exit_code"]) == (True, 0)
    looks = ["configuration", "gateway dns", "gateway tcp", "gateway http/2", "issuer dns", "issuer tcp", "issuer"]
    looks += ["token", "clock", "reflection", "tenant", "schema", "versions"]
    assert [(one["subject"], one["mark"]) for one in page["findings"]] == [(look, "ok") for look in looks]


def test_the_page_for_people_says_what_is_wrong_and_what_to_do() -> None:
    port = unused_port()
    settings = {"INVORA_ENDPOINT": f"http://127.0.0.1:{port}", "INVORA_TOKEN": TOKEN}
    result = as_process("--issuer", f"http://127.0.0.1:{unused_port()}", **settings)
    assert (result.returncode, result.stderr) == (Fault.TCP, "")
    assert (
        f"fault    gateway tcp          port {port} takes no connection (127.0.0.1: connection refused)"
        in result.stdout
    )
    assert "→ check host and port of the gateway" in result.stdout
    assert "tcp fault: gateway tcp, exit code 42" in result.stdout
    assert "\x1b" not in result.stdout and TOKEN not in result.stdout


def test_every_fault_has_an_exit_code_that_means_nothing_else() -> None:
    codes = {fault.value for fault in Fault}
    assert len(codes) == len(Fault)
    assert codes.isdisjoint({0, 1, 2, 10, 20, 30, 130, *range(64, 81)})
    help_text = " ".join(CliRunner().invoke(main, ["doctor", "--help"]).output.split())
    assert [fault for fault in Fault if f"{fault.value} {fault.name.lower()}" not in help_text] == []


# --- settings, names and connections ------------------------------------------------------------------------------


def test_missing_credentials_are_a_fault_of_the_configuration() -> None:
    assert "INVORA_CLIENT_ID" in told(doctor(INVORA_ENV="production", INVORA_CLIENT_SECRET="s"), Fault.CONFIG)


def test_a_bad_setting_is_a_fault_of_the_configuration() -> None:
    assert "https://host" in told(at("ftp://host"), Fault.CONFIG)


def test_a_name_that_does_not_resolve_is_a_fault_of_dns() -> None:
    assert "nowhere.invalid" in told(at("https://nowhere.invalid"), Fault.DNS)


def test_a_port_where_nothing_listens_is_a_fault_of_tcp() -> None:
    assert "connection refused" in told(at(f"http://127.0.0.1:{unused_port()}"), Fault.TCP)


def test_a_machine_that_drops_connections_is_a_fault_of_tcp() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # one is taken, one waits; the kernel drops what comes then
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        page = at(f"http://127.0.0.1:{full.getsockname()[1]}")
    assert "no answer in time" in told(page, Fault.TCP)


def test_a_proxy_is_told_without_its_password_and_nothing_is_dialled_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://user:pr0xy-pw@127.0.0.1:{unused_port()}")
    page = at("https://gateway.example")
    assert page_marks(page)["gateway"] == "skipped"
    told(page, Fault.CALL)
    assert "pr0xy-pw" not in json.dumps(page) and "by the proxy 127.0.0.1:" in json.dumps(page)


# --- TLS ----------------------------------------------------------------------------------------------------------


def test_plaintext_sent_to_a_port_with_tls_is_told(ours: Authority) -> None:
    with grpc_server(*ours.issue("localhost")) as port:
        assert f"use https://127.0.0.1:{port}" in told(at(f"http://127.0.0.1:{port}"), Fault.PLAINTEXT)
    with tls_without_h2(ours.issue("localhost")) as port:
        assert "speaks TLS" in told(at(f"http://127.0.0.1:{port}"), Fault.PLAINTEXT)


def test_tls_sent_to_a_port_in_plaintext_is_told() -> None:
    with grpc_server() as port:
        said = told(at(f"https://localhost:{port}"), Fault.PLAINTEXT)
    assert "HTTP/2 in plaintext" in said and f"use http://localhost:{port}" in said
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "HTTP/1 in plaintext" in told(at(f"https://localhost:{port}"), Fault.PLAINTEXT)


@pytest.mark.parametrize(("protocols", "words"), [((), "no protocol"), (("http/1.1",), "h2")])
def test_tls_without_http_2_is_a_fault_of_alpn(trusted: Authority, protocols: tuple[str, ...], words: str) -> None:
    with tls_without_h2(trusted.issue("localhost"), protocols) as port:
        assert words in told(at(f"https://localhost:{port}"), Fault.ALPN)


def test_a_server_that_refuses_http_2_by_an_alert_is_a_fault_of_alpn(trusted: Authority) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x78"  # fatal, no_application_protocol (RFC 7301, 3.2)
    with saying(alert) as port:
        assert "no_application_protocol" in told(at(f"https://localhost:{port}"), Fault.ALPN)


def test_a_certificate_that_nobody_trusts_is_a_fault(ours: Authority) -> None:
    with grpc_server(*ours.issue("localhost")) as port:
        page = at(f"https://localhost:{port}")
    assert "trusted certificates" in told(page, Fault.CERTIFICATE)


def test_a_certificate_of_another_host_is_a_fault(trusted: Authority) -> None:
    with grpc_server(*trusted.issue("elsewhere.example")) as port:
        assert "hostname mismatch" in told(at(f"https://localhost:{port}"), Fault.CERTIFICATE)


def test_a_certificate_that_has_expired_is_a_fault(trusted: Authority) -> None:
    with grpc_server(*trusted.issue("localhost", expired=True)) as port:
        assert "expired" in told(at(f"https://localhost:{port}"), Fault.CERTIFICATE)


def test_a_server_that_wants_to_know_who_dials_is_a_fault_of_the_certificate(trusted: Authority) -> None:
    with grpc_server(*trusted.issue("localhost"), clients_of=trusted) as port:
        assert "--cert and --key" in told(at(f"https://localhost:{port}"), Fault.CERTIFICATE)


def test_certificates_that_are_given_are_used_for_everything(ours: Authority, tmp_path: Path) -> None:
    key, certificate = ours.issue()
    for name, content in (("ca", ours.pem), ("key", key), ("cert", certificate)):
        (tmp_path / name).write_bytes(content)
    options = [f"--{option}={tmp_path / name}" for option, name in (("cacert", "ca"), ("cert", "cert"), ("key", "key"))]
    with grpc_server(*ours.issue("localhost"), clients_of=ours) as port:
        page = at(f"https://localhost:{port}", *options)
    told(page, Fault.REFLECTION)  # grpc itself came through, too
    looks = ("gateway dns", "gateway tcp", "gateway tls", "gateway certificate", "gateway http/2")
    marks = page_marks(page)
    assert [marks[look] for look in looks] == ["ok", "ok", "ok", "warning", "ok"]  # it ends within the hour


@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_a_file_with_certificates_that_cannot_be_read_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca").write_bytes(content)
    assert "--cacert" in told(at("https://localhost:1", f"--cacert={tmp_path / 'ca'}"), Fault.CERTIFICATE)


@pytest.mark.parametrize("words", [b"", b"\x15\x03\x03\x00\x02\x02\x28"], ids=["hangs up", "handshake_failure"])
def test_a_handshake_that_fails_otherwise_is_a_fault_of_tls(trusted: Authority, words: bytes) -> None:
    with saying(words) as port:
        assert "handshake" in told(at(f"https://localhost:{port}"), Fault.TLS)


def test_a_server_that_never_shakes_hands_is_a_fault_of_tls(trusted: Authority) -> None:
    with silent() as port:
        assert "no handshake within 0.3 s" in told(at(f"https://localhost:{port}", "--within", "0.3"), Fault.TLS)


# --- protocol -----------------------------------------------------------------------------------------------------


def test_a_server_that_says_nothing_is_a_fault_of_the_protocol() -> None:
    with silent() as port:
        assert "says nothing" in told(at(f"http://127.0.0.1:{port}", "--within", "0.6"), Fault.PROTOCOL)


@pytest.mark.parametrize(
    ("words", "problem"), [(b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1, not HTTP/2"), (b"220 mail ready\r\n", "else")]
)
def test_a_server_of_something_else_is_a_fault_of_the_protocol(words: bytes, problem: str) -> None:
    with saying(words) as port:
        assert problem in told(at(f"http://127.0.0.1:{port}"), Fault.PROTOCOL)


def test_what_a_server_says_does_nothing_to_a_terminal() -> None:
    with saying(b"HTTP/\x1b[2J\x07\r\n") as port:
        page = at(f"http://127.0.0.1:{port}")
    assert "\x1b" not in told(page, Fault.PROTOCOL) and "\x07" not in told(page, Fault.PROTOCOL)


# --- who calls ----------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_a_fault_of_sign_in(demo: Running) -> None:
    page = doctor(**of(demo, INVORA_CLIENT_SECRET="wr0ng-s3cret"))
    assert "check the client id and secret" in told(page, Fault.AUTH)
    assert "wr0ng" not in json.dumps(page)


def test_a_token_that_the_gateway_refuses_is_a_fault_of_sign_in(demo: Running) -> None:
    page = doctor(INVORA_ENDPOINT=f"http://{demo.grpc}", INVORA_ISSUER=demo.issuer, INVORA_TOKEN=TOKEN)
    assert "the gateway refuses the token" in told(page, Fault.AUTH)


def test_an_issuer_that_is_another_one_is_a_fault_of_sign_in(demo: Running) -> None:
    with running_issuer() as issuer:
        issuer.on_discovery = lambda: as_json({**issuer.document(), "issuer": "https://elsewhere.example"})
        assert "another issuer" in told(doctor(**of(demo, INVORA_ISSUER=issuer.url)), Fault.AUTH)


def test_an_issuer_that_never_answers_is_a_fault_of_sign_in(demo: Running) -> None:
    with silent() as port:
        page = doctor("--within", "0.6", **of(demo, INVORA_ISSUER=f"http://127.0.0.1:{port}"))
    assert "does not answer in time" in told(page, Fault.AUTH)


def test_an_issuer_that_is_not_there_is_told_as_what_it_is(demo: Running) -> None:
    page = doctor(**of(demo, INVORA_ISSUER=f"http://127.0.0.1:{unused_port()}"))
    assert "check host and port of the issuer" in told(page, Fault.TCP)


def test_an_organization_that_the_caller_may_not_act_in_is_a_fault_of_the_tenant(demo: Running) -> None:
    page = doctor("--org", "org-of-somebody-else", **of(demo))
    assert "x-target-org-id" in told(page, Fault.TENANT)


@contextmanager
def invora_like(answer: Any) -> Iterator[str]:
    """The URL of a gateway that lists the service of settings, and answers its call with this."""
    gateway = Gateway(answers={PROBE: answer})
    file = FileDescriptorProto(name="other.proto", package="other", syntax="proto3")
    with reflecting([file], listed=[PROBE.split("/")[1]], handlers=[gateway]) as server:
        yield f"http://{server.address}"


def test_a_refusal_that_comes_with_the_organization_only_is_a_fault_of_the_tenant() -> None:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if any(key == "x-target-org-id" for key, _ in context.invocation_metadata()):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return empty(PROBE)

    with invora_like(answer) as url:
        assert "organization 42: no" in told(at(url, "--org", "42"), Fault.TENANT)
        assert page_marks(at(url))["tenant"] == "ok"


def test_an_own_organization_that_is_suspended_is_a_fault_of_the_tenant() -> None:
    info = ErrorInfo(reason="ORGANIZATION_SUSPENDED", domain="x")
    with invora_like(abort(grpc.StatusCode.PERMISSION_DENIED, "suspended", info)) as url:
        assert "the caller's own organization: suspended" in told(at(url), Fault.TENANT)


def test_a_caller_without_the_scope_of_the_call_that_is_tried_is_no_fault() -> None:
    with invora_like(abort(grpc.StatusCode.PERMISSION_DENIED, "needs a scope")) as url:
        assert page_marks(at(url, "--org", "42"))["tenant"] == "warning"


# --- what the gateway says of itself --------------------------------------------------------------------------------


def test_a_gateway_without_reflection_is_a_fault_of_reflection() -> None:
    with running_gateway() as gateway:
        page = at(gateway.url)
        assert [call.path for call in gateway.received] == [PROBE]
    assert "offers no server reflection" in told(page, Fault.REFLECTION)


def test_a_server_that_is_not_invora_has_no_tenant_and_no_fault() -> None:
    file = FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Order")
    file.service.add(name="Orders").method.add(name="Get", input_type=".shop.Order", output_type=".shop.Order")
    with reflecting([file]) as server:
        page = at(f"http://{server.address}")
    marks = page_marks(page)
    assert page["ok"] and (marks["reflection"], marks["tenant"], marks["schema"]) == ("ok", "skipped", "skipped")


def dated_token(**times: float) -> str:
    """A token that says when it was issued, or ends, so many seconds from now; no gateway would take it."""
    claims = json.dumps({name: time() + seconds for name, seconds in times.items()})
    return f"e30.{urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.e30"


def test_a_ready_token_that_has_ended_is_a_fault_of_sign_in(gateway: Gateway) -> None:
    assert "has ended at 2" in told(at(gateway.url, token=dated_token(exp=-60)), Fault.AUTH)


def test_a_token_from_the_future_is_a_fault_of_the_clock(gateway: Gateway) -> None:
    assert "h behind" in told(at(gateway.url, token=dated_token(iat=10_800)), Fault.CLOCK)


@contextmanager
def issuer_whose_clock_is(seconds: float, running: Running) -> Iterator[Issuer]:
    """An issuer that gives out tokens of the sandbox, and whose answers are dated so many seconds ahead."""
    with running_issuer() as issuer:
        document, token = (
            issuer.document(),
            {"access_token": running.token(), "token_type": "Bearer", "expires_in": 900},
        )
        issuer.on_discovery = lambda: (200, {}, json.dumps(document).encode())
        issuer.on_token = lambda _: (200, {}, json.dumps(token).encode())
        handler: Any = issuer.server.RequestHandlerClass
        handler.date_time_string = lambda self, timestamp=None: formatdate(time() + seconds, usegmt=True)
        yield issuer


@pytest.mark.parametrize(("seconds", "words"), [(10_800, "behind"), (-10_800, "ahead of")])
def test_a_clock_that_is_not_the_issuers_is_a_fault(demo: Running, seconds: float, words: str) -> None:
    with issuer_whose_clock_is(seconds, demo) as issuer:
        page = doctor(**of(demo, INVORA_ISSUER=issuer.url))
    assert f"3 h {words} the issuer's" in told(page, Fault.CLOCK)


def test_a_few_seconds_are_no_fault_but_told(demo: Running) -> None:
    with issuer_whose_clock_is(12, demo) as issuer:
        page = doctor(**of(demo, INVORA_ISSUER=issuer.url))
    marks = page_marks(page)
    assert page["ok"] and marks["clock"] == "warning"


def test_a_certificate_that_has_expired_by_a_wrong_clock_only_is_a_fault_of_the_clock(
    trusted: Authority, demo: Running
) -> None:
    with (
        grpc_server(*trusted.issue("localhost", expired=True)) as port,
        issuer_whose_clock_is(-10_800, demo) as issuer,
    ):
        page = doctor(**of(demo, INVORA_ISSUER=issuer.url, INVORA_ENDPOINT=f"https://localhost:{port}"))
    assert "3 h ahead of" in told(page, Fault.CLOCK)


def test_a_gateway_with_another_schema_is_a_fault_of_the_schema() -> None:
    file = FileDescriptorProto(name="settings.proto", package="invora.settings.v2", syntax="proto3")
    file.message_type.add(name="Empty")
    kind = ".invora.settings.v2.Empty"
    file.service.add(name="SettingsService").method.add(name="GetSettings", input_type=kind, output_type=kind)
    with reflecting([file]) as server:
        page = at(f"http://{server.address}")
    assert "invora schema verify" in told(page, Fault.SCHEMA)


def test_calls_that_fail_on_a_good_connection_are_a_fault_of_their_own() -> None:
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # HTTP/2 begins well, and ends then

    def answer(line: socket.socket) -> None:
        line.sendall(settings)
        line.recv(100_000)

    with accepting(answer) as port:
        told(at(f"http://127.0.0.1:{port}"), Fault.CALL)
