"""Schemas for tests, from .proto source: the real compiler, and a pool of its own for each."""

from __future__ import annotations

import importlib.resources
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

_KNOWN = {"Any": "any", "Timestamp": "timestamp", "Duration": "duration", "StringValue": "wrappers", "Empty": "empty"}
"""Types that a source may name, and the files that define them."""


def rpc(body: str, *, syntax: str = "proto3", call: str = "rpc Keep(Root) returns (Root);") -> MethodDescriptor:
    """The RPC Keep of the service p.Books, after this source of the package p."""
    imports = "".join(
        f'import "google/protobuf/{file}.proto";' for name, file in _KNOWN.items() if f".{name}" in f"{body}{call}"
    )
    source = f'syntax = "{syntax}"; package p; {imports} {body} service Books {{ {call} }}'
    pool = descriptor_pool.DescriptorPool()
    for file in _files(source).file:
        pool.Add(file)
    return pool.FindServiceByName("p.Books").methods_by_name["Keep"]


@cache
def _files(source: str) -> descriptor_pb2.FileDescriptorSet:
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "books.proto").write_text(source)
        out = str(Path(folder, "out"))
        arguments = ["protoc", f"-I{folder}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}"]
        if protoc.main([*arguments, "books.proto"]) != 0:
            raise ValueError(source)
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out).read_bytes())


def request_of(method: MethodDescriptor, **values: Any) -> Any:
    """A request of an RPC. Message fields take dicts, as protobuf's own constructor does."""
    return GetMessageClass(method.input_type)(**values)


def response_of(method: MethodDescriptor, **values: Any) -> Any:
    """A response of an RPC."""
    return GetMessageClass(method.output_type)(**values)


def message(method: MethodDescriptor, name: str, **values: Any) -> Message:
    """A message of any type of the RPC's pool."""
    pool: Any = method.containing_service.file.pool
    return GetMessageClass(pool.FindMessageTypeByName(name))(**values)
