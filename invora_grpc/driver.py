"""Carrying out a call: one try, and the steps of `recover`. Once with threads, once with asyncio.

This room sends, waits, and asks for tokens. It decides nothing: that is `invora_grpc.retry`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from invora_grpc.attempt import ALWAYS, Attempt
from invora_grpc.call import CallOptions, question
from invora_grpc.catalog import Method
from invora_grpc.config import Secret
from invora_grpc.connection import Connection, Link
from invora_grpc.errors import ConfigError
from invora_grpc.idempotency import Claim, Ledger, RecentKeys
from invora_grpc.retry import Look, Pause, Reconciliation, Renew, Step, Steps, reconcile, recover
from invora_grpc.status import OutcomeUnknown, RpcError

if TYPE_CHECKING:
    from invora_grpc.schema.descriptors import Schema

__all__ = [
    "aclaim",
    "aend",
    "arecovered",
    "asend",
    "averified",
    "awaited",
    "cancelled_by_others",
    "end",
    "linked",
    "recovered",
    "send",
    "verified",
    "waited",
]

Try = Callable[[float | None], Any]
"""Sends once, within so many seconds: the response, or the typed error."""
AsyncTry = Callable[[float | None], Awaitable[Any]]


# --- threads ------------------------------------------------------------------------------------------------------


def waited(call: Attempt, started: float) -> float | None:
    """Wait until the call may be sent, and get its token. Seconds that are left then; None: no deadline.

    `started`: by the connection's clock. Raises ResourceExhausted or DeadlineExceeded if nothing is left, and what the
    token source raises.
    """
    if call.connection.pauses and (pause := call.pause()):
        call.connection.sleep(pause)
    call.secret = call.options.peek() or call.options.tokens.token()
    return call.first_left(started)


def send(call: Attempt, timeout: float | None) -> Any:
    """One try of a unary call: the response, or the typed error. Raises what is neither, and SchemaError, before
    anything is sent, if the gateway's schema is in the way."""
    options, inflight, link = call.options, call.connection.inflight, call.link
    begun = call.connection.clock()
    if link.until != ALWAYS and call.unsure(begun):
        if (refusal := verified(call, timeout)) is not None:
            return refusal
        timeout, link = call.rest(timeout, begun), call.link
        begun = call.connection.clock()
    data = call.data if link.encode is None else call.encoded()
    inflight.append(None)
    try:
        answer = link.send(data, timeout, call.metadata(), None, options.wait_for_ready, options.compression)
    except BaseException as error:
        failure = error
    else:
        call.worked()
        return answer
    finally:
        inflight.pop()
    return send(call, call.rest(timeout, begun)) if call.elsewhere(answer := call.failed(failure)) else answer


def verified(call: Attempt, timeout: float | None) -> RpcError | None:
    """See to it that the gateway understands the call, by asking for its schema if need be. One caller at a time asks.

    Returns the typed error of what went wrong with asking: the call was not sent then, and may be tried again. Raises
    SchemaError if it must not be sent.
    """
    from invora_grpc.schema.asking import reflect  # not for clients that trust the compiled schema
    from invora_grpc.schema.reflection import ReflectionError

    connection, method, asked = call.connection, call.link.method, False
    truth, begun, inflight = connection.truth, connection.clock(), connection.inflight
    if not truth.lock.acquire(timeout=-1 if timeout is None else timeout):
        return call.unsent("the gateway has not yet answered what its schema is")
    inflight.append(None)
    try:
        connection.suspect()
        while wanted := truth.wanted(method, call.caller):
            asked = True
            try:
                truth.learn(wanted, reflect(connection.channel(), **call.question(wanted, timeout, begun)))
            except ReflectionError as error:
                if not truth.refused(error, call.caller):
                    return call.unseen(error)
        call.link = connection.verified(method)
        return call.cut_short() if asked and not connection.stands() else None
    finally:
        inflight.pop()
        truth.lock.release()


def recovered(call: Attempt, error: RpcError, started: float, again: Try) -> Any:
    """What comes of a call whose first try failed. Raises its error, or OutcomeUnknown."""
    if call.settled(error):
        try:
            raise error
        finally:
            del error  # else a cycle: its traceback holds this frame
    outcome = call.in_doubt(started)
    try:
        return _drive(recover(outcome, error), call, again)
    except OutcomeUnknown as unknown:
        if outcome.keys:
            unknown._look = partial(_reconciled, call, call.settled_at())
        raise


def end(call: Attempt, error: BaseException | None, how: str) -> None:
    """Tell the ledger (`how`: done, failed or unknown) and the observers how the call ended."""
    if call.claim is not None:
        getattr(call.connection.ledger, how)(call.claim)
    if call.seen is not None:
        call.seen.end(error)


def _reconciled(call: Attempt, settled_at: float) -> Reconciliation:
    assert call.outcome is not None
    call.restart()
    found: Reconciliation = _drive(reconcile(call.outcome, settled_at), call, partial(send, call))
    if call.claim is not None and found.happened is not None:
        getattr(call.connection.ledger, "done" if found.happened else "failed")(call.claim)
    return found


def _drive(steps: Steps, call: Attempt, again: Try) -> Any:
    """Do what the steps ask for, to their end."""
    go_on: Callable[[], Step] = partial(next, steps)
    while True:
        try:
            step = go_on()
        except StopIteration as over:
            return over.value
        try:
            go_on = partial(steps.send, _carry_out(step, call, again))
        except Exception as error:
            go_on = partial(steps.throw, error)


def _carry_out(step: Step, call: Attempt, again: Try) -> Any:
    if isinstance(step, Pause):
        return call.connection.sleep(step.seconds)
    if isinstance(step, Renew):
        refused = call.secret
        call.secret = call.options.tokens.token(force=True, rejected=refused)
        return call.secret != refused
    if isinstance(step, Look):
        look = call.look(call.connection.link(step.method), step)
        look.secret = look.options.peek() or look.options.tokens.token()
        return send(look, look.options.timeout if call.deadline is None else call.left())
    return again(call.left())


def reflected(connection: Connection, options: CallOptions, services: Iterable[str] | None, metadata: object) -> Schema:
    """The gateway's own schema. Asked once more with a fresh token if the gateway refuses the one that it got."""
    from invora_grpc.schema.asking import reflect
    from invora_grpc.schema.descriptors import Schema
    from invora_grpc.schema.reflection import ReflectionError

    url, secret = connection.settings.target.url, options.peek() or options.tokens.token()
    connection.about_to_ask()
    try:
        served = reflect(connection.channel(), **question(options, secret, services, metadata, url))
    except ReflectionError as error:
        renewed = options.tokens.token(force=True, rejected=secret) if error.reason == "unauthenticated" else secret
        if renewed == secret:
            raise
        served = reflect(connection.channel(), **question(options, renewed, services, metadata, url))
    return Schema(served.files, source=url, listed=served.listed, failures=served.failures)


# --- asyncio ------------------------------------------------------------------------------------------------------


def linked(connection: Connection, method: Method) -> Link:
    """The RPC over a channel of the running event loop. Raises ConfigError if the client's own is another one."""
    own_loop(connection)
    return connection.links.get(method.key) or connection.link(method)


def own_loop(connection: Connection) -> None:
    """See to it that the channel is, or will be, one of the running event loop. Raises ConfigError."""
    loop = asyncio.get_running_loop()
    if connection.loop is not loop:
        if connection.loop is not None and not connection.loop.is_closed():
            hint = "make one client per event loop"
            raise ConfigError("event loop", None, hint, "is another one than that of this client's first call")
        connection.forget_channel()
        connection.loop = loop


def cancelled_by_others(error: BaseException) -> bool:
    """Whether gRPC's call was cancelled, and not the task that waits for it: grpc.aio raises the same for both."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and not (task is not None and task.cancelling())


async def awaited(call: Attempt, started: float) -> float | None:
    """As `waited`. A token that does not come until the deadline is not waited for."""
    if call.connection.pauses and (pause := call.pause()):
        await call.connection.sleep(pause)
    call.secret = call.options.peek() or await _token(call, call.first_left(started))
    return call.first_left(started)


async def _token(call: Attempt, timeout: float | None, *refused: Any) -> Secret:
    """A token within so many seconds; `refused`: as the source wants to hear it. Raises DeadlineExceeded."""
    waiting = asyncio.timeout(timeout)
    try:
        async with waiting:
            token: Secret = await call.options.tokens.token(*refused)
    except TimeoutError:
        if waiting.expired():
            raise call.too_late() from None
        raise
    return token


async def asend(call: Attempt, timeout: float | None) -> Any:
    """As `send`, for the channel of asyncio."""
    options, inflight, link = call.options, call.connection.inflight, call.link
    begun = call.connection.clock()
    if link.until != ALWAYS and call.unsure(begun):
        if (refusal := await averified(call, timeout)) is not None:
            return refusal
        timeout, link = call.rest(timeout, begun), call.link
        begun = call.connection.clock()
    data = call.data if link.encode is None else call.encoded()
    inflight.append(None)
    try:
        answer = await link.send(
            data,
            timeout=timeout,
            metadata=call.metadata(),
            wait_for_ready=options.wait_for_ready,
            compression=options.compression,
        )
    except BaseException as error:
        failure = error
    else:
        message = call.read(answer)
        if not isinstance(message, RpcError):
            call.worked()
        return message
    finally:
        inflight.pop()
    if cancelled_by_others(failure):
        return call.cut()
    return await asend(call, call.rest(timeout, begun)) if call.elsewhere(answer := call.failed(failure)) else answer


async def averified(call: Attempt, timeout: float | None) -> RpcError | None:
    """As `verified`, with one task at a time asking."""
    from invora_grpc.schema.asking import areflect
    from invora_grpc.schema.reflection import ReflectionError

    connection, method, asked = call.connection, call.link.method, False
    truth, begun = connection.truth, connection.clock()
    asking = connection.asking = connection.asking or asyncio.Lock()
    waiting = asyncio.timeout(timeout)
    try:
        async with waiting, asking:
            connection.suspect()
            while wanted := truth.wanted(method, call.caller):
                asked = True
                try:
                    truth.learn(wanted, await areflect(connection.channel(), **call.question(wanted, timeout, begun)))
                except ReflectionError as error:
                    if not truth.refused(error, call.caller):
                        return call.unseen(error)
            call.link = connection.verified(method)
            if asked and not connection.stands():
                return call.cut_short()
    except TimeoutError:
        if waiting.expired():
            return call.unsent("the gateway has not yet answered what its schema is")
        raise
    return None


async def arecovered(call: Attempt, error: RpcError, started: float, again: AsyncTry) -> Any:
    """As `recovered`."""
    if call.settled(error):
        try:
            raise error
        finally:
            del error  # else a cycle: its traceback holds this frame
    outcome = call.in_doubt(started)
    try:
        return await _adrive(recover(outcome, error), call, again)
    except OutcomeUnknown as unknown:
        if outcome.keys:
            unknown._look = partial(_areconciled, call, call.settled_at())
        raise


async def aend(call: Attempt, error: BaseException | None, how: str) -> None:
    """As `end`. A ledger on disk is told in a thread, and to the end even if the task is cancelled."""
    try:
        if call.claim is not None:
            await _tell(call.connection.ledger, partial(getattr(call.connection.ledger, how), call.claim))
    finally:
        if call.seen is not None:
            call.seen.end(error)


async def aclaim(ledger: Ledger, *what: Any) -> Claim:
    """A claim of a ledger: made at once if it is in memory, else in a thread. `what`: the arguments of `Ledger.claim`.

    If the task is cancelled meanwhile, nothing is sent under the claim, and it is given back.
    """
    if isinstance(ledger, RecentKeys):
        return ledger.claim(*what)
    made: Future[Claim] = Future()
    asyncio.get_running_loop().run_in_executor(None, _fulfil, made, partial(ledger.claim, *what))
    try:
        return await asyncio.shield(asyncio.wrap_future(made))
    except asyncio.CancelledError:
        made.add_done_callback(partial(_give_back, ledger))
        raise


def _fulfil(promise: Future[Claim], step: Callable[[], Claim]) -> None:
    try:
        promise.set_result(step())
    except BaseException as error:
        promise.set_exception(error)


def _give_back(ledger: Ledger, made: Future[Claim]) -> None:
    if made.exception() is None:
        ledger.failed(made.result())


async def _tell(ledger: Ledger, step: Callable[[], None]) -> None:
    if isinstance(ledger, RecentKeys):
        step()
    else:
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, step))


async def _areconciled(call: Attempt, settled_at: float) -> Reconciliation:
    assert call.outcome is not None
    call.restart()
    found: Reconciliation = await _adrive(reconcile(call.outcome, settled_at), call, partial(asend, call))
    if call.claim is not None and found.happened is not None:
        ledger = call.connection.ledger
        await _tell(ledger, partial(ledger.done if found.happened else ledger.failed, call.claim))
    return found


async def _adrive(steps: Steps, call: Attempt, again: AsyncTry) -> Any:
    go_on: Callable[[], Step] = partial(next, steps)
    while True:
        try:
            step = go_on()
        except StopIteration as over:
            return over.value
        try:
            go_on = partial(steps.send, await _acarry_out(step, call, again))
        except Exception as error:
            go_on = partial(steps.throw, error)


async def _acarry_out(step: Step, call: Attempt, again: AsyncTry) -> Any:
    if isinstance(step, Pause):
        return await call.connection.sleep(step.seconds)
    if isinstance(step, Renew):
        refused = call.secret
        call.secret = await _token(call, call.left(), True, refused)
        return call.secret != refused
    if isinstance(step, Look):
        look = call.look(linked(call.connection, step.method), step)
        look.secret = look.options.peek() or await _token(look, call.left())
        return await asend(look, look.options.timeout if call.deadline is None else call.left())
    return await again(call.left())


async def areflected(
    connection: Connection, options: CallOptions, services: Iterable[str] | None, metadata: object
) -> Schema:
    """As `reflected`."""
    from invora_grpc.schema.asking import areflect
    from invora_grpc.schema.descriptors import Schema
    from invora_grpc.schema.reflection import ReflectionError

    own_loop(connection)
    url, secret = connection.settings.target.url, options.peek() or await options.tokens.token()
    connection.about_to_ask()
    try:
        served = await areflect(connection.channel(), **question(options, secret, services, metadata, url))
    except ReflectionError as error:
        renewed = await options.tokens.token(True, secret) if error.reason == "unauthenticated" else secret
        if renewed == secret:
            raise
        served = await areflect(connection.channel(), **question(options, renewed, services, metadata, url))
    return Schema(served.files, source=url, listed=served.listed, failures=served.failures)
