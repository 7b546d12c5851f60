"""Carrying out a call: one try, and the steps of `recover`. Once with threads, once with asyncio.

This room sends, waits, and asks for tokens. It decides nothing: that is `invora_grpc.retry`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from invora_grpc.attempt import Attempt
from invora_grpc.idempotency import RecentKeys
from invora_grpc.retry import Look, Pause, Reconciliation, Renew, Step, Steps, reconcile, recover
from invora_grpc.status import OutcomeUnknown, RpcError

__all__ = ["aend", "arecovered", "asend", "end", "off_loop", "recovered", "send"]

Try = Callable[[float | None], Any]
"""Sends once, within so many seconds: the response, or the typed error."""
AsyncTry = Callable[[float | None], Awaitable[Any]]


# --- threads ------------------------------------------------------------------------------------------------------


def send(call: Attempt, timeout: float | None) -> Any:
    """One try of a unary call: the response, or the typed error. Raises what is neither."""
    options, inflight = call.options, call.connection.inflight
    inflight.append(None)
    try:
        answer = call.link.send(call.data, timeout, call.metadata(), None, options.wait_for_ready, options.compression)
    except BaseException as error:
        failure = error
    else:
        call.worked()
        return answer
    finally:
        inflight.pop()
    return call.failed(failure)


def recovered(call: Attempt, error: RpcError, started: float, again: Try) -> Any:
    """What comes of a call whose first try failed. Raises its error, or OutcomeUnknown."""
    if call.settled(error):
        raise error
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
    told: Any = None
    while True:
        try:
            step = steps.send(told)
        except StopIteration as over:
            return over.value
        told = _carry_out(step, call, again)


def _carry_out(step: Step, call: Attempt, again: Try) -> Any:
    if isinstance(step, Pause):
        return call.connection.sleep(step.seconds)
    if isinstance(step, Renew):
        refused = call.secret
        call.secret = call.options.tokens.token(force=True, rejected=refused)
        return call.secret != refused
    if isinstance(step, Look):
        look = call.look(step)
        look.secret = look.options.peek() or look.options.tokens.token()
        return send(look, look.options.timeout if call.deadline is None else call.left())
    return again(call.left())


# --- asyncio ------------------------------------------------------------------------------------------------------


async def asend(call: Attempt, timeout: float | None) -> Any:
    """As `send`, for the channel of asyncio."""
    options, inflight = call.options, call.connection.inflight
    inflight.append(None)
    try:
        answer = await call.link.send(
            call.data,
            timeout=timeout,
            metadata=call.metadata(),
            wait_for_ready=options.wait_for_ready,
            compression=options.compression,
        )
    except BaseException as error:
        failure = error
    else:
        call.worked()
        return answer
    finally:
        inflight.pop()
    return call.failed(failure)


async def arecovered(call: Attempt, error: RpcError, started: float, again: AsyncTry) -> Any:
    """As `recovered`."""
    if call.settled(error):
        raise error
    outcome = call.in_doubt(started)
    try:
        return await _adrive(recover(outcome, error), call, again)
    except OutcomeUnknown as unknown:
        if outcome.keys:
            unknown._look = partial(_areconciled, call, call.settled_at())
        raise


async def aend(call: Attempt, error: BaseException | None, how: str) -> None:
    """As `end`. A ledger on disk is asked in a thread, and to the end even if the task is cancelled."""
    if call.claim is not None:
        tell = partial(getattr(call.connection.ledger, how), call.claim)
        await off_loop(call.connection.ledger, tell)
    if call.seen is not None:
        call.seen.end(error)


async def off_loop(ledger: object, step: Callable[[], Any]) -> Any:
    """What a ledger says: at once if it is in memory, else from a thread."""
    if isinstance(ledger, RecentKeys):
        return step()
    return await asyncio.shield(asyncio.to_thread(step))


async def _areconciled(call: Attempt, settled_at: float) -> Reconciliation:
    assert call.outcome is not None
    call.restart()
    found: Reconciliation = await _adrive(reconcile(call.outcome, settled_at), call, partial(asend, call))
    if call.claim is not None and found.happened is not None:
        ledger = call.connection.ledger
        await off_loop(ledger, partial(ledger.done if found.happened else ledger.failed, call.claim))
    return found


async def _adrive(steps: Steps, call: Attempt, again: AsyncTry) -> Any:
    told: Any = None
    while True:
        try:
            step = steps.send(told)
        except StopIteration as over:
            return over.value
        told = await _acarry_out(step, call, again)


async def _acarry_out(step: Step, call: Attempt, again: AsyncTry) -> Any:
    if isinstance(step, Pause):
        return await call.connection.sleep(step.seconds)
    if isinstance(step, Renew):
        refused = call.secret
        call.secret = await call.options.tokens.token(force=True, rejected=refused)
        return call.secret != refused
    if isinstance(step, Look):
        look = call.look(step)
        look.secret = look.options.peek() or await look.options.tokens.token()
        return await asend(look, look.options.timeout if call.deadline is None else call.left())
    return await again(call.left())
