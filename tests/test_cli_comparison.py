"""The comparison in docs/cli.md: each line is shown by a test, or by what the other tools say and do themselves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from certificates import authority
from command_lines import BIN, Home
from gateway import Gateway, empty
from sandbox_fixture import Running
from test_tls import serving

from invora_grpc.catalog import catalog
from invora_grpc.schema.survey import compiled_schema

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "cli.md").read_text("utf-8")
TABLE = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in TEXT.partition("\n## Beside other tools\n")[2].partition("\n## ")[0].splitlines()
    if row.startswith("|")
]
ROWS = {row[0]: row for row in TABLE[2:]}
GET = "invora.simple.invoices.v1.SimpleInvoiceService/Get"
SHOWN_BY = {
    "schema by reflection": "test_reflection_can_be_asked_for_what_is_compiled_too",
    "schema from a descriptor file": "test_several_descriptor_files_are_one_schema",
    "schema from proto sources": "test_imports_are_found_in_other_folders",
    "schema kept between runs": "test_a_gateway_that_was_asked_is_not_asked_again",
    "list and describe": "test_both_list_the_same_services",
    "search in names, fields, comments": "test_search_finds_names_fields_and_comments",
    "a request to start from": "test_every_template_is_a_request",
    "RPCs by short names": "test_an_rpc_of_files_is_found_by_any_unique_name",
    "fields on the command line": "test_call_takes_fields_and_prints_json",
    "requests from a file or standard input": "test_call_takes_json_from_a_file",
    "requests in another form than JSON": "test_yaml_may_stand_for_json",
    "all kinds of streams": "test_requests_of_a_stream_are_sent_as_they_are_typed",
    "all pages of a list": "test_all_pages_have_the_form_of_one",
    "answers in other forms than JSON": "test_an_answer_comes_in_the_form_that_is_asked_for",
    "filter for answers": "test_a_bad_query_is_told_before_anything_is_sent",
    "money, dates, enums as people write them": "test_text_becomes_the_type_of_the_field",
    "metadata and trailers": "test_verbose_shows_metadata_and_sizes_but_no_secret",
    "timings": "test_the_handshake_of_tls_has_a_time_of_its_own",
    "tokens hidden in that": "test_nothing_secret_is_in_what_was_written",
    "one JSON document with status, metadata and answer": "test_an_envelope_is_one_line_with_everything",
    "unknown fields": "test_unknown_fields_are_shown_with_number_and_bytes",
    "details of errors": "test_people_see_each_field_with_its_place",
    "exit code": "test_both_end_with_the_same_exit_code_when_refused",
    "deadline by default": "test_the_deadline_of_a_call_holds_for_streams_too",
    "sign-in by OpenID Connect": "test_the_session_worked",
    "profiles": "test_the_profile_in_use_is_the_default",
    "asks before a change in production": "test_changes_are_asked_about_wherever_it_may_be_production",
    "compares compiled stubs with the gateway": "test_ls_marks_how_far_a_gateway_differs_from_the_stubs",
    "shows a call without making it": "test_a_dry_run_says_what_would_be_sent_and_where",
    "the same call for another tool": "test_every_snippet_sends_what_the_command_sends",
    "REPL": "test_a_shell_keeps_its_connection_organization_and_last_answer",
    "completion in bash, zsh and fish": "test_bash_completes_commands_rpcs_and_fields",
    "repeats a call and shows changes": "test_only_what_changed_is_shown_after_the_first_answer",
    "records and compares": "test_a_replay_of_what_has_changed_ends_with_3_and_names_the_places",
    "measures": "test_the_percentiles_are_in_order_and_within_the_times",
    "finds faults of connection and sign-in": "test_every_fault_has_an_exit_code_that_means_nothing_else",
    "own authorities, client certificates": "test_a_call_takes_own_authorities_and_certificates",
    "writes protos": "test_every_command_has_examples_in_its_help_and_they_run",
}
NOT_OURS = {
    "servers with a certificate that nobody trusts",
    "sockets in the file system",
    "gRPC-Web, Connect",
    "one file to install",
}
SINCE_1_9 = {"-vv", "-proto-out-dir"}
"""Flags of grpcurl that the binary of the tests is too old for."""


def test_every_line_says_something_of_all_tools() -> None:
    assert TABLE[0] == ["", "`invora`", "grpcurl 1.9", "evans 0.10", "`buf curl` 1.75"]
    assert [row for row in ROWS.values() if len(row) != 5 or not all(row)] == []


def test_what_invora_is_said_to_do_is_shown_by_a_test() -> None:
    assert set(ROWS) == set(SHOWN_BY) | NOT_OURS
    assert [name for name in NOT_OURS if not ROWS[name][1].startswith("no")] == []
    tests = "".join(file.read_text("utf-8") for file in TESTS.glob("test_*.py"))
    assert [name for name in SHOWN_BY.values() if f"def {name}(" not in tests] == []


@pytest.mark.parametrize(
    ("column", "command"), [(2, ["grpcurl", "-help"]), (4, ["buf", "curl", "--help"])], ids=["grpcurl", "buf"]
)
def test_flags_of_other_tools_are_in_their_help(column: int, command: list[str]) -> None:
    ended = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, check=True)
    told = ended.stdout + ended.stderr
    named = {flag for row in ROWS.values() for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row[column])}
    missing = {flag for flag in named if not re.search(rf"(?<![\w-]){flag}\b", told)}
    assert len(named) > 8
    assert missing <= SINCE_1_9


def test_a_call_takes_own_authorities_and_certificates(tmp_path: Path) -> None:
    ours = authority()
    key, certificate = ours.issue()
    files = {"cacert": ours.pem, "key": key, "cert": certificate}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    home = Home(tmp_path / "home", {"INVORA_TOKEN": "t0k3n-t0k3n"})
    options = " ".join(f"--{name} {tmp_path / name}" for name in files)
    with serving(*ours.issue("localhost"), clients_of=ours) as port:
        line = f"invora call simple.invoices.list --schema trust --endpoint https://localhost:{port} {options} -v"
        ended = home.run(line)
    assert f"< 1 message, {len(b'a client')} bytes" in ended.stderr  # the server answers with the certificate's name


def other(tool: str, demo: Running, *options: str) -> subprocess.CompletedProcess[str]:
    """A call that is refused with NOT_FOUND, by one of the other tools."""
    given = ["-H", f"authorization: Bearer {demo.token()}", "-d", '{"key": "nothing"}', *options]
    if tool == "grpcurl":
        command: list[Any] = [BIN / "grpcurl", "-plaintext", *given, demo.grpc, GET]
    else:
        command = [BIN / "buf", "curl", "--protocol", "grpc", *given, f"http://{demo.grpc}/{GET}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_others_end_and_show_details_as_the_table_says(demo: Running) -> None:
    grpcurl, buf = other("grpcurl", demo), other("buf", demo)
    assert (grpcurl.returncode, buf.returncode) == (64 + 5, 5 * 8)
    assert '"reason":"NOT_FOUND"' in grpcurl.stderr
    assert '"value": "' in buf.stderr and '"reason"' not in buf.stderr


@pytest.mark.parametrize("tool", ["grpcurl", "buf"])
def test_others_show_the_token(tool: str, demo: Running) -> None:
    ended = other(tool, demo, "-v")
    assert demo.token() in ended.stdout + ended.stderr


@pytest.mark.parametrize("tool", ["grpcurl", "buf"])
def test_others_do_not_show_unknown_fields(tool: str, gateway: Gateway, tmp_path: Path) -> None:
    answer = empty("simple.invoices.get")
    answer.MergeFromString(bytes.fromhex("c0b50305cab503026869"))  # field 7000: 5; field 7001: "hi"
    gateway.answers[catalog().method("simple.invoices.get").path] = lambda *_: answer
    schema = tmp_path / "schema.binpb"
    schema.write_bytes(compiled_schema().files.to_bytes())
    if tool == "grpcurl":
        command: list[Any] = [BIN / "grpcurl", "-v", "-plaintext", "-protoset", schema, gateway.address, GET]
    else:
        url = f"{gateway.url}/{GET}"
        command = [BIN / "buf", "curl", "-v", "--http2-prior-knowledge", "--protocol", "grpc", "--schema", schema, url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "7000" not in ended.stdout + ended.stderr
