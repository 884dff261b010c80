"""The people's own process: asyncio and the SDK, with orders from standard input.

Each order runs in a task of its own and is answered once.  The parent waits for an answer
before it gives the same person another order, so orders to one person are in order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
import time
from typing import Any, Final

from livekit import api

from bridge.lab.people import process_protocol
from bridge.lab.people.confirmed_leave import ConfirmedLeave
from bridge.lab.people.local_person import ORDERS, Json, LocalPerson, RefusedError, Send
from bridge.livekit.rooms import seams as native
from bridge.output.redact import redact

_GOODBYE_SECONDS: Final = 8.0
"""Less than `process.END_SECONDS`, after which the parent kills."""


class PeopleHost:
    """All people of this process."""

    def __init__(self, url: str, api_key: str, api_secret: str, send: Send) -> None:
        self._url = url
        self._key = (api_key, api_secret)
        self._send = send
        self._present: dict[int, LocalPerson] = {}
        self._joining: dict[int, asyncio.Task[Json]] = {}

    async def obey(self, order: Json) -> None:
        """Carry out one order and answer it, whatever happens."""
        number = order.pop("id")
        try:
            done = await self._do(**order)
            answer = {"id": number, "ok": {"at": time.time(), **done}}
        except Exception as error:  # noqa: BLE001  (the parent gets it)
            text = str(getattr(error, "message", error)) or type(error).__name__
            answer = {"id": number, "error": redact(text)}
        self._send(answer)

    async def _do(self, do: str, person: int, **arguments: Any) -> Json:
        if do == "join":
            return await self._join(person, **arguments)
        if do == "leave":
            return await self._leave(person)
        if do == "everyone_leaves":
            await self.everyone_leaves()
            return {}
        if person not in self._present:
            raise RefusedError("not in the room")
        return await ORDERS[do](self._present[person], **arguments)

    async def _join(self, person: int, subscribe: bool, secret: str, **who: Any) -> Json:
        leave = ConfirmedLeave(
            self._url, *self._key, self._token(**who), room=who["room"], identity=who["identity"]
        )
        joined = LocalPerson(person, self._send, leave)
        joining = asyncio.create_task(joined.join(subscribe=subscribe, secret=secret))
        self._joining[person] = joining
        try:
            answer = await joining
            self._present[person] = joined
            return answer
        except BaseException:
            await joined.leave()  # It may be in the room, and nobody could end that later.
            raise
        finally:
            del self._joining[person]

    def _token(
        self,
        room: str,
        identity: str,
        name: str,
        metadata: str,
        attributes: dict[str, str],
        kind: str,
        grants: dict[str, bool],
    ) -> str:
        video = api.VideoGrants(room_join=True, room=room, agent=kind == "agent" or None)
        for grant, value in grants.items():
            setattr(video, grant, value)
        token = (
            api.AccessToken(*self._key)
            .with_identity(identity)
            .with_name(name)
            .with_metadata(metadata)
            .with_attributes(attributes)
            .with_grants(video)
        )
        if kind != "standard":
            token = token.with_kind(kind)  # type: ignore[arg-type]
        return token.to_jwt()

    async def _leave(self, person: int) -> Json:
        if person in self._joining:
            await asyncio.wait([self._joining[person]])
            await asyncio.sleep(0)  # `_join` must run first
        if person not in self._present:
            return {}
        try:
            return await self._present[person].leave()
        finally:
            self._present.pop(person, None)

    async def everyone_leaves(self) -> None:
        people = {*self._present, *self._joining}
        await asyncio.gather(*(self._leave(person) for person in people), return_exceptions=True)


async def _serve(read_fd: int, write_fd: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=process_protocol.LONGEST_LINE)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )

    def send(message: Json) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(write_fd, line) :]
        except BrokenPipeError:
            pass  # the parent has ended; our input ends too

    first = await reader.readline()
    if not first:
        return
    host = PeopleHost(**json.loads(first), send=send)
    native.initialize()
    send({"ready": True})
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(host.obey(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.wait_for(host.everyone_leaves(), _GOODBYE_SECONDS)


def main() -> None:
    """Serve until the end of standard input, then leave every room and end."""
    # Ctrl-C reaches the whole terminal group, but the people must stay until the parent
    # ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.disable(logging.CRITICAL)
    # The answers get a descriptor of their own: a print of some library must not land
    # between them.
    write_fd = os.dup(1)
    os.dup2(2, 1)
    read_fd = os.dup(0)
    code = 0
    try:
        asyncio.run(_serve(read_fd, write_fd))
    except TimeoutError:
        code = 1
    finally:
        sys.stderr.flush()
    # Skip the native library's shutdown, which can hang or abort while a connection closes.
    # All answers are sent by now.
    os._exit(code)
