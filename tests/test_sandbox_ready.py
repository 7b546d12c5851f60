"""The sandbox's ready file: there while it answers, and never anybody else's."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_fixture import running_sandbox

from invora_grpc.sandbox import launch
from invora_grpc.sandbox.ready import FIELDS, NotAReadyFile, ReadyFile

STATUS = "GetOnboardingStatus"
STALE = {name: f"{name}-1" for name in FIELDS}


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "ready.json"


def test_the_ready_file_tells_its_owner_everything(ready: Path) -> None:
    with running_sandbox(ready_file=ready) as running:
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        content = json.loads(ready.read_text())
        own = running.credentials
        assert content == {
            "grpc": running.grpc,
            "http": running.http,
            "issuer": running.issuer,
            "org_id": running.org_id,
            "client_id": own.client_id,
            "client_secret": own.client_secret,
            "viewer_client_id": own.viewer_client_id,
            "viewer_client_secret": own.viewer_client_secret,
        }
        running.call(STATUS, token=running.viewer())
        assert os.listdir(ready.parent) == [ready.name]
    assert not ready.exists()


def test_another_sandboxs_ready_file_is_left_alone(ready: Path) -> None:
    with running_sandbox(ready_file=ready):
        ready.write_text("another's")
    assert ready.read_text() == "another's"


def test_credentials_outlive_a_crash(ready: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.db"
    with running_sandbox(data=data, ready_file=ready) as running:
        left, former = ready.read_text(), running.credentials
    ready.write_text(left)
    with running_sandbox(data=data, ready_file=ready) as running:
        assert running.credentials == former
        assert running.call(STATUS).tenant_id == former.org_id


def test_a_taken_port_leaves_the_ready_file_of_the_other(ready: Path) -> None:
    with running_sandbox(ready_file=ready) as running:
        port = int(running.grpc.rpartition(":")[2])
        assert launch.main(port, 0, ready_file=str(ready)) == 1
        assert json.loads(ready.read_text())["grpc"] == running.grpc


@pytest.mark.parametrize("text", ["", "precious", "[]", "{}", '{"org_id": "1", "client_secret": "y"}', "[" * 5000])
def test_a_foreign_file_is_refused_untouched(ready: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    ready.write_text(text)
    assert launch.main(0, 0, ready_file=str(ready)) == 1
    error = capsys.readouterr().err
    assert error == f"error: {ready}: not a ready file of the sandbox, left untouched; name a path of its own\n"
    assert ready.read_text() == text


def test_a_link_a_folder_and_the_data_file_are_refused(ready: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text(json.dumps(STALE))
    link.symlink_to(target)
    log = tmp_path / "data-wal", tmp_path / "data"
    for path, data in ((link, ":memory:"), (tmp_path, ":memory:"), (ready, ready), log):
        with pytest.raises(NotAReadyFile):
            ReadyFile.take(path, data)
    assert link.is_symlink() and target.exists()


def test_a_program_is_refused_a_foreign_file_as_well(ready: Path) -> None:
    ready.write_text("precious")
    with pytest.raises(NotAReadyFile), running_sandbox(ready_file=ready):
        pass
    assert ready.read_text() == "precious"


def test_a_foreign_file_that_appears_meanwhile_is_not_written_over(ready: Path) -> None:
    taken = ReadyFile.take(ready, ":memory:")
    ready.write_text("precious")
    with pytest.raises(NotAReadyFile):
        taken.write(STALE)
    assert ready.read_text() == "precious"


def test_a_stale_file_goes_before_anything_slow_is_loaded(ready: Path) -> None:
    ready.write_text(json.dumps(STALE))
    script = (
        "import sys, os; sys.modules['invora_grpc.sandbox.server'] = None\n"
        "from invora_grpc.sandbox.launch import main\n"
        "assert 'grpc' not in sys.modules and 'google.protobuf' not in sys.modules\n"
        f"try: main(0, 0, ready_file={str(ready)!r})\n"
        f"except ImportError: print('gone' if not os.path.exists({str(ready)!r}) else 'there')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert told.stdout == "gone\n"


def test_a_killed_sandboxs_file_is_replaced_by_one_that_answers(ready: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "invora_grpc.cli",
        "sandbox",
        "--grpc-port",
        "0",
        "--http-port",
        "0",
        "--seed",
        "empty",
    ]
    command += ["--data", str(tmp_path / "data.db"), "--ready-file", str(ready)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    seen = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None and process.stdout.readline()
            seen.append(json.loads(ready.read_text()))
            process.send_signal(number)
            process.wait(20)
        assert ready.exists() == (number == signal.SIGKILL)
    assert [one["client_secret"] for one in seen] == [seen[0]["client_secret"]] * 2
    assert seen[0]["grpc"] != seen[1]["grpc"]


def test_a_failed_start_gives_a_dead_sandboxs_file_not_back(ready: Path, tmp_path: Path) -> None:
    ready.write_text(json.dumps({**STALE, "grpc": "127.0.0.1:1"}))
    (tmp_path / "note").write_text("not a database")
    assert launch.main(0, 0, data=str(tmp_path / "note"), ready_file=str(ready)) == 1
    assert not ready.exists()
