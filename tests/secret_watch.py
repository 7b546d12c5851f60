"""Looks for secrets wherever words come out: logs at DEBUG, warnings, spans, metrics, and errors from every side."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from invora_grpc.telemetry import OpenTelemetry

TESTS = str(Path(__file__).parent)


class Watch(logging.Handler):
    """Collects words. What the tests' own frames hold does not count: they made the secrets up."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.words: list[str] = []
        """Everything that nobody should find a token in."""
        self.frames: list[str] = []
        """Local variables of the frames below: they hold requests, but must hold no token either."""
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.observer = OpenTelemetry(tracers, MeterProvider([self._metrics], shutdown_on_exit=False))

    def emit(self, record: logging.LogRecord) -> None:
        self.words += [logging.Formatter().format(record), repr(record.__dict__)]

    def failure(self, work: Callable[[], object]) -> Exception:
        """The error that the work ends in, looked at from every side."""
        try:
            found = work()
        except Exception as error:
            self.error(error)
            return error
        raise AssertionError(f"no error, but {found!r}")

    def error(self, error: BaseException | None) -> None:
        """Look at an error, and at all that it came from."""
        seen: set[int] = set()
        todo = [error]
        while todo:
            one = todo.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            self.words += [str(one), repr(one), repr(one.args), repr(vars(one)), *traceback.format_exception(one)]
            stack = traceback.TracebackException.from_exception(one, capture_locals=True).stack
            self.frames += [f"{f.name}: {f.locals}" for f in stack if not f.filename.startswith(TESTS)]
            todo += [one.__cause__, one.__context__]
        self.pickled(error)

    def pickled(self, thing: object) -> None:
        """Look into the pickle of a thing, if it has one."""
        try:
            self.words.append(pickle.dumps(thing).decode("latin-1"))
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            self.words.append(str(error))

    def look(self) -> str:
        """All words up to now."""
        self.words += [span.to_json() for span in self._spans.get_finished_spans()]
        data: Any = self._metrics.get_metrics_data()
        self.words.append("" if data is None else data.to_json())
        return "\n".join(self.words)


@contextmanager
def watching(*secrets: str, bodies: tuple[str, ...] = ()) -> Iterator[Watch]:
    """Fails at the end if one of the secrets was to be seen anywhere, or a body anywhere but in local variables."""
    watch, root = Watch(), logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield watch
    finally:
        root.setLevel(level)
        root.removeHandler(watch)
    watch.words += [str(warning) for warning in warned]
    words = watch.look()
    for word in (*secrets, *bodies):
        assert word not in words, words[max(0, words.index(word) - 300) : words.index(word) + 100]
    frames = "\n".join(watch.frames)
    for word in secrets:
        assert word not in frames, frames[max(0, frames.index(word) - 600) : frames.index(word) + 100]
