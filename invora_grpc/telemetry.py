"""OpenTelemetry: a span and a duration for each call, and the trace that goes along to the gateway.

An observer for `Invora(observer=OpenTelemetry())`; needs the extra `telemetry`. This room knows only what observers are
told, and so can put no token, metadata, body or request field anywhere. The words of an error stay out as well: servers
quote requests in them.

Names follow the OpenTelemetry semantic conventions 1.44 for gRPC clients (release candidate). The schema URL says so,
by which a backend can translate them into those of another version.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from invora_grpc.observer import outcome, tries_of

try:
    from opentelemetry.metrics import Histogram, MeterProvider, get_meter
    from opentelemetry.trace import (
        Span,
        SpanKind,
        StatusCode,
        Tracer,
        TracerProvider,
        get_tracer,
        set_span_in_context,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError(
        f"invora_grpc.telemetry needs OpenTelemetry's API ({error}): pip install 'invora-grpc[telemetry]'"
    ) from error

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.config import Target
    from invora_grpc.observer import Observation
    from invora_grpc.status import RpcError

__all__ = ["OpenTelemetry"]

SCOPE: Final = "invora_grpc"
"""The instrumentation scope of spans and metrics."""
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
DURATION: Final = "rpc.client.call.duration"
"""Seconds from the first try to the end of the answer, of a stream to the end of the stream."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds; the boundaries that the conventions recommend."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()
"""W3C trace context and no baggage: the gateway is somebody else's, and baggage may say more than it should know."""

Attributes = dict[str, str | int]


class OpenTelemetry:
    """Spans and metrics of a client's calls, by the given providers or by OpenTelemetry's global ones.

    One CLIENT span per call, retries and the whole of a stream included, named `package.Service/Method`, a child of the
    span that is current where the call begins. Its attributes: `rpc.system.name`, `rpc.method`, `server.address`,
    `server.port`, `rpc.response.status_code`; `error.type` if the call failed (the status, or the class of an error
    without one); `invora.org`, the organization to act in, if one was named; `invora.attempts`; `invora.request_id` of
    an error. A try that failed is an event `invora.attempt` with `number`, `rpc.response.status_code`. The histogram
    `rpc.client.call.duration` is in seconds, without the organization and what comes after it: those have no end.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._providers = (tracer_provider, meter_provider)
        self._tracer = get_tracer(SCOPE, tracer_provider=tracer_provider, schema_url=SCHEMA_URL)
        self._duration = get_meter(SCOPE, meter_provider=meter_provider, schema_url=SCHEMA_URL).create_histogram(
            DURATION,
            unit="s",
            description="Measures the duration of an outgoing Remote Procedure Call (RPC).",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def call(self, method: Method, org: str | None, target: Target) -> Observation:
        """Start the span of a call."""
        return _Call(self._tracer, self._duration, method, org, target)

    def __reduce__(self) -> tuple[object, ...]:
        """By its providers: another process has global ones of its own, and given ones pickle or say why not."""
        return type(self), self._providers


class _Call:
    """One call: its span, and when it began."""

    __slots__ = ("_attempts", "_attributes", "_began", "_duration", "_span", "_wall", "metadata")

    def __init__(self, tracer: Tracer, duration: Histogram, method: Method, org: str | None, target: Target) -> None:
        self._attempts, self._duration = 0, duration
        self._attributes: Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method.full_name,
            "server.address": target.host,
            "server.port": target.port,
        }
        seen = self._attributes if org is None else {**self._attributes, "invora.org": org}
        self._wall, self._began = time.time_ns(), time.perf_counter_ns()
        self._span: Span = tracer.start_span(
            method.full_name, kind=SpanKind.CLIENT, attributes=seen, start_time=self._wall
        )
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span))
        self.metadata = tuple(carrier.items())

    def attempt(self, number: int, error: RpcError | None) -> None:
        """Count the try; one that failed becomes an event. No error on the span yet: the next try may work."""
        self._attempts = number
        if error is not None:
            event: Attributes = {"number": number, "rpc.response.status_code": error.code.name}
            self._span.add_event("invora.attempt", event, self._wall + self._elapsed())

    def end(self, error: BaseException | None) -> None:
        """End the span and record the duration, the same of both."""
        elapsed, ending = self._elapsed(), _ending(error)
        self._span.set_attributes({**ending, "invora.attempts": tries_of(self._attempts, error)})
        if request_id := getattr(error, "request_id", None):
            self._span.set_attribute("invora.request_id", str(request_id))
        if error is not None:
            self._span.set_status(StatusCode.ERROR)
        self._duration.record(elapsed / 1e9, {**self._attributes, **ending}, set_span_in_context(self._span))
        self._span.end(self._wall + elapsed)

    def _elapsed(self) -> int:
        """Nanoseconds, by a clock that nobody sets."""
        return time.perf_counter_ns() - self._began


def _ending(error: BaseException | None) -> Attributes:
    """How a call ended: every status but OK is an error, and one without a status is named by its class."""
    if error is None:
        return {"rpc.response.status_code": "OK"}
    if hasattr(error, "code"):
        return {"rpc.response.status_code": outcome(error), "error.type": outcome(error)}
    return {"error.type": f"{type(error).__module__}.{type(error).__qualname__}"}
