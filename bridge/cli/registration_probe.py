"""A worker that registers at LiveKit for a moment, full and draining: it is offered no job."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from bridge import __version__
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import ApiKey, worker_token
from bridge.livekit.websocket import SocketRejected, use_websocket
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.protocol_events import Malformed, Pong, Registered
from bridge.livekit.worker.registration import Registration
from bridge.livekit.worker.worker_protocol import WorkerProtocol
from bridge.livekit.worker.worker_rejection import rejection_of

REGISTER_DEADLINE: Final = 5.0
"""Seconds, once the socket is open."""
PONG_DEADLINE: Final = 2.0
"""Seconds.  Without an answer to a ping, the server's time is known in whole seconds (`Date`)."""


class Rejected(Exception):
    """The server took no worker.  `reason` as in `WorkerRejected`, or "other"."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


async def register(
    endpoint: Endpoint, api_key: ApiKey, name: str, clock: ServerClock
) -> Registered:
    """Register a worker for a moment, and learn the server's time.

    Raises `SocketFailed` or `Rejected`.
    """
    worker = WorkerProtocol(
        registration=Registration(name, __version__, endpoint.room_url),
        book=JobBook(1, draining=True),
        now=trio.current_time(),
        seq=itertools.count(1),
    )

    async def converse(socket: WebSocketConnection) -> Registered:
        try:
            with trio.fail_after(REGISTER_DEADLINE):
                registered = await _registered(socket, worker)
            with trio.move_on_after(PONG_DEADLINE), suppress(ConnectionClosed):
                await _ask_time(socket, worker, clock)
            return registered
        except ConnectionClosed:
            raise Rejected("other", "the server closes the worker's connection") from None
        except trio.TooSlowError:
            late = f"no answer to our registration within {REGISTER_DEADLINE:g} s"
            raise Rejected("other", late) from None

    headers = [("Authorization", f"Bearer {worker_token(api_key)}")]
    try:
        return await use_websocket(endpoint, f"{endpoint.path}/agent", headers, converse)
    except SocketRejected as error:
        refusal = rejection_of(error.status, error.headers, error.body, time.time())
        if refusal is None:
            raise Rejected("other", f"the server answers with {error}") from None
        raise Rejected(refusal.reason, str(refusal)) from None


async def _registered(socket: WebSocketConnection, worker: WorkerProtocol) -> Registered:
    while True:
        for data in worker.data_to_send():
            await socket.send_message(data)
        for event in worker.receive(await socket.get_message(), trio.current_time()):
            if isinstance(event, Malformed):
                raise Rejected("other", f"the server's answer is malformed: {event.error}")
            if isinstance(event, Registered):
                for data in worker.data_to_send():  # our status: full
                    await socket.send_message(data)
                return event


async def _ask_time(
    socket: WebSocketConnection, worker: WorkerProtocol, clock: ServerClock
) -> None:
    """Ping: the answer has the server's time in milliseconds."""
    worker.tick(trio.current_time())
    for data in worker.data_to_send():
        await socket.send_message(data)
    while True:
        for event in worker.receive(await socket.get_message(), trio.current_time()):
            if isinstance(event, Pong):
                took = trio.current_time() - event.sent_at
                clock.observe(clock.steady() - took, event.server_time)
                return
