"""Somebody's receiver of webhooks: it checks each signature by itself and keeps what it got.

The check is written from the specification (Standard Webhooks 1.0.0) and shares no code with the
sender.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import h11
import trio
from attrs import define, field

READ_SIZE: Final = 65536
TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSED: Final = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


@define(eq=False)
class WebhookReceiver:
    """A receiver on loopback, and what it took."""

    port: int
    secret: str = field(
        factory=lambda: f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    )
    taken: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    """The bodies with a right signature, in the order in which they came."""
    refused: int = 0
    """Requests without one."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks"

    def take(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the signature is right."""
        if not is_signed(headers, body, self.secret):
            self.refused += 1
            return False
        self.taken.append(json.loads(body))
        return True


def is_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether one of its signatures is that of `secret` (``whsec_`` and base64)."""
    try:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        marks = headers["webhook-signature"].split(" ")
    except KeyError:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(mark.encode(), f"v1,{right}".encode()) for mark in marks)


@asynccontextmanager
async def receiving_webhooks() -> AsyncGenerator[WebhookReceiver]:
    """Listen on a free port of loopback for the length of a block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        receiver = WebhookReceiver(listeners[0].socket.getsockname()[1])

        async def serve(stream: trio.SocketStream) -> None:
            try:
                async with stream:
                    while await _take_one(stream, receiver):
                        pass
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass  # The sender will come back.

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield receiver
        nursery.cancel_scope.cancel()


async def _take_one(stream: trio.SocketStream, receiver: WebhookReceiver) -> bool:
    """Take one request and answer it.  False where the connection has ended."""
    connection, headers, body = h11.Connection(h11.SERVER), dict[str, str](), b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ_SIZE)))
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            return False
    await stream.send_all(TAKEN if receiver.take(headers, body) else REFUSED)
    return True
