"""The shell and `watch` on a terminal: completion, history, Ctrl-C, wide and narrow, Arabic."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, empty, in_turn
from reflection_server import reflecting
from terminal import CTRL_C, CTRL_D, TAB, UP, Terminal, terminal
from test_cli_schema import files_of

from invora_grpc.catalog import catalog

LIST, GET, CREATE = "simple.invoices.list", "simple.invoices.get", "simple.invoices.create"
STREAM = "invoicing.documents.list_stream"
TOKEN = "t0k3n-t0k3n"
ARABIC = "شركة الرياض"


def invora(gateway: Gateway, state: Path, *arguments: str, columns: int = 80) -> AbstractContextManager[Terminal]:
    """`invora` on a terminal; `state` is the folder in which the shell keeps its history."""
    variables = {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": TOKEN, "XDG_STATE_HOME": str(state)}
    return terminal(*arguments, columns=columns, **variables)


def path(name: str) -> str:
    return catalog().method(name).path


def page(**buyers: str) -> Any:
    """A page of invoices: key and buyer."""
    found = empty(LIST)
    for key, buyer in buyers.items():
        found.items.add(id={"key": key}, buyer_name=buyer)
    return found


def prompt(gateway: Gateway, org: str = "") -> str:
    return f"invora {gateway.address}{f'/{org}' if org else ''}>"


# --- the shell ---


def test_tab_completes_rpcs_fields_and_values(gateway: Gateway, tmp_path: Path) -> None:
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.type("simple.invoices.cre")
        screen.see("Creates")  # the menu says what each one does
        screen.type(TAB)
        screen.at(f"{prompt(gateway)} simple.invoices.create")
        screen.type(" freeze_imm" + TAB)
        screen.at(f"{prompt(gateway)} simple.invoices.create freeze_immediately=")
        screen.type("t" + TAB)
        screen.at(f"{prompt(gateway)} simple.invoices.create freeze_immediately=true")
        screen.type(CTRL_C)
        screen.at(prompt(gateway))  # before that, the terminal itself would show what is typed
        screen.type("set tim" + TAB)
        screen.at(f"{prompt(gateway)} set timeout")


def test_completion_knows_what_a_server_serves_that_was_never_compiled_in(tmp_path: Path) -> None:
    with reflecting(files_of().files.values()) as shop:
        variables = {"INVORA_ENDPOINT": shop.url, "INVORA_TOKEN": TOKEN, "XDG_STATE_HOME": str(tmp_path)}
        with terminal("shell", **variables) as screen:
            screen.see(f"{shop.address}>")
            screen.press_until(f"{CTRL_C}call shop.order.place ", "note=")
            screen.press_until(f"{CTRL_C}call OrderService.Place pr{TAB}", "price.")
            screen.see("units")


def test_a_shell_keeps_its_connection_organization_and_last_answer(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answers[path(LIST)] = in_turn(page(A="x", B=ARABIC))
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.enter("org 4711")
        screen.at(prompt(gateway, "4711"))
        screen.enter(LIST)
        screen.see(ARABIC)
        screen.at(prompt(gateway, "4711"))
        screen.enter("_.items[0].buyer_name")
        screen.see('\n"x"\n')
        screen.at(prompt(gateway, "4711"))
        screen.enter(f"{GET} key=_.items[1].id.key")
        screen.see("{}")
        screen.at(prompt(gateway, "4711"))
        screen.type(CTRL_D)
        assert screen.end() == 0
    assert [(one.path, one.metadata["x-target-org-id"]) for one in gateway.received] == [
        (path(LIST), "4711"),
        (path(GET), "4711"),
    ]
    assert gateway.received[1].request.key == "B"
    assert TOKEN not in screen.raw


def test_history_outlives_the_shell_without_the_lines_that_hold_a_secret(gateway: Gateway, tmp_path: Path) -> None:
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.enter("ls freeze")
        screen.see("6 RPCs")
        screen.enter(f"set timeout 7 {TOKEN}")
        screen.see("write set NAME VALUE")
        screen.at(prompt(gateway))
        screen.type(UP)
        screen.at(f"{prompt(gateway)} set timeout 7 {TOKEN}")
        screen.type(CTRL_C)
        screen.at(prompt(gateway))
        screen.type(CTRL_D)
        assert screen.end() == 0
    (kept,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "ls freeze" in kept.read_text() and TOKEN not in kept.read_text()
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.type(UP)
        screen.at(f"{prompt(gateway)} ls freeze")


def test_ctrl_c_takes_back_a_line_and_ends_a_call_but_not_the_shell(gateway: Gateway, tmp_path: Path) -> None:
    arrived, over = threading.Event(), threading.Event()

    def silent(_: Any, context: Any) -> Any:
        context.add_callback(over.set)
        arrived.set()
        over.wait(30)
        return empty(LIST)

    gateway.answers[path(LIST)] = silent
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.type("half a li")
        screen.at(f"{prompt(gateway)} half a li")
        screen.type(CTRL_C)
        screen.at(prompt(gateway))
        screen.enter(LIST)
        assert arrived.wait(30)
        screen.type(CTRL_C)
        screen.at(prompt(gateway))  # though nothing was answered
        screen.enter("exit")
        assert screen.end() == 0
    assert over.wait(30), "the server must be told, by the end of the shell at the latest"
    assert "Traceback" not in screen.raw


def test_arabic_and_lines_within_quotes_arrive_as_they_were_typed(gateway: Gateway, tmp_path: Path) -> None:
    with invora(gateway, tmp_path, "shell") as screen:
        screen.at(prompt(gateway))
        screen.enter("simple.invoices.list -d '{")
        screen.at("…")
        screen.enter(f'"filter": {{"text_search": "{ARABIC}"}}}}\'')
        screen.see("{}")
        screen.at(prompt(gateway))
    assert gateway.received[0].request.filter.text_search == ARABIC


@pytest.mark.parametrize("columns", [30, 200])
def test_the_shell_fits_into_narrow_and_wide_terminals(gateway: Gateway, tmp_path: Path, columns: int) -> None:
    with invora(gateway, tmp_path, "shell", "--org", "1234567890123456789", columns=columns) as screen:
        screen.see(">")
        assert len(screen.line) < columns / 2 + 10
        screen.type("set tim" + TAB)
        screen.see("set timeout")
        screen.enter(" 7")
        screen.see("set timeout 7")
        screen.enter("set")
        screen.see("\norg 1234567890123456789\ntimeout 7\n")


def test_a_shell_whose_profile_is_gone_says_so_and_goes_on(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[profiles.shop]\nendpoint = "{gateway.url}"\n')
    variables = {"INVORA_CONFIG_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    with terminal("shell", "--profile", "shop", **variables) as screen:
        screen.at("invora shop>")
        screen.enter("profiles remove shop")
        screen.at("invora ?>")
        screen.enter("ls freeze")
        screen.see("'shop' is no profile")
        screen.at("invora ?>")
        screen.type(CTRL_D)
        assert screen.end() == 0
    assert "Traceback" not in screen.raw and "Press ENTER" not in screen.raw


# --- watch ---


def test_watch_says_that_it_is_alive_and_ends_with_ctrl_c(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answers[path(LIST)] = in_turn(page(A="قديم"), page(A="قديم"), page(A=f"{ARABIC} 2"))
    with invora(gateway, tmp_path, "watch", LIST, "--interval", "0.1", columns=40) as screen:
        screen.see('"قديم"')
        screen.see("items[id.key=A].buyer_name")
        screen.see("1 changed")
        screen.type(CTRL_C)
        assert screen.end() == 130
    assert f'"قديم" → "{ARABIC} 2"' in screen.raw.replace("\r\n", "")
    assert "Traceback" not in screen.raw
    assert not [line for line in screen.lines if "changed" in line], "the passing line must be gone"
    assert all(len(line) < 40 for line in screen.raw.split("\x1b[K") if "call " in line and "\n" not in line)


def test_a_watched_stream_is_live_and_cancelled_by_ctrl_c(gateway: Gateway, tmp_path: Path) -> None:
    over = threading.Event()

    def live(_: Any, context: Any) -> Iterator[Any]:
        context.add_callback(over.set)
        message = empty(STREAM)
        message.initial.total_count = 1
        yield message
        over.wait(30)

    gateway.streams[path(STREAM)] = live
    with invora(gateway, tmp_path, "watch", STREAM) as screen:
        screen.see('{"initial": {"total_count"')
        screen.see("1 message, the last at")
        screen.type(CTRL_C)
        assert screen.end() == 130
        assert over.wait(30), "the server must be told"
    assert "Traceback" not in screen.raw
