"""Spans and metrics of OpenTelemetry: their names and values, and the trace that goes along. With the real SDK."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway
from opentelemetry import baggage, context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from invora_grpc import Invora, NotFound
from invora_grpc.catalog import catalog
from invora_grpc.config import parse_endpoint
from invora_grpc.errors import SignInError
from invora_grpc.status import Unavailable
from invora_grpc.telemetry import OpenTelemetry

GET = "/invora.billing.customers.v2.CustomerService/Get"
LIST_METHOD = "invora.billing.customers.v2.CustomerService/List"
TARGET = parse_endpoint("https://gw.example:8443")


class Collected:
    """Providers of the test's own, and what they were given."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer = OpenTelemetry(self.tracers, self.meters)

    @property
    def span(self) -> ReadableSpan:
        (only,) = self._exporter.get_finished_spans()
        return only

    @property
    def metric(self) -> Any:
        """The one metric that there is."""
        data: Any = self._reader.get_metrics_data()
        ((metric,),) = [
            [metric for scope in found.scope_metrics for metric in scope.metrics] for found in data.resource_metrics
        ]
        return metric

    @property
    def point(self) -> Any:
        (only,) = self.metric.data.data_points
        return only


@pytest.fixture
def otel() -> Collected:
    return Collected()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: Gateway, otel: Collected) -> Iterator[Invora]:
    with Invora(endpoint=gateway.url, token="t", observer=otel.observer) as made:
        yield made


def observed(otel: Collected, *tries: Any, error: BaseException | None = None, org: str | None = None) -> None:
    """A call as an observer is told about it."""
    method = catalog().method("/" + LIST_METHOD)
    seen = otel.observer.call(method, org, TARGET)
    for number, failure in enumerate(tries, 1):
        seen.attempt(number, failure)
    seen.end(error)


# --- spans ---


def test_a_call_is_one_client_span_named_after_its_method(otel: Collected) -> None:
    observed(otel, None)
    assert (otel.span.name, otel.span.kind) == (LIST_METHOD, SpanKind.CLIENT)


def test_a_span_says_what_the_conventions_want(otel: Collected) -> None:
    observed(otel, None)
    assert otel.span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": LIST_METHOD,
        "server.address": "gw.example",
        "server.port": 8443,
        "rpc.response.status_code": "OK",
        "invora.attempts": 1,
    }
    assert otel.span.status.status_code is StatusCode.UNSET
    scope: Any = otel.span.instrumentation_scope
    assert (scope.name, scope.schema_url) == ("invora_grpc", "https://opentelemetry.io/schemas/1.44.0")


def test_the_organization_is_an_attribute_of_the_span_and_not_of_the_metric(otel: Collected) -> None:
    observed(otel, None, org="tnt_1")
    assert (otel.span.attributes or {})["invora.org"] == "tnt_1"
    assert "invora.org" not in otel.point.attributes


def test_an_error_is_named_by_its_status_and_its_words_stay_out(otel: Collected) -> None:
    error = Unavailable(grpc.StatusCode.UNAVAILABLE, "s3cret words", request_id="req-7")
    observed(otel, error, error=error)
    attributes = otel.span.attributes or {}
    assert (attributes["rpc.response.status_code"], attributes["error.type"]) == ("UNAVAILABLE", "UNAVAILABLE")
    assert attributes["invora.request_id"] == "req-7"
    assert otel.span.status.status_code is StatusCode.ERROR
    assert "s3cret" not in otel.span.to_json()


def test_an_error_without_a_status_is_named_by_its_class(otel: Collected) -> None:
    observed(otel, error=SignInError("no", issuer="i", grant="g"))
    attributes = otel.span.attributes or {}
    assert attributes["error.type"] == "invora_grpc.errors.SignInError"
    assert "rpc.response.status_code" not in attributes
    assert attributes["invora.attempts"] == 0


def test_a_try_that_failed_is_an_event_and_no_error_of_a_call_that_worked(otel: Collected) -> None:
    observed(otel, Unavailable(grpc.StatusCode.UNAVAILABLE, "s3cret words"), None)
    (event,) = otel.span.events
    assert event.name == "invora.attempt"
    assert event.attributes == {"number": 1, "rpc.response.status_code": "UNAVAILABLE"}
    assert (otel.span.attributes or {})["invora.attempts"] == 2
    assert otel.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in (otel.span.attributes or {})


def test_a_span_is_a_child_of_the_one_that_is_current(otel: Collected) -> None:
    with otel.tracers.get_tracer("test").start_as_current_span("parent", end_on_exit=False) as parent:
        observed(otel, None)
    assert otel.span.parent == parent.get_span_context()


# --- metrics ---


def test_the_duration_is_a_histogram_in_seconds(otel: Collected) -> None:
    observed(otel, None)
    assert (otel.metric.name, otel.metric.unit) == ("rpc.client.call.duration", "s")
    assert otel.point.explicit_bounds[0] == 0.005
    assert dict(otel.point.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": LIST_METHOD,
        "server.address": "gw.example",
        "server.port": 8443,
        "rpc.response.status_code": "OK",
    }


def test_span_and_metric_agree_on_duration_and_error(otel: Collected) -> None:
    error = Unavailable(grpc.StatusCode.UNAVAILABLE, "")
    observed(otel, error, error=error)
    assert otel.span.end_time is not None and otel.span.start_time is not None
    assert otel.point.sum == pytest.approx((otel.span.end_time - otel.span.start_time) / 1e9)
    assert otel.point.attributes["error.type"] == (otel.span.attributes or {})["error.type"] == "UNAVAILABLE"


# --- with the client ---


def test_a_call_of_the_client_has_its_span(client: Invora, otel: Collected, gateway: Gateway) -> None:
    client.for_org("tnt_1").billing.customers.list()
    attributes = otel.span.attributes or {}
    assert attributes["rpc.method"] == LIST_METHOD
    assert attributes["invora.org"] == "tnt_1"
    assert f"{attributes['server.address']}:{attributes['server.port']}" == gateway.address


def test_an_error_of_the_client_is_on_its_span(client: Invora, otel: Collected, gateway: Gateway) -> None:
    gateway.answers[GET] = lambda request, context: context.abort(grpc.StatusCode.NOT_FOUND, "no such s3cret")
    with pytest.raises(NotFound):
        client.billing.customers.get()
    assert (otel.span.attributes or {})["error.type"] == "NOT_FOUND"
    assert "s3cret" not in otel.span.to_json()


def test_the_gateway_is_told_the_trace(client: Invora, otel: Collected, gateway: Gateway) -> None:
    client.billing.customers.list()
    trace: Any = otel.span.context
    sent = f"00-{trace.trace_id:032x}-{trace.span_id:016x}-{trace.trace_flags:02x}"
    assert gateway.received[0].metadata["traceparent"] == sent


def test_the_gateway_is_not_told_the_baggage(client: Invora, gateway: Gateway) -> None:
    token = context.attach(baggage.set_baggage("user", "s3cret"))
    try:
        client.billing.customers.list()
    finally:
        context.detach(token)
    assert "baggage" not in gateway.received[0].metadata


def test_the_span_of_a_stream_ends_with_the_stream(client: Invora, otel: Collected) -> None:
    assert list(client.invoicing.documents.list_stream()) == []
    assert (otel.span.attributes or {})["rpc.response.status_code"] == "OK"


# --- without an SDK, without the package, in a pickle ---


def test_without_an_sdk_nothing_is_recorded_and_nothing_is_sent(gateway: Gateway) -> None:
    with Invora(endpoint=gateway.url, token="t", observer=OpenTelemetry()) as client:
        client.billing.customers.list()
    assert "traceparent" not in gateway.received[0].metadata


def test_without_the_package_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try:\n    import invora_grpc.telemetry\nexcept ImportError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "pip install 'invora-grpc[telemetry]'" in said


def test_it_pickles_by_its_providers() -> None:
    assert type(pickle.loads(pickle.dumps(OpenTelemetry()))) is OpenTelemetry
