"""One open socket: a reader and a writer that run the protocol until the connection ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection

from actors.runtime import first_of
from bridge.livekit.websocket import CLOSE_TIMEOUT
from bridge.livekit.worker.event_log import EventLog
from bridge.livekit.worker.protocol_events import Event, Silent
from bridge.livekit.worker.worker_protocol import ConnectionState, WorkerProtocol

MAX_UNSENT: Final = 1_000
"""Answers that wait for a server that does not read them.  Beyond, we stop reading too."""


@define(eq=False)
class Conversation:
    """The traffic on one socket.

    `on_event` gets each event of the protocol, `on_change` is called whenever jobs may have
    changed.  Both are called on the trio thread between two awaits; they must not block.  An
    exception of theirs ends `run`.
    """

    socket: WebSocketConnection
    protocol: WorkerProtocol
    events: EventLog
    on_event: Callable[[Event], object]
    on_change: Callable[[], object]
    _wake: trio.Event = field(factory=trio.Event, init=False)
    """Set when the writer has something to look at."""
    _flushes: list[trio.Event] = field(factory=list[trio.Event], init=False)
    """Each is set as soon as the messages that were waiting are written, or cannot be."""
    _ended: bool = field(default=False, init=False)

    async def run(self, closing: trio.Event) -> str:
        """Read and write until the connection ends or `closing` is set; the reason of the end."""

        async def until_closing() -> str:
            await closing.wait()
            return "closed by us"

        return await first_of(self._read, self._write, until_closing)

    def wake_writer(self) -> None:
        """Have the writer send what is new."""
        self._wake.set()

    def answer(self, job_id: str, available: bool) -> None:
        """Answer an offer that came on this socket.  Harmless after its end."""
        if not self._ended:
            for event in self.protocol.answer(job_id, available=available):
                self._handle(event)
            self.on_change()

    async def flush(self) -> None:
        """Wait until all messages that are waiting now are written, or cannot be: the connection
        ended, or the server reads nothing for `CLOSE_TIMEOUT`.  Later messages do not count."""
        written = trio.Event()
        self._flushes.append(written)
        self.wake_writer()
        with trio.move_on_after(CLOSE_TIMEOUT):
            await written.wait()

    def end_flushes(self) -> None:
        """Let everybody go on who waits in `flush`.  Called when the connection has ended."""
        self._ended = True
        flushes, self._flushes = self._flushes, []
        _set_all(flushes)

    async def _read(self) -> str:
        while True:
            try:
                data = await self.socket.get_message()
            except ConnectionClosed as closed:
                return _reason_of(closed)
            for event in self.protocol.receive(data, trio.current_time()):
                self._handle(event)
            self.on_change()
            if self.protocol.unsent > MAX_UNSENT:
                await self.flush()

    async def _write(self) -> str:
        while True:
            self._wake = trio.Event()
            for event in self.protocol.tick(trio.current_time()):
                if isinstance(event, Silent):
                    registered = self.protocol.state is ConnectionState.REGISTERED
                    verb = "answer" if registered else "register"
                    return f"the server did not {verb} for {event.seconds:.0f} s"
                self._handle(event)
                self.on_change()
            self.events.log_left_out(trio.current_time())
            flushes, self._flushes = self._flushes, []
            try:
                for data in self.protocol.data_to_send():
                    await self.socket.send_message(data)
            except ConnectionClosed as closed:
                return _reason_of(closed)
            finally:
                _set_all(flushes)
            with trio.move_on_at(self.protocol.deadline):
                await self._wake.wait()

    def _handle(self, event: Event) -> None:
        self.events.add(event, trio.current_time())
        self.on_event(event)


def _set_all(events: list[trio.Event]) -> None:
    for event in events:
        event.set()


def _reason_of(closed: ConnectionClosed) -> str:
    code = closed.reason.code if closed.reason is not None else 1006
    return f"the server closed the connection ({code})"
