"""A line of the shell as words; and which lines its history keeps."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.cli.history import CleanHistory, has_secret
from invora_grpc.cli.words import is_open, split
from invora_grpc.config import Secret


@given(st.text(st.sampled_from("ab=_'\"\\ \n\tع"), max_size=12))
def test_words_are_those_of_a_posix_shell(line: str) -> None:
    try:
        expected = shlex.split(line)
    except ValueError:
        assert is_open(line)
        return
    if "\\\n" not in line:  # where shlex keeps a line break that shells take away
        assert [word.text for word in split(line)] == expected


@given(st.lists(st.text(max_size=8), max_size=4))
def test_what_is_quoted_comes_back(texts: list[str]) -> None:
    assert [word.text for word in split(shlex.join(texts))] == texts


def test_a_word_knows_where_it_begins_and_whether_it_was_quoted() -> None:
    words = split("call  'a b' c")
    assert [(word.start, word.plain) for word in words] == [(0, True), (6, False), (12, True)]


@pytest.mark.parametrize("line", ["call x -d '{", 'a "b', "a \\"])
def test_a_line_goes_on_that_ends_within_quotes_or_with_a_backslash(line: str) -> None:
    assert is_open(line)


def test_a_backslash_joins_two_lines() -> None:
    assert [word.text for word in split("call a \\\n  key=1")] == ["call", "a", "key=1"]


@pytest.mark.parametrize(
    "line",
    [
        "call x -H 'authorization: Bearer abc'",
        "call x -H cookie:abc",
        "login --client-secret abc",
        "login --client-secret=abc",
        "call x input.client_secret=abc",
        "call x input.api_key:='abc'",
        "call x auth.token_info[0].value=abc",
        """call x -d '{"password" : "abc"}'""",
        r'''call x -d "{\"refresh_token\": \"abc\"}"''',
        "set access-token abc",
        "call x note=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "call x note='-----BEGIN PRIVATE KEY-----'",
        "call x url=https://user:pass@host/",
        "call x note=k3pt-somewhere",
    ],
)
def test_a_line_with_a_secret_is_recognised(line: str) -> None:
    assert has_secret(line, [Secret("k3pt-somewhere")])


@pytest.mark.parametrize(
    "line",
    ["call simple.invoices.list", "token", "whoami", "invoices.create changes.buyer=شركة", "describe TokenService"],
)
def test_a_line_without_one_is_not_taken_for_one(line: str) -> None:
    assert not has_secret(line, [Secret("k3pt-somewhere")])


def test_the_file_of_the_history_is_private_and_has_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history"
    history = CleanHistory(path, lambda: [Secret("k3pt")])
    for line in ("ls one", "call x -H 'authorization: t'", "call x k3pt", " ls blank", "ls two\nmore"):
        history.append_string(line)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(CleanHistory(path, tuple).load_history_strings()) == ["ls two\nmore", "ls one"]
    assert "k3pt" not in path.read_text() and "authorization" not in path.read_text()


def test_the_shell_itself_still_calls_a_secret_line_back(tmp_path: Path) -> None:
    history = CleanHistory(tmp_path / "history", tuple)
    history.append_string("login --client-secret abc")
    assert history.get_strings() == ["login --client-secret abc"]
