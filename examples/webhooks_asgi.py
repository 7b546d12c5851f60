"""A webhook endpoint as an ASGI application, without a framework.

    INVORA_WEBHOOK_SECRET=... python examples/webhooks_asgi.py 8000        # or any ASGI server, and webhooks_asgi:app

INVORA_WEBHOOK_SECRET may hold two secrets, separated by a space, while the endpoint's is rotated.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from invora_grpc.webhooks import MAX_BODY, RETRY_SPAN, BodyTooLarge, Deliveries, MalformedBody, Receiver, WebhookError

if TYPE_CHECKING:
    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent

Message = MutableMapping[str, Any]
RECEIVER = Receiver(secret=os.environ["INVORA_WEBHOOK_SECRET"].split(), max_age=RETRY_SPAN)
DELIVERIES = Deliveries(os.environ.get("INVORA_WEBHOOK_STORE", "webhooks/handled.sqlite"))


def handle(event: BillingWebhookEvent) -> None:
    """Your part. It has 15 seconds: put what takes longer into a queue that survives a restart."""
    print("handled", event.webhook_type, event.WhichOneof("payload"), flush=True)


def process(body: bytes, scope: Message) -> None:
    """In a thread of its own: the store of handled deliveries is a file, and files block."""
    delivery = RECEIVER.receive(body, scope["headers"])
    with DELIVERIES.once(delivery) as first:
        if first:
            handle(delivery.event)


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    """What `handle` raises goes on to the server, which answers 500; the platform then tries again."""
    if scope["type"] != "http":
        return
    status, text = 200, "ok"
    try:
        if scope["method"] != "POST":
            status, text = 405, "POST only"
        else:
            await asyncio.to_thread(process, await read_body(receive), scope)
    except WebhookError as error:  # says what is wrong, without the body and without the secret
        status, text = error.status, str(error)
        print("refused", text, file=sys.stderr, flush=True)
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def read_body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """The raw body, never more than the limit."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("the sender hung up", "the platform tries again")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise BodyTooLarge(f"the body has over {MAX_BODY} bytes", "a billing event is smaller")
        more = message.get("more_body", False)
    return bytes(body)


if __name__ == "__main__":
    import uvicorn

    with socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000)) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning")).run(sockets=[listener])
