"""The client of a package that was generated from somebody else's schema: calls, settings, and what is not promised."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from foreign import Echo, packaged, serving
from gateway import abort
from shop import PACKAGE, PATH, shop

from invora_grpc import ConfigError, Invora, OutcomeUnknown, RequestError, Retry, Unavailable
from invora_grpc.aio import AsyncClient
from invora_grpc.auth import StaticToken
from invora_grpc.call import bind
from invora_grpc.catalog import MODULE_NAMES_TAKEN, RPC_NAMES_TAKEN, catalog
from invora_grpc.client import SyncClient
from invora_grpc.retry import RetryClass

QUICK = Retry(tries=3, initial=0.001, budget=False)


@pytest.fixture(scope="session")
def acme(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module with the clients of the shop."""
    return shop(tmp_path_factory.mktemp("acme"))


@pytest.fixture
def server(acme: ModuleType) -> Iterator[Echo]:
    with serving(PACKAGE) as echo:
        yield echo


@pytest.fixture
def open_client(door: Door, acme: ModuleType, server: Echo) -> Any:
    """Opens clients of the server, blocking or for asyncio."""
    door.client_class = acme.AsyncClient if isinstance(door, AsyncDoor) else acme.Client
    return lambda **given: door.open(**{"endpoint": server.url, **given}).with_options(retry=QUICK)


@pytest.fixture
def client(open_client: Any) -> Any:
    return open_client()


def failing(server: Echo, rpc: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
    server.answers[PATH + rpc] = abort(code)


# --- calls --------------------------------------------------------------------------------------------------------


def test_fields_are_called_as_the_schema_calls_them_even_self_request_and_keywords(door: Door, client: Any) -> None:
    fields = {"self": "a", "from": "b", "options": {"c": 1}, "request": "d", "part": {"class": True}, "None": "NEW"}
    thing = door.call(partial(client.acme.store.import_, given=[{"key": "e"}], **fields))
    assert (thing.self, getattr(thing, "from"), thing.options["c"], thing.request) == ("a", "b", 1, "d")
    assert (getattr(thing.part, "class"), getattr(thing, "None"), thing.given[0].key) == (True, 0, "e")


def test_all_four_kinds_of_streaming_work(door: Door, client: Any, server: Echo) -> None:
    store, things = client.acme.store, [{"key": str(number)} for number in range(3)]
    server.answers[PATH + "Watch"] = lambda requests, _: (type_of(server, "Watch")(key=one) for one in "xyz")
    assert door.call(store.create, key="k").key == "k"
    assert [thing.key for thing in door.every(store.watch(key="k"))] == ["x", "y", "z"]
    assert door.call(store.upload, iter(things)).key == "2"
    assert [thing.key for thing in door.every(store.haggle(iter(things)))] == ["0", "1", "2"]
    assert [thing.key for thing in door.converse(store.haggle(), *things)] == ["0", "1", "2"]
    assert [len(call.requests) for call in server.calls] == [1, 1, 3]


def type_of(server: Echo, rpc: str) -> Any:
    """The class of an RPC's response."""
    from invora_grpc.call import bind

    return bind(catalog(server.package).method(PATH + rpc)).response_class


def test_a_mistake_in_a_request_is_named_before_anything_is_sent(door: Door, client: Any, server: Echo) -> None:
    with pytest.raises(RequestError, match="kye"):
        door.call(client.acme.store.get, kye="k")
    with pytest.raises(RequestError, match=r"part\.class"):
        door.call(client.acme.store.create, part={"class": "yes"})
    assert server.calls == []


def test_a_list_of_the_same_form_as_invoras_is_walked_and_another_is_refused(
    door: Door, client: Any, server: Echo
) -> None:
    def page(requests: list[Any], _: object) -> Any:
        last = requests[0].pagination.cursor == "2"
        return type_of(server, "List")(items=[{"key": "b" if last else "a"}], next_page_cursor="" if last else "2")

    server.answers[PATH + "List"] = page
    assert [thing.key for thing in door.every(client.acme.store.list.items())] == ["a", "b"]
    with pytest.raises(RequestError, match=r"acme\.store\.search' is no list with pages"):
        door.every(client.acme.store.search.items(key="k"))


def test_a_list_may_count_its_items_with_a_plain_number(door: Door, tmp_path: Path) -> None:
    text = """syntax = "proto3"; package plain;
      message Page { string cursor = 1; int32 limit = 2; }
      message Asked { Page pagination = 1; }
      message Found { repeated Asked items = 1; string next_page_cursor = 2; }
      service Plain { rpc List(Asked) returns (Found); }"""
    if "plain_api.client" not in sys.modules:
        packaged(tmp_path, "plain_api", {"plain.proto": text})
    module = importlib.import_module("plain_api.client")
    door.client_class = module.AsyncClient if isinstance(door, AsyncDoor) else module.Client
    with serving("plain_api") as server:
        found = bind(next(catalog("plain_api").methods)).response_class
        server.answers["/plain.Plain/List"] = lambda requests, _: found(
            items=requests, next_page_cursor="" if requests[0].pagination.cursor else "2"
        )
        rpc = door.open(endpoint=server.url).plain.plain.list
        pages = [
            (one.pagination.cursor, one.pagination.limit) for one in door.every(rpc.items(pagination={"limit": 7}))
        ]
        assert pages == [("", 7), ("2", 7)]
        assert [one.pagination.limit for one in door.every(rpc.items().limit(1))] == [1]


# --- the tree -----------------------------------------------------------------------------------------------------


def test_services_are_found_by_name_and_misspelt_ones_are_told_the_nearest(acme: ModuleType) -> None:
    with acme.Client("http://127.0.0.1:1") as client:
        assert dir(client.acme) and repr(client.acme.store) == "<service acme.store.v1.StoreService>"
        assert client.service("acme.store.v1.StoreService").get.method == client.service("acme.store").get.method
        with pytest.raises(RequestError, match=r"did you mean acme\.store\.v1\.StoreService"):
            client.service("acme.store.v1.StorService")
        with pytest.raises(RequestError, match=r"there are acme\.store"):
            client.service("qqqqqqqq")
        with pytest.raises(AttributeError, match="did you mean store"):
            client.acme.stor.get()
        with pytest.raises(AttributeError, match="simple"):
            client.simple.invoices.get()


def test_what_the_client_itself_has_keeps_its_name_and_the_schemas_gets_an_underscore(door: Door, client: Any) -> None:
    assert door.call(client.acme.store.service_, key="k").key == "k"
    assert client.acme.store.service.name == "acme.store.v1.StoreService"
    assert door.call(client.service_.desk.ring, tone="a").tone == "a"


@pytest.mark.parametrize("client_class", [SyncClient, AsyncClient])
def test_the_names_that_are_kept_are_all_that_a_client_and_a_service_have(client_class: type) -> None:
    assert {name for name in dir(client_class) if not name.startswith("_")} == MODULE_NAMES_TAKEN
    with Invora(endpoint="http://127.0.0.1:1", token="t") as client:
        assert {name for name in vars(client.simple.invoices) if not name.startswith("_")} == RPC_NAMES_TAKEN


def test_help_has_the_schemas_own_words(acme: ModuleType) -> None:
    with acme.Client("http://127.0.0.1:1") as client:
        words = client.acme.store.get.__doc__
    assert words.startswith("One thing, by its key.")
    assert "/acme.store.v1.StoreService/Get" in words and "key: str" in words


# --- settings and credentials ------------------------------------------------------------------------------------


def test_without_credentials_calls_go_without_authorization(door: Door, client: Any, server: Echo) -> None:
    door.call(client.acme.store.get, key="k")
    assert "authorization" not in server.calls[0].metadata


def test_a_token_and_metadata_are_sent_as_they_are_given(door: Door, open_client: Any, server: Echo) -> None:
    client = open_client(token="t0k3n").with_options(metadata={"x-shop": "7"})
    door.call(client.acme.store.get, key="k")
    sent = server.calls[0].metadata
    assert (sent["authorization"], sent["x-shop"], "x-target-org-id" in sent) == ("Bearer t0k3n", "7", False)


def test_settings_come_from_variables_of_the_packages_own(
    door: Door, open_client: Any, server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_API_ENDPOINT", server.url)
    monkeypatch.setenv("ACME_API_TOKEN", "from-the-environment")
    door.call(open_client(endpoint=None).acme.store.get, key="k")
    assert server.calls[0].metadata["authorization"] == "Bearer from-the-environment"


def test_a_token_of_invoras_never_goes_to_another_server(
    door: Door, open_client: Any, server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOKEN", "CLIENT_ID", "CLIENT_SECRET", "ORG_ID", "ENDPOINT"):
        monkeypatch.setenv(f"INVORA_{name}", "invoras-own")
    door.call(open_client().acme.store.get, key="k")
    assert "invoras-own" not in str(server.calls[0].metadata)


def test_the_endpoint_has_no_default_and_half_credentials_are_no_credentials(acme: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"endpoint: missing: .*set ACME_API_ENDPOINT, or pass endpoint"):
        acme.Client()
    with pytest.raises(ConfigError, match="ACME_API_CLIENT_SECRET and ACME_API_ISSUER"):
        acme.Client("https://acme.example", client_id="me")
    with pytest.raises(ConfigError, match="set ACME_API_ISSUER, or pass issuer"):
        acme.Client("https://acme.example", client_id="me", client_secret="s3cr3t")


def test_plaintext_to_other_hosts_is_for_calls_without_a_token_only(acme: ModuleType) -> None:
    acme.Client("http://acme.example").close()
    with pytest.raises(ConfigError, match="would send the token in plaintext"):
        acme.Client("http://acme.example", token="t0k3n")
    with acme.Client("http://acme.example") as client, pytest.raises(ConfigError, match="in plaintext"):
        client.with_options(tokens=StaticToken("t0k3n"))


def test_no_secret_is_in_a_traceback_of_the_constructor_even_with_locals(door: Door, open_client: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        open_client(endpoint="http://acme.example", token="t0k" + "3n", client_certificate=(b"k3" + b"y", b"chain"))
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    inside = "".join(str(frame.locals) for frame in frames if Path(frame.filename).parent.name == "invora_grpc")
    assert "token" in inside and "t0k3n" not in inside and "k3y" not in inside


def test_a_client_travels_in_a_pickle_with_its_package_but_not_with_a_secret(
    acme: ModuleType, server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acme.Client(server.url, token="t0k3n") as client:
        with pytest.raises(TypeError, match="set ACME_API_TOKEN in both processes"):
            pickle.dumps(client)
        monkeypatch.setenv("ACME_API_TOKEN", "t0k3n")
        data = pickle.dumps(client.for_org("7"))
    assert b"t0k3n" not in data
    code = (
        "import pickle, sys; client = pickle.load(sys.stdin.buffer); print(client, client.acme.store.get(key='k').key)"
    )
    path = os.pathsep.join([str(Path(acme.__file__).parents[1]), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=data,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert result.stdout.decode().split() == ["<Client", server.url, "org=7>"], result.stderr.decode()
    assert server.calls[0].metadata["authorization"] == "Bearer t0k3n"


# --- what is sent again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", ["Get", "Appraise", "List"])
def test_a_read_is_sent_again(door: Door, client: Any, server: Echo, rpc: str) -> None:
    failing(server, rpc)
    with pytest.raises(Unavailable) as caught:
        door.call(getattr(client.acme.store, rpc.lower()))
    assert len(server.calls) == QUICK.tries and not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize(("rpc", "name"), [("Buy", "buy"), ("GetAndReserve", "get_and_reserve"), ("Search", "search")])
def test_what_may_change_something_is_sent_once_and_its_outcome_is_unknown(
    door: Door, client: Any, server: Echo, rpc: str, name: str
) -> None:
    failing(server, rpc)
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(getattr(client.acme.store, name))
    assert len(server.calls) == 1 and caught.value.keys == ()


def test_a_create_of_somebody_elses_gets_no_key_and_is_not_sent_again(door: Door, client: Any, server: Echo) -> None:
    assert door.call(client.acme.store.create, request="a").key == ""
    failing(server, "Create")
    with pytest.raises(OutcomeUnknown):
        door.call(client.acme.store.create, key="k")
    assert len(server.calls) == 2
    with pytest.raises(RequestError, match="idempotency_key"):
        door.call(client.with_options(idempotency_key="k").acme.store.create, request="a")


def test_invoras_own_client_is_not_touched_by_the_rules_for_others() -> None:
    with Invora(endpoint="http://127.0.0.1:1", token="t") as client:
        link = client._connection.link(client.simple.invoices.create.method)
        other = client._connection.link(client.identity.impersonation.begin_impersonation.method)
    assert (link.kind, other.kind) == (RetryClass.KEYED, RetryClass.WRITE)
