"""What errors say, carry and survive."""

import asyncio
import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

import invora_grpc
from invora_grpc import status
from invora_grpc.cli.doubt import InDoubt
from invora_grpc.errors import ConfigError, InvoraError, RequestError, SignInError, one_line, shown
from invora_grpc.schema.reflection import ReflectionError
from invora_grpc.status import OutcomeUnknown, RpcError, from_rpc_error, from_status

METHOD = "/invora.test.v1.Things/Get"
Behaviour = Callable[[grpc.ServicerContext], None]


# --- a real server that fails as it is told ---


@dataclass(frozen=True, slots=True)
class _Handler(grpc.GenericRpcHandler):
    behave: Behaviour

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def run(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.behave(context)
            return b""

        return grpc.unary_unary_rpc_method_handler(run)


@contextmanager
def serving(behave: Behaviour) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Handler(behave)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def get(channel: Any) -> Any:
    """One call, of a sync or an asyncio channel."""
    return channel.unary_unary(METHOD)(b"", timeout=10)


def failed(behave: Behaviour, **facts: Any) -> RpcError:
    """The typed error of one call over a sync channel."""
    with serving(behave) as address, grpc.insecure_channel(address) as channel:
        try:
            get(channel)
        except grpc.RpcError as error:
            return from_rpc_error(error, method=METHOD, **facts)
    raise AssertionError("the call succeeded")


def rich(code: int, message: str, *details: Message) -> Behaviour:
    proto = status_pb2.Status(code=code, message=message)
    for detail in details:
        proto.details.add().Pack(detail)
    return lambda context: context.abort_with_status(rpc_status.to_status(proto))


def bad_request() -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[
            violation(field="lines[0].price", description="must be positive", reason="PRICE"),
            violation(field="buyer", description="is missing"),
        ]
    )


# --- statuses ---


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_has_a_class_of_its_own_named_like_it(code: grpc.StatusCode) -> None:
    error = from_status(code, "no")
    assert type(error).__name__.lower() == code.name.replace("_", "").lower()
    assert type(error) is not RpcError
    assert error.code is code
    assert error.hint


def test_an_error_is_an_invora_error_and_a_grpc_error() -> None:
    error = failed(lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing"))
    assert isinstance(error, status.NotFound)
    assert isinstance(error, InvoraError)
    assert isinstance(error, grpc.RpcError)


def test_the_line_has_status_method_message_and_the_way_out() -> None:
    error = failed(lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing"))
    assert str(error) == f"NOT_FOUND {METHOD}: no such thing ({error.hint})"


def test_field_violations_are_data_and_stand_in_the_line() -> None:
    error = failed(rich(code_pb2.INVALID_ARGUMENT, "bad", bad_request()))
    assert [(v.field, v.description, v.code) for v in error.field_violations] == [
        ("lines[0].price", "must be positive", "PRICE"),
        ("buyer", "is missing", ""),
    ]
    assert str(error).endswith("; lines[0].price: must be positive; buyer: is missing")


def test_many_violations_are_counted_not_listed() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="f", description="d")
    many = error_details_pb2.BadRequest(field_violations=[violation] * 25)
    error = failed(rich(code_pb2.INVALID_ARGUMENT, "bad", many))
    assert len(error.field_violations) == 25
    assert str(error).endswith("; and 5 more")


def test_standard_details_are_decoded() -> None:
    info = error_details_pb2.ErrorInfo(reason="PLAN", domain="invora.app", metadata={"plan": "free"})
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    error = failed(rich(code_pb2.RESOURCE_EXHAUSTED, "slow down", info, retry))
    assert error.details == (info, retry)
    assert error.error_info == status.ErrorInfo("PLAN", "invora.app", {"plan": "free"})
    assert error.retry_after == 1.5
    assert error.retryable
    assert error.hint == "try again in 1.5 s"


def test_a_validation_error_of_the_platform_is_a_field_violation() -> None:
    detail = _runtime_type("invora.test_errors.v1", "ValidationError", "field", "code", "message")
    error = failed(rich(code_pb2.INVALID_ARGUMENT, "bad", detail(field="total", code="AMOUNT_MISMATCH", message="off")))
    assert error.field_violations == (status.FieldViolation("total", "off", "AMOUNT_MISMATCH"),)


def test_a_detail_of_unknown_type_stays_packed() -> None:
    packed = any_pb2.Any(type_url="type.googleapis.com/invora.nobody.Knows", value=b"\x08\x01")
    proto = status_pb2.Status(code=code_pb2.NOT_FOUND, message="no", details=[packed])
    error = failed(lambda context: context.abort_with_status(rpc_status.to_status(proto)))
    assert error.details == (packed,)


def test_a_detail_with_broken_bytes_stays_packed() -> None:
    packed = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    error = from_status(grpc.StatusCode.NOT_FOUND, details_bin=status_pb2.Status(details=[packed]).SerializeToString())
    assert error.details == (packed,)
    assert error.error_info is None


def test_broken_details_cost_nothing_but_the_details() -> None:
    def behave(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xffnot a message"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "frozen")

    error = failed(behave)
    assert isinstance(error, status.FailedPrecondition)
    assert error.details == ()
    assert error.message == "frozen"


@pytest.mark.parametrize("where", ["initial", "trailing"])
def test_the_request_id_is_found_in_either_metadata(where: str) -> None:
    def behave(context: grpc.ServicerContext) -> None:
        if where == "initial":
            context.send_initial_metadata((("x-request-id", "req-7"),))
        else:
            context.set_trailing_metadata((("x-request-id", "req-7"),))
        context.abort(grpc.StatusCode.INTERNAL, "broke")

    assert failed(behave).request_id == "req-7"


def test_words_of_the_server_cannot_drive_the_terminal() -> None:
    error = failed(
        lambda context: context.abort(grpc.StatusCode.INTERNAL, "\x1b[31mred\x1b[0m\x07\nline two \u202eevil")
    )
    assert error.message == "red line two evil"


def test_an_asyncio_call_gives_the_same_error() -> None:
    async def call(address: str) -> RpcError:
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                await get(channel)
            except grpc.RpcError as error:
                return from_rpc_error(error, method=METHOD, org="org-1")
        raise AssertionError("the call succeeded")

    behave = rich(code_pb2.INVALID_ARGUMENT, "bad", bad_request())
    with serving(behave) as address:
        error = asyncio.run(call(address))
    assert (str(error), error.details) == (str(failed(behave)), failed(behave).details)
    assert error.org == "org-1"
    assert isinstance(error.__cause__, grpc.aio.AioRpcError)


def test_the_original_error_is_the_cause_and_still_answers() -> None:
    error = failed(lambda context: context.abort(grpc.StatusCode.ABORTED, "stale"))
    cause: Any = error.__cause__
    assert cause.code() is grpc.StatusCode.ABORTED
    assert cause.details() == "stale"


def test_a_bare_grpc_error_is_unknown() -> None:
    assert isinstance(from_rpc_error(grpc.RpcError(), method=METHOD), status.Unknown)


def test_the_metadata_of_the_call_is_in_no_traceback() -> None:
    def call(channel: Any) -> None:
        try:
            channel.unary_unary(METHOD)(b"", timeout=10, metadata=(("authorization", "Bearer " + "t0p" + "-secret"),))
        except grpc.RpcError as error:
            raise from_rpc_error(error, method=METHOD) from error

    with (
        serving(lambda context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")) as address,
        grpc.insecure_channel(address) as channel,
        pytest.raises(status.Unauthenticated) as caught,
    ):
        call(channel)
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "UNAUTHENTICATED" in text
    assert "t0p-secret" not in text


# --- the way out ---


def test_permission_denied_names_the_scope_and_the_organization() -> None:
    error = failed(
        lambda context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no"), scope="Invora.Things.Get", org="org-1"
    )
    assert "Invora.Things.Get" in error.hint
    assert "org-1" in error.hint


def test_unauthenticated_names_the_source_of_the_token() -> None:
    error = from_status(grpc.StatusCode.UNAUTHENTICATED, token_source="client credentials of 'abc'")
    assert "client credentials of 'abc'" in str(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.ABORTED, "concurrency stamp is stale: get the record again"),
        (grpc.StatusCode.OUT_OF_RANGE, "begin the list again"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "may still land"),
    ],
)
def test_other_statuses_say_what_to_do(code: grpc.StatusCode, words: str) -> None:
    assert words in from_status(code).hint


def test_a_refused_connection_is_told_apart() -> None:
    with serving(lambda context: None) as address:
        pass
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        get(channel)
    error = from_rpc_error(caught.value, method=METHOD)
    assert isinstance(error, status.Unavailable)
    assert error.hint.startswith("nothing listens there")


def test_tls_towards_a_plaintext_port_is_told_apart() -> None:
    with serving(lambda context: None) as address:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials())
        with channel, pytest.raises(grpc.RpcError) as caught:
            get(channel)
    error = from_rpc_error(caught.value, method=METHOD)
    assert isinstance(error, status.Unavailable)
    assert "TLS" in error.hint


def test_an_answer_over_the_limit_is_no_rate_limit() -> None:
    message = "CLIENT: Received message larger than max (5 vs. 4)"
    assert "smaller pages" in from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, message).hint


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_only_unavailable_is_retryable_without_a_word_of_the_server(code: grpc.StatusCode) -> None:
    assert from_status(code).retryable is (code is grpc.StatusCode.UNAVAILABLE)


# --- what errors survive ---


def _kinds(base: type[InvoraError] = InvoraError) -> Iterator[type[InvoraError]]:
    """Every error class of the package."""
    for module in pkgutil.walk_packages(invora_grpc.__path__, "invora_grpc."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    yield base
    for kind in base.__subclasses__():
        if kind.__module__.startswith("invora_grpc."):
            yield from _kinds(kind)


_ARGUMENTS: dict[str, Any] = {
    "code": grpc.StatusCode.OUT_OF_RANGE,
    "value": Decimal("1.5"),
    "status": 401,
    "numbers": (4, 7),
    "pages": 2,
    "reason": "malformed",
    "page": 2,
    "items": 50,
    "keys": ("K",),
    "details_bin": b"",
    "trailing_metadata": (("x", "y"),),
}


def _made(kind: type[InvoraError]) -> InvoraError:
    """An error of this kind, with every argument filled."""
    if "__init__" not in vars(kind) and kind.__mro__[1] in (InvoraError, Exception):
        return kind("words")
    taken = inspect.signature(kind).parameters.values()
    values = {one.name: _ARGUMENTS.get(one.name, f"<{one.name}>") for one in taken}
    if "cause" in values:
        values["cause"] = from_status(grpc.StatusCode.OUT_OF_RANGE, "gone", method=METHOD, org="o", request_id="r")
    if "error" in values:
        cause = from_status(grpc.StatusCode.UNAVAILABLE, "gone", method=METHOD)
        reflection = ReflectionError("https://gateway", "timeout", ["v1: no answer"])
        values["error"] = OutcomeUnknown(cause, keys=("K",)) if kind is InDoubt else reflection
    positional = [values.pop(one.name) for one in taken if one.kind is one.POSITIONAL_OR_KEYWORD]
    return kind(*positional, **values)


@pytest.mark.parametrize("kind", list(dict.fromkeys(_kinds())), ids=lambda kind: kind.__name__)
def test_every_error_pickles_and_copies_to_its_equal(kind: type[InvoraError]) -> None:
    error = _made(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (again, str(again), hash(again)) == (error, str(error), hash(error))
        assert again.__dict__.keys() == error.__dict__.keys()


def test_errors_that_say_different_things_are_not_equal() -> None:
    one, other = (RequestError("f", value, "give an int") for value in (1, 2))
    assert one != other
    assert from_status(grpc.StatusCode.NOT_FOUND, "x") != from_status(grpc.StatusCode.NOT_FOUND, "x", request_id="r")
    assert InvoraError("x") != ValueError("x")


def test_details_survive_a_pickle_even_of_types_made_at_run_time() -> None:
    detail = _runtime_type("invora.test_errors.v2", "ValidationError", "field", "code", "message")(field="f")
    error = failed(rich(code_pb2.INVALID_ARGUMENT, "bad", detail))
    assert pickle.loads(pickle.dumps(error)).details == error.details == (detail,)


def test_a_value_that_does_not_pickle_travels_as_it_was_shown() -> None:
    again = pickle.loads(pickle.dumps(RequestError("f", lambda: 1, "give a string")))
    assert again.value.startswith("<function")
    assert again.path == "f"


# --- single lines ---


def test_a_config_error_names_setting_value_and_way_out() -> None:
    error = ConfigError("endpoint", "ftp://x", "use https://host", problem="has the scheme 'ftp'")
    assert str(error) == "endpoint: 'ftp://x' has the scheme 'ftp'; use https://host"
    assert isinstance(error, ValueError)


def test_a_request_error_names_path_value_and_way_out() -> None:
    error = RequestError("lines[0].unit_price", 1.5, "give a Decimal", problem="is a float")
    assert str(error) == "lines[0].unit_price: 1.5 is a float; give a Decimal"


def test_a_sign_in_error_names_issuer_grant_status_and_code() -> None:
    error = SignInError(
        "refused", issuer="https://i", grant="g", status=401, oauth_error="invalid_client", hint="check"
    )
    assert str(error) == "sign-in at https://i (g): refused (HTTP 401, invalid_client); check"


@pytest.mark.parametrize("value", ["a\nb\x1b[31m" * 100, b"\0" * 10_000, 10**3000, ["x" * 500] * 50, object()])
def test_a_shown_value_is_short_and_one_printable_line(value: object) -> None:
    assert len(shown(value)) <= 80
    assert shown(value).isprintable()


def test_a_value_whose_repr_fails_is_still_shown() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Broken" in str(RequestError("f", Broken(), "give a string"))


def test_letters_of_every_script_stay() -> None:
    assert one_line("فاتورة\u200f غير صالحة") == "فاتورة\u200f غير صالحة"


def test_config_and_errors_and_auth_load_no_heavy_library() -> None:
    code = (
        "import sys, invora_grpc.config, invora_grpc.errors, invora_grpc.auth\n"
        "print([m for m in ('grpc', 'google.protobuf', 'httpx', 'ssl', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _runtime_type(package: str, name: str, *fields: str) -> Callable[..., Message]:
    """A message type of string fields in the default pool, as generated code would register it."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.{name}.proto", package=package, syntax="proto3")
    message = file.message_type.add(name=name)
    kind = descriptor_pb2.FieldDescriptorProto
    for number, field in enumerate(fields, 1):
        message.field.add(name=field, number=number, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    descriptor_pool.Default().Add(file)
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"{package}.{name}"))
