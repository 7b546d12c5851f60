"""The command as a whole: what it loads, how it ends, and what it says when something goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from invora_grpc.cli import app
from invora_grpc.errors import ConfigError

INVORA = [sys.executable, "-m", "invora_grpc.cli"]


def told(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    return app.report(error), capsys.readouterr().err


def test_the_help_names_every_command_and_loads_none() -> None:
    code = (
        "import sys; from invora_grpc.cli.app import main; main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('invora_grpc.cli.') or name in ('grpc', 'httpx')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "['invora_grpc.cli.app']"
    for name, command in app.COMMANDS.items():
        assert f"  {name} " in shown
        assert command.help[:40] in shown


def test_a_command_that_is_not_there_suggests_the_nearest() -> None:
    result = CliRunner().invoke(app.main, ["describ", "x"])
    assert result.exit_code == 2
    assert "No such command 'describ'; did you mean describe?" in result.stderr


def test_an_error_of_the_package_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("endpoint", "x", "give a URL")
    assert told(error, capsys) == (2, f"error: {error}\n")


def test_a_missing_package_says_which_extra_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    missing = ModuleNotFoundError("No module named 'prompt_toolkit'", name="prompt_toolkit.history")
    code, words = told(missing, capsys)
    assert (code, words) == (1, "error: prompt_toolkit.history is not installed: pip install 'invora-grpc[cli]'\n")


def test_a_fault_of_the_package_is_one_line_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = told(KeyError("line\n\x1b[31mtwo"), capsys)
    assert code == 1
    assert words.startswith("error: unexpected KeyError: ")
    assert words.count("\n") == 1
    assert "\x1b" not in words


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_says_nothing_and_ends_with_130(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(error, capsys) == (130, "")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for others")
def test_ctrl_c_while_a_gateway_is_silent_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [*INVORA, "ls", "--endpoint", endpoint]
        environment = {**os.environ, "INVORA_CACHE_DIR": str(tmp_path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        with silent.accept()[0] as connection:  # it has dialled, so it waits
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_an_interruption_before_a_command_runs_is_as_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.main, "make_context", interrupted)
    assert app.run(["whoami"]) == 130


@pytest.mark.skipif(os.name == "nt", reason="there is no sh")
def test_a_closed_standard_input_is_an_empty_one() -> None:
    line = f"{sys.executable} -m invora_grpc.cli shell --endpoint http://127.0.0.1:1 <&-"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("line", ["doctor --timeout nan", "whoami --timeout -1", "doctor --within nan"])
def test_a_time_that_is_none_is_refused_before_anything_is_asked(line: str) -> None:
    result = CliRunner().invoke(app.main, [*line.split(), "--endpoint", "http://127.0.0.1:1"])
    assert result.exit_code in (2, 40)
    assert "is no time" in result.output
