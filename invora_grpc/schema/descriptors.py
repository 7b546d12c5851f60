"""A schema that was not compiled in: its services and RPCs in the terms of the catalog, and its message classes.

It comes from a gateway by reflection, or from a file. Everything that works on compiled services works on these: the
classes are real message classes, of a private pool. Nothing here asks a gateway for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc.catalog import HttpRule, Method, Service, attribute
from invora_grpc.errors import RequestError, closest
from invora_grpc.schema.annotations import http_rule, scope
from invora_grpc.schema.files import DescriptorError, FileSet
from invora_grpc.schema.pool import Pool, pooled

__all__ = ["Schema"]

_MAKING: Final = Lock()


class Schema:
    """Services and messages of a set of descriptor files. Safe to share between threads."""

    def __init__(
        self,
        files: FileSet,
        *,
        source: str,
        listed: tuple[str, ...] = (),
        failures: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.files = files
        """The descriptors as they came."""
        self.source = source
        """Where they came from, for messages: a gateway's URL or a file."""
        self.listed = listed
        """All services that the gateway lists, whether or not they are among these."""
        self._failures = failures
        self._classes: dict[str, type[Message]] = {}
        self._lock = Lock()
        self._pool: Pool | None = None

    def __repr__(self) -> str:
        return f"<schema of {self.source}: {len(self.files.files)} files>"

    @property
    def pool(self) -> Pool:
        """The private pool of these files. There is one only: classes of two would not take each other's messages."""
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    self._pool = pooled(self.files)
        return self._pool

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """The services that can be called, by full name."""
        found = {}
        for name in self.files.files:
            if name in self.pool.linked:
                for service in self.pool.linked[name].services_by_name.values():
                    found[service.full_name] = self._service(service)
        return MappingProxyType(found)

    @cached_property
    def problems(self) -> Mapping[str, str]:
        """Service that cannot be called → why."""
        no_services = ("*", *self.files.missing())
        found = {name: why for name, why in self._failures.items() if name not in no_services}
        for name, file in self.files.files.items():
            if name in self.pool.problems:
                prefix = f"{file.package}." if file.package else ""
                for service in file.service:
                    found[prefix + service.name] = f"{name} {self.pool.problems[name]}"
        return MappingProxyType(found)

    def service(self, name: str) -> Service:
        """A service by its full name. Raises DescriptorError if its descriptors cannot be used, RequestError if there
        is none."""
        found = self.services.get(name)
        if found is not None:
            return found
        if name in self.problems and (name in self.listed or not self.listed):
            raise DescriptorError(name, f"cannot be used: {self.problems[name]}")
        known = self.listed or sorted(self.services)
        near = closest(name, known) or known[:6]
        raise RequestError("service", name, f"did you mean {' or '.join(near)}?", f"is no service of {self.source}")

    def method(self, method: Method) -> MethodDescriptor:
        """The descriptor of one of its RPCs."""
        service = self.pool.pool.FindServiceByName(method.service)
        return service.methods_by_name[method.name]

    def message(self, full_name: str) -> Descriptor:
        """The descriptor of a message. Raises KeyError."""
        return self.pool.pool.FindMessageTypeByName(full_name)

    def message_class(self, full_name: str) -> type[Message]:
        """The class of a message. Raises KeyError, and DescriptorError if its types refer to each other too deeply."""
        found = self._classes.get(full_name)
        if found is None:
            try:
                found = self._made(self.message(full_name))
            except RecursionError:
                problem = "is made of types that refer to each other too deeply"
                raise DescriptorError(full_name, problem, "it can be described, but not called") from None
        return found

    def _made(self, top: Descriptor) -> type[Message]:
        """The class of a message, made together with those of all that it holds, and kept with them.

        Protobuf makes classes again that nobody keeps, and dies of it when two threads do so at once.
        """
        with _MAKING:
            made = GetMessageClass(top)
            waiting = [top]
            while waiting:
                descriptor = waiting.pop()
                if descriptor.full_name not in self._classes:
                    self._classes[descriptor.full_name] = GetMessageClass(descriptor)
                    waiting += [field.message_type for field in descriptor.fields if field.message_type is not None]
        return made

    def _service(self, service: ServiceDescriptor) -> Service:
        methods = tuple(self._method(service, method) for method in service.methods)
        return Service(service.full_name, "", service.full_name, service.file.name, "served", "", methods)

    def _method(self, service: ServiceDescriptor, method: MethodDescriptor) -> Method:
        rule, needed = _annotations(method)
        return Method(
            service=service.full_name,
            name=method.name,
            module="",
            area=service.full_name,
            rpc=attribute(method.name),
            path=f"/{service.full_name}/{method.name}",
            request=method.input_type.full_name,
            response=method.output_type.full_name,
            client_streaming=bool(method.client_streaming),
            server_streaming=bool(method.server_streaming),
            http=rule,
            scope=needed,
            origin="served",
            doc="",
            schema=self,
        )


def _annotations(method: MethodDescriptor) -> tuple[HttpRule | None, str]:
    proto = MethodDescriptorProto()
    method.CopyToProto(proto)
    rule = http_rule(proto)
    return HttpRule(*[*rule, ""][:3]) if rule else None, scope(proto)
