"""`invora zatca qr` and `invora zatca chain`: codes and chains from files, pipes and arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zatca_stamps import chained, simplified, standard

from invora_grpc.cli.app import main
from invora_grpc.zatca.qr import Qr

PHASE_1 = Qr("Acme", "399999999900003", "2024-01-05T10:20:30", "115.00", "15.00").encode()


def zatca(*arguments: object, text: str | bytes | None = None) -> Result:
    settings = {name: None for name in os.environ if name.startswith("INVORA_")} | {"XDG_CONFIG_HOME": "/nowhere"}
    return CliRunner().invoke(main, ["zatca", *(str(one) for one in arguments)], input=text, env=settings)


def qr(*arguments: object, text: str | bytes | None = None) -> Result:
    return zatca("qr", *arguments, text=text)


@pytest.fixture
def invoice(tmp_path: Path) -> Path:
    path = tmp_path / "invoice.xml"
    path.write_bytes(simplified().xml)
    return path


def test_a_code_is_told_tag_by_tag() -> None:
    done = qr(PHASE_1)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "phase 1"
    assert [row.split()[1] for row in done.stdout.splitlines()[1:]] == ["1", "2", "3", "4", "5"]
    assert "unknown  1 seller's name             Acme: there is no document to compare it with" in done.stdout


def test_a_code_comes_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "code.txt"
    path.write_text(f"{PHASE_1}\n")
    assert qr(path).stdout == qr(PHASE_1).stdout == qr("-", text=PHASE_1).stdout


def test_a_document_is_verified_by_its_own_code_with_its_stamp(invoice: Path) -> None:
    told = json.loads(qr(invoice, "-o", "json").stdout)
    assert (told["ok"], told["phase"], told["seller"]) == (True, 2, "Salam Services LLC")
    assert [check["tag"] for check in told["checks"]] == [*range(1, 10), *[None] * 6]
    assert {check["ok"] for check in told["checks"]} == {True}
    assert qr("--xml", invoice).stdout == qr(invoice).stdout == qr("-", text=simplified().xml).stdout


def test_what_is_wrong_ends_with_1(invoice: Path) -> None:
    done = qr(standard().qr, "--xml", invoice)
    assert done.exit_code == 1
    assert "wrong    6 hash" in done.stdout
    told = json.loads(qr(standard().qr, "--xml", invoice, "-o", "json").stdout)
    assert told["ok"] is False
    assert [check["tag"] for check in told["checks"] if check["ok"] is False] == [6, 7, 9]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere.xml", "qr: 'nowhere.xml' is no file"),
        ("AQxCb2Jz", "tag 1 (seller's name): b'Bobs' is cut off"),
        ("?", "is no base64"),
    ],
)
def test_what_is_no_code_ends_with_2_and_says_why(given: str, words: str) -> None:
    done = qr(given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_picture_as_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "code.png"
    assert qr(PHASE_1, "--png", path).exit_code == 0
    done = qr(path)
    assert done.exit_code == 2
    assert "is no text; give the text that a scanner reads" in done.stderr


def test_a_code_is_drawn(tmp_path: Path) -> None:
    png, svg = tmp_path / "code.png", tmp_path / "code.svg"
    done = qr(PHASE_1, "--png", png, "--svg", svg, "--draw", "--scale", 2)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    assert "██" in done.stdout


def test_nothing_and_contradictions_are_wrong_use() -> None:
    assert qr().exit_code == qr(PHASE_1, "--draw", "-o", "json").exit_code == 2


def test_words_of_a_code_cannot_steer_the_terminal() -> None:
    text = Qr("A\x1b[2J\u202ecme", "399999999900003", "2024-01-05T10:20:30", "115.00", "15.00").encode()
    assert "\x1b" not in qr(text).stdout
    assert "\u202e" not in qr(text, "-o", "json").stdout


# --- the chain ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("chain")
    for number, xml in enumerate(chained(3), 1):
        (folder / f"{number}.xml").write_bytes(xml)
    return [str(folder / f"{number}.xml") for number in (3, 1, 2)]


def test_a_whole_chain_is_told(files: list[str]) -> None:
    done = zatca("chain", *files)
    assert (done.exit_code, done.stdout) == (0, "3 documents, the chain is whole\n")


def test_a_broken_chain_ends_with_1_and_names_the_file(files: list[str]) -> None:
    done = zatca("chain", *files[:2])
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{files[0]}: before 'SIM-3', which has the counter 3, there is no 2 (gap)\n  → ")
    told = json.loads(zatca("chain", *files[:2], "-o", "json").stdout)
    assert (told["ok"], told["documents"]) == (False, 2)
    assert [one["kind"] for one in told["breaks"]] == ["gap", "previous-hash"]


def test_a_chain_goes_on_from_what_is_said(files: list[str]) -> None:
    from invora_grpc.zatca.hashing import invoice_hash

    start = invoice_hash(Path(files[1]).read_bytes())
    options = ["--previous-hash", start, "--previous-counter", "1"]
    assert zatca("chain", files[0], files[2], *options).exit_code == 0


def test_a_hint_of_a_chain_is_said_in_the_options_of_the_command(files: list[str]) -> None:
    done = zatca("chain", files[0])
    assert "→ give the documents before it too, or say --previous-hash" in done.stdout
    assert "`" not in done.stdout


def test_what_is_no_document_is_told_by_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello")
    done = zatca("chain", path)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{path}: b'hello' is no XML: ")


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_document_without_a_code_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.xml"
    path.write_text("<Invoice/>")
    assert f"{path}: 'Invoice' has no QR code" in qr(path).stderr
    assert f"{path}: 'Invoice' has no QR code" in qr("--xml", path).stderr


@pytest.mark.parametrize("command", ["qr", "chain", "check"])
def test_a_folder_is_no_document(command: str, tmp_path: Path) -> None:
    done = zatca(command, tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "cannot be read: Is a directory" in done.stderr


@pytest.mark.parametrize("command", ["qr", "chain", "check"])
def test_a_file_without_an_end_is_not_read_to_it(command: str) -> None:
    done = zatca(command, "/dev/zero")
    assert done.exit_code in (1, 2)
    assert "bytes are too many" in done.output or "is no base64" in done.output
