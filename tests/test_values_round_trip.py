"""What `to_python` gives, `build` turns into the same message again: for random messages with every kind of field."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from values_random import JSON, messages
from values_schema import Choice, Everything, Kinds, Lists, Maps, Order, Present, Scalars, Wrapped

from invora_grpc.errors import RequestError
from invora_grpc.values import build, to_json, to_python


@pytest.mark.parametrize("message_class", [Scalars, Present, Lists, Maps, Kinds, Wrapped, Choice, Order, Everything])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_read_builds_the_same_message(message_class: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(message_class))
    assert build(message_class, to_python(message)) == message


@given(messages(Everything))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_read_as_json_is_json(message: Message) -> None:
    plain = to_json(message)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@given(messages(Kinds))
@settings(max_examples=60, deadline=None)
def test_a_copy_is_the_same_message(message: Message) -> None:
    assert build(type(message), message) == message


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in Kinds.DESCRIPTOR.fields]), JSON | st.integers() | st.binary()
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_written_is_built_or_refused_with_a_path(values: dict[str, object]) -> None:
    path = ""
    try:
        build(Kinds, values).SerializeToString()
    except RequestError as error:
        path = error.path
    assert not path or path.startswith(tuple(values))
