"""A family of drifted pairs called through a client, each RPC of each: what was said, and what the oracle says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from door import Door
from drifted import Call, World
from drifted_server import Heard, Running, Side, as_compiled, drifted_gateway
from drifted_truth import Carried, carried, named, without_unknown
from grpc import StatusCode

from invora_grpc import RpcError, SchemaDriftError
from invora_grpc.catalog import attribute
from invora_grpc.schema.descriptors import Schema

Pair = tuple[World, World]


@dataclass
class Said:
    """One call from the client's end, and what the server took in."""

    pair: Pair
    identity: str
    call: Call
    requests: list[Any]
    wanted: list[Carried]
    """What the requests have to be for the server."""
    responses: list[Any] = field(default_factory=list)
    refusal: SchemaDriftError | None = None
    failure: RpcError | None = None
    heard: list[Heard] = field(default_factory=list)
    """What reached the server by this call, on whatever RPC."""

    def __str__(self) -> str:
        ours, theirs = self.pair
        return f"{ours.package} {self.identity}: {theirs.story or f'backwards {ours.story}'}; {self.refusal or ''}"

    @property
    def lost(self) -> list[str]:
        """What the server has no place for."""
        return [text for one in self.wanted for text in (*one.lost, *one.aside)]

    @property
    def unsure(self) -> list[str]:
        return [text for one in self.wanted for text in one.unsure]

    @property
    def answers(self) -> list[Any]:
        """What the responses have to be for the client."""
        ours, theirs = self.pair
        served = theirs.calls[self.identity]
        return [carried(one, served.response, theirs, ours, answer=True).value for one in self.heard[0].answers]

    @property
    def got(self) -> list[Any]:
        """What the responses are for the client."""
        return [without_unknown(named(one)) for one in self.responses]


class Rehearsed:
    """A pair, the client's stubs, and a random request for each RPC: made once, and the same for each policy."""

    def __init__(self, pair: Pair) -> None:
        self.pair = ours, theirs = pair
        self.stubs: Schema = as_compiled(ours)
        self._drafts: dict[str, tuple[list[Any], list[Carried]]] = {}
        side, rng = Side(ours), random.Random(f"calls {ours.package}")
        for identity, call in ours.calls.items():
            count = 3 if call.streaming in ("client", "bidi") else 1
            drawn = [side.random(rng, call.request) for _ in range(count)]
            made = self.stubs.message_class(ours.full_name(call.request))
            requests = [made.FromString(one.SerializeToString()) for one in drawn]
            self._drafts[identity] = requests, [carried(named(one), call.request, ours, theirs) for one in drawn]

    def said(self, identity: str) -> Said:
        """The call of an RPC that is about to be made."""
        return Said(self.pair, identity, self.pair[0].calls[identity], *self._drafts[identity])


@dataclass
class Shard:
    """A part of the family, a gateway that serves it, and clients of it."""

    door: Door
    running: Running
    pairs: list[Rehearsed]
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, schema: str) -> Any:
        """The one client with this policy."""
        if schema not in self._clients:
            self._clients[schema] = self.door.open(
                endpoint=self.running.url, token="token", schema=schema, timeout=20.0
            )
        return self._clients[schema]


@contextmanager
def sharded(door: Door, pairs: list[Pair]) -> Iterator[Shard]:
    """These pairs, with their gateway."""
    with drifted_gateway(*(theirs for _, theirs in pairs)) as running:
        yield Shard(door, running, [Rehearsed(pair) for pair in pairs])
        door.close()


def calls(shard: Shard, schema: str) -> Iterator[Said]:
    """Call every RPC of every pair once, with random requests, through a client with this policy."""
    client = shard.client(schema)
    for pair in shard.pairs:
        ours, theirs = pair.pair
        strays: list[str] = []
        for identity, call in ours.calls.items():
            served = theirs.calls.get(identity)
            if schema == "trust" and (served is None or served.streaming != call.streaming):
                continue  # no call comes of that, and so no wrong one
            said = pair.said(identity)
            rpc = getattr(client.service(f"{ours.package}.{call.service}", schema=pair.stubs), attribute(call.name))
            _say(shard.door, rpc, said)
            said.heard = [one for one in shard.running.gateway.taken(theirs.package) if one.identity not in strays]
            if said.refusal is not None and call.streaming in ("client", "bidi"):
                strays.append(identity)  # it may have begun, and may be heard of only now
            yield said


def _say(door: Door, rpc: Any, said: Said) -> None:
    given = iter(said.requests) if said.call.streaming in ("client", "bidi") else said.requests[0]
    try:
        if said.call.streaming in ("server", "bidi"):
            said.responses = door.every(rpc(given))
        else:
            said.responses = [door.call(rpc, given)]
    except SchemaDriftError as error:
        said.refusal = error
    except RpcError as error:
        assert error.code in (StatusCode.UNIMPLEMENTED, StatusCode.UNKNOWN, StatusCode.INTERNAL), error
        said.failure = error
