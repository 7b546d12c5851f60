"""Somebody who generates from the registry: a stand-in with modules on it, a folder and an environment of their own."""

from __future__ import annotations

import contextlib
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from registry_server import Commit, Registry, running_registry

from invora_grpc.codegen.inputs import Input
from invora_grpc.codegen.registry import from_registry, pins_of

ROOT = Path(__file__).parent.parent

MONEY = b"""syntax = "proto3";
package kernel;
import "google/type/date.proto";
// An amount on a day.
message Money { int64 units = 1; google.type.Date day = 2; }
"""
PLANS = b"""syntax = "proto3";
package invora.billing.plans.v1;
import "google/protobuf/timestamp.proto";
import "kernel/money.proto";
message Plan { string id = 1; kernel.Money price = 2; google.protobuf.Timestamp since = 3; }
service PlanService { rpc GetPlan(Plan) returns (Plan); }
"""
BOOKS = b"""syntax = "proto3";
package acme.store.v1;
message Book { string title = 1; }
"""


def googleapis() -> Commit:
    """What googleapis-common-protos installs of the module that nearly all others depend on."""
    root = importlib.resources.files("google")
    names = ("api/annotations.proto", "api/http.proto", "type/date.proto", "type/timeofday.proto")
    return Commit("googleapis", "googleapis", {f"google/{name}": root.joinpath(name).read_bytes() for name in names})


def shop(plans: bytes = PLANS) -> tuple[Commit, Commit, Commit]:
    """Two of our modules, small ones, with what they need."""
    common = Commit("invora", "common", {"kernel/money.proto": MONEY}, (googleapis(),))
    return googleapis(), common, Commit("invora", "billing", {"invora/billing/plans.proto": plans}, (common,))


def whole_schema() -> tuple[Commit, ...]:
    """The modules of this source tree, as they would be pushed."""

    workspace = yaml.safe_load((ROOT / "buf.yaml").read_text())
    published = {module["path"]: module.get("name", "") for module in workspace["modules"]}

    def module(folder: str, *needs: Commit) -> Commit:
        root = ROOT / "proto" / folder
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.proto")}
        return Commit("invora", published[f"proto/{folder}"].removeprefix("buf.build/invora/"), files, needs)

    google = googleapis()
    common = module("common", google)
    ubl, billing = module("ubl", google, common), module("billing", google, common)
    invoicing = module("invoicing", google, common, ubl)
    return (
        google, common, ubl, billing, invoicing,
        module("simple", google, common, invoicing), module("identity", google, common, billing),
    )  # fmt: skip


@dataclass(frozen=True)
class World:
    """A registry, and a working directory of somebody who uses it."""

    registry: Registry
    folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "buf.lock"

    def read(self, *modules: str, renew: bool = False) -> Input:
        return from_registry(modules, lock=self.lock, renew=renew, host=self.registry.host)


@contextlib.contextmanager
def running_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A registry with two small modules; buf trusts it, and has an empty cache and no credentials."""
    for name in ("BUF_TIMEOUT", "BUF_TOKEN", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("cache", "home", "project", "tls"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("BUF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    with running_registry(tmp_path / "tls", "buf.build") as registry:
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.roots))
        registry.push(*shop())
        yield World(registry, tmp_path / "project")


def modules_of(lock: Path) -> list[str]:
    return sorted(pin.module.partition("/")[2] for pin in pins_of(lock))


def names(found: Input) -> list[str]:
    return [file.name for file in found.files]
