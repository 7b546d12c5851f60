"""A webhook endpoint as a WSGI application, without a framework.

    INVORA_WEBHOOK_SECRET=... python examples/webhooks_wsgi.py 8000        # or any WSGI server, and webhooks_wsgi:app

INVORA_WEBHOOK_SECRET may hold two secrets, separated by a space, while the endpoint's is rotated.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

from invora_grpc.webhooks import MAX_BODY, RETRY_SPAN, BodyTooLarge, Deliveries, MalformedBody, Receiver, WebhookError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent

RECEIVER = Receiver(secret=os.environ["INVORA_WEBHOOK_SECRET"].split(), max_age=RETRY_SPAN)
DELIVERIES = Deliveries(os.environ.get("INVORA_WEBHOOK_STORE", "webhooks/handled.sqlite"))


def handle(event: BillingWebhookEvent) -> None:
    """Your part. It has 15 seconds: put what takes longer into a queue that survives a restart."""
    print("handled", event.webhook_type, event.WhichOneof("payload"), flush=True)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What `handle` raises goes on to the server, which answers 500; the platform then tries again."""
    status, text = HTTPStatus.OK, "ok"
    try:
        if environ["REQUEST_METHOD"] != "POST":
            status, text = HTTPStatus.METHOD_NOT_ALLOWED, "POST only"
        else:
            delivery = RECEIVER.receive(read_body(environ), environ)
            with DELIVERIES.once(delivery) as first:
                if first:
                    handle(delivery.event)
    except WebhookError as error:  # says what is wrong, without the body and without the secret
        status, text = HTTPStatus(error.status), str(error)
        print("refused", text, file=sys.stderr, flush=True)
    start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


def read_body(environ: WSGIEnvironment) -> bytes:
    """The raw body, never more than the limit."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()):
        raise MalformedBody("no Content-Length", "send one")
    if len(length) > 9 or int(length) > MAX_BODY:
        raise BodyTooLarge(f"the body has over {MAX_BODY} bytes", "a billing event is smaller")
    return bytes(environ["wsgi.input"].read(int(length)))


if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000, app) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
