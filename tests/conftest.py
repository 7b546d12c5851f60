"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from door import AsyncDoor, Door
from gateway import Gateway, running_gateway
from hypothesis import settings
from longest_first import keep_order, longest_first
from sandbox_fixture import Running, running_sandbox

from invora_grpc import Invora

settings.register_profile("untimed", deadline=None)  # a busy machine is no bug
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    keep_order(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Have Python look for garbage less often, and not in what lives to the end: that takes half a second each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def _a_home_without_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps whatever profile, sign-in, history and cache there are on this machine away from all commands."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(scope="session")
def demo() -> Iterator[Running]:
    """A sandbox with the demo seed. Tests read it, or write what nobody else looks for."""
    with running_sandbox(seed="demo") as running:
        yield running


@pytest.fixture
def sandbox() -> Iterator[Running]:
    """A sandbox of the test's own, with the demo seed."""
    with running_sandbox(seed="demo") as running:
        yield running


def client_of(running: Running, client_id: str | None = None, client_secret: str | None = None) -> Invora:
    """A client signed in by client credentials; of the main organization's owner unless others are given."""
    return Invora(
        endpoint=f"http://{running.grpc}",
        issuer=running.issuer,
        client_id=client_id or running.client_id,
        client_secret=client_secret or running.client_secret,
    )


@pytest.fixture
def owner(sandbox: Running) -> Iterator[Invora]:
    """A client of the sandbox's main organization."""
    with client_of(sandbox) as client:
        yield client


@pytest.fixture(params=[Door, AsyncDoor], ids=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """Each of the two clients in turn."""
    opened = request.param()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway of the test's own."""
    with running_gateway() as running:
        yield running
