"""The trio side: orders to people, their answers, and the log of what they did."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, final

import attrs
import trio

from bridge.people.truth import Deed, RoomTruth, by_room
from bridge.people.wire import (
    LONGEST_LINE,
    Grants,
    Kind,
    Scenario,
    Source,
)
from bridge.redact import redact

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_START_SECONDS: Final = 30.0
_ORDER_SECONDS: Final = 20.0
_END_SECONDS: Final = 5.0
_NO_GRANTS: Final = Grants()


class PeopleError(Exception):
    """A person could not do what was asked, or the people's process is gone."""


class _Answer:
    """One order's answer: set once, waited for once."""

    def __init__(self) -> None:
        self._there = trio.Event()
        self._ok: dict[str, Any] = {}
        self._error: str | None = None

    def set(self, ok: dict[str, Any], error: str | None) -> None:
        self._ok, self._error = ok, error
        self._there.set()

    async def wait(self) -> dict[str, Any]:
        await self._there.wait()
        if self._error is not None:
            raise PeopleError(self._error)
        return self._ok


@final
class _Process:
    """One child process and the people in it."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._writing = trio.Lock()
        self._answers: dict[int, _Answer] = {}
        self._last = 0
        self._stderr: deque[str] = deque(maxlen=20)
        self._ready = trio.Event()
        self.people: dict[int, Person] = {}
        self.over: str | None = None
        """Why nothing can be asked of it any more; None while it lives."""

    @classmethod
    async def start(cls, nursery: trio.Nursery, hello: Mapping[str, str]) -> _Process:
        path = os.pathsep.join(filter(None, (str(_CHECKOUT), os.environ.get("PYTHONPATH"))))
        self = cls(
            await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "bridge.people"],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "OPENBLAS_NUM_THREADS": "1",
                    "RUST_LOG": "off",
                },
            )
        )
        nursery.start_soon(self._listen)
        nursery.start_soon(self._listen_to_stderr)
        try:
            with trio.fail_after(_START_SECONDS):
                await self._write(hello)
                await self._ready.wait()
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.kill()
            raise PeopleError(f"the people's process did not start: {self._why()}") from error
        except BaseException:
            self.kill()
            raise
        if self.over is not None:
            raise PeopleError(f"the people's process did not start: {self._why()}")
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    def _why(self) -> str:
        return redact(" | ".join(self._stderr)[-500:]) or "it ended without a word"

    async def _write(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        async with self._writing:
            # A line cut in half by a cancellation would garble every later order.
            with trio.CancelScope(shield=True):
                await self._stdin.send_all(line)

    async def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer; raises `PeopleError` with the reason."""
        if self.over is not None:
            raise PeopleError(self.over)
        self._last += 1
        number = self._last
        answer = self._answers[number] = _Answer()
        try:
            with trio.fail_after(_ORDER_SECONDS):
                await self._write({"id": number, **order})
                return await answer.wait()
        except trio.TooSlowError:
            raise PeopleError(f"{order['do']} took longer than {_ORDER_SECONDS:.0f} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeopleError(self.over or "the people's process is gone") from None
        finally:
            del self._answers[number]

    async def tell(self, **order: Any) -> None:
        """Give an order and do not wait for the answer."""
        self._last += 1
        try:
            await self._write({"id": self._last, **order})
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # gone, and with it whoever the order was for

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        buffer = bytearray()
        try:
            async for chunk in self._process.stdout:
                buffer += chunk
                *lines, rest = buffer.split(b"\n")
                buffer = bytearray(rest)
                for line in lines:
                    self._heard(json.loads(line))
                if len(buffer) > LONGEST_LINE:
                    raise ValueError("a line without an end")
        except (ValueError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._stderr.append(f"garbled answer: {error}")
            self.kill()
        finally:
            self._is_over("the people's process is gone")

    def _heard(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready.set()
        elif "event" in message:
            if (person := self.people.get(message["person"])) is not None:
                person._heard(message)
        elif (answer := self._answers.get(message["id"])) is not None:
            answer.set(message.get("ok", {}), message.get("error"))

    async def _listen_to_stderr(self) -> None:
        assert self._process.stderr is not None
        rest = ""
        try:
            async for chunk in self._process.stderr:
                *lines, rest = (rest + chunk.decode("utf-8", "replace")).split("\n")
                self._stderr.extend(line[:500] for line in lines if line.strip())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is only kept to explain an end, and the end has come

    def _is_over(self, why: str) -> None:
        if self.over is None:
            self.over = why
        self._ready.set()
        for answer in self._answers.values():
            answer.set({}, f"{self.over}: {self._why()}")
        for person in list(self.people.values()):
            person._is_out("connection_timeout", time.time())

    def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """End of input: everybody leaves, the process ends; killed if that takes too long."""
        await self._stdin.aclose()
        with trio.move_on_after(_END_SECONDS):
            await self._process.wait()
        self.kill()
        await self._process.wait()


@final
class Person:
    """One join of one person.  Made by `People.join`; a rejoin is another `Person`.

    Every method returns once the person's own SDK confirmed it, and raises `PeopleError`
    where it could not be done.
    """

    def __init__(
        self,
        people: People,
        process: _Process,
        number: int,
        who: Mapping[str, Any],
        *,
        own_process: bool,
    ) -> None:
        self._people = people
        self._process = process
        self._number = number
        self._own_process = own_process
        self._out = trio.Event()
        self._reconnected = trio.Event()
        self.room: str = who["room"]
        self.identity: str = who["identity"]
        self.kind: Kind = who["kind"]
        self.hidden: bool = who["grants"]["hidden"]
        self.name: str = who["name"]
        self.metadata: str = who["metadata"]
        self.attributes: dict[str, str] = dict(who["attributes"])
        self.sid = ""
        """`PA_...` of this join."""
        self.room_sid = ""
        self.joined_at: float | None = None
        """Unix seconds by the server's clock, None where it told none."""
        self.tracks: dict[str, Source] = {}
        """What is published now: SID and source."""
        self.left_reason: str | None = None

    def __repr__(self) -> str:
        return f"<Person {self.identity!r} {self.sid} in {self.room!r}>"

    @property
    def present(self) -> bool:
        """In the room, as far as the person knows."""
        return not self._out.is_set()

    async def publish(self, source: Source) -> str:
        """Publish a synthetic track; its SID.  Where `can_publish` is not granted the SDK
        hangs, and this raises after the deadline of an order (20 s)."""
        answer = await self._ask("publish", source=source)
        track: str = answer["track"]
        self.tracks[track] = source
        self._did("published", answer, track=track, source=source)
        return track

    async def unpublish(self, track: str) -> None:
        answer = await self._ask("unpublish", track=track)
        self.tracks.pop(track, None)
        self._did("unpublished", answer, track=track)

    async def mute(self, track: str) -> None:
        self._did("muted", await self._ask("mute", track=track), track=track)

    async def unmute(self, track: str) -> None:
        self._did("unmuted", await self._ask("unmute", track=track), track=track)

    async def speak(self, on: bool) -> None:
        """Begin or end to send a tone on the first microphone (or screen audio)."""
        await self._ask("speak", on=on)

    async def talk(self, seconds: float) -> None:
        """Speak for so long."""
        await self.speak(True)
        try:
            await trio.sleep(seconds)
        finally:
            with trio.CancelScope(shield=True):
                answer = await self._ask("speak", on=False)
        self._did("spoke", answer, seconds=seconds)

    async def send_data(
        self,
        data: bytes,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Sequence[str] = (),
    ) -> None:
        """Send a data message to the identities in `to`, or to everybody."""
        answer = await self._ask(
            "send_data",
            data=base64.b64encode(data).decode(),
            topic=topic,
            reliable=reliable,
            to=list(to),
        )
        self._sent(answer, data, topic=topic, reliable=reliable, stream=False, to=to)

    async def send_text(self, text: str, *, topic: str = "lk.chat", to: Sequence[str] = ()) -> None:
        """Send a text stream, as LiveKit's chat does."""
        answer = await self._ask("send_text", text=text, topic=topic, to=list(to))
        self._sent(answer, text.encode(), topic=topic, reliable=True, stream=True, to=to)

    def _sent(self, answer: dict[str, Any], payload: bytes, **data: Any) -> None:
        data["to"] = tuple(data["to"])
        self._did("sent", answer, size=len(payload), format=payload_format(payload), **data)

    async def set_name(self, name: str) -> None:
        answer = await self._ask("set_name", name=name)
        self.name = name
        self._did("name", answer, name=name)

    async def set_metadata(self, metadata: str) -> None:
        answer = await self._ask("set_metadata", metadata=metadata)
        self.metadata = metadata
        self._did("metadata", answer, metadata=metadata)

    async def set_attributes(self, changed: Mapping[str, str]) -> None:
        """Set some attributes; an empty value deletes one, the others stay."""
        answer = await self._ask("set_attributes", attributes=dict(changed))
        merged = {**self.attributes, **changed}
        self.attributes = {key: value for key, value in merged.items() if value}
        self._did("attributes", answer, changed=dict(changed))

    async def simulate(self, scenario: Scenario) -> None:
        """Have the connection fail in one of the ways LiveKit can simulate; returns when the
        person is connected again (`server_leave`: when out)."""
        self._reconnected = trio.Event()
        self._did("scenario", await self._ask("scenario", scenario=scenario), scenario=scenario)
        if scenario == "server_leave":
            await self._out.wait()
            return
        try:
            with trio.fail_after(_ORDER_SECONDS):
                await self._reconnected.wait()
        except trio.TooSlowError:
            raise PeopleError(f"{scenario}: not connected again") from None

    async def leave(self) -> None:
        """Leave with a goodbye.  Does nothing for somebody who is out already."""
        if not self.present:
            return
        answer = await self._ask("leave")
        self._is_out("client_initiated", answer["at"])

    async def vanish(self) -> None:
        """Be gone without a goodbye, as by `kill -9`.  Needs `own_process=True`."""
        if not self._own_process:
            raise PeopleError(f"{self.identity}: only a person in a process of its own can vanish")
        self._is_out("connection_timeout", time.time())
        self._process.kill()
        await self._process.end()

    async def out(self) -> str:
        """Wait until the person is out of the room, by whatever cause; the reason."""
        await self._out.wait()
        assert self.left_reason is not None
        return self.left_reason

    async def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        try:
            return await self._process.ask(do=do, person=self._number, **arguments)
        except PeopleError as error:
            raise PeopleError(f"{self.identity!r} {do}: {error}") from None

    def _heard(self, message: Mapping[str, Any]) -> None:
        if message["event"] == "left":
            self._is_out(message["reason"], message["at"])
        elif message["event"] == "reconnected":
            self._did("reconnected", message)
            self._reconnected.set()

    def _is_out(self, reason: str, at: float) -> None:
        if self.present:
            self.left_reason = reason
            self._did("left", {"at": at}, reason=reason)
            self._out.set()
            self._process.people.pop(self._number, None)

    def _did(self, deed: str, answer: Mapping[str, Any], **data: Any) -> None:
        self._people._deeds.append(
            Deed(answer["at"], deed, self.room, self.room_sid, self.identity, self.sid, data)
        )


@final
class People:
    """Everyone there is.  Made by `open_people`."""

    def __init__(self, nursery: trio.Nursery, hello: Mapping[str, str]) -> None:
        self._nursery = nursery
        self._hello = hello
        self._processes: list[_Process] = []
        self._last = 0
        self._deeds: list[Deed] = []

    async def join(
        self,
        room: str,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: Kind = "standard",
        grants: Grants = _NO_GRANTS,
        subscribe: bool = False,
        own_process: bool = False,
    ) -> Person:
        """Bring a person into a room; returns once the person is in.

        `subscribe` makes the person receive everybody's media (and costs accordingly).
        `own_process` starts another process for this person, so that `vanish` can kill it.
        """
        process = await self._start() if own_process else self._processes[0]
        self._last += 1
        who = {
            "room": room,
            "identity": identity,
            "name": name,
            "metadata": metadata,
            "attributes": dict(attributes or {}),
            "kind": kind,
            "grants": attrs.asdict(grants),
        }
        person = Person(self, process, self._last, who, own_process=own_process)
        process.people[self._last] = person
        try:
            answer = await person._ask("join", subscribe=subscribe, **who)
        except BaseException:
            process.people.pop(person._number, None)
            with trio.CancelScope(shield=True):
                await process.tell(do="leave", person=person._number)
            raise
        person.sid, person.room_sid = answer["sid"], answer["room_sid"]
        person.joined_at = answer["joined_at"]
        person._did(
            "joined",
            answer,
            joined_at=answer["joined_at"],
            name=name,
            metadata=metadata,
            attributes=who["attributes"],
            kind=kind,
            hidden=grants.hidden,
        )
        return person

    @property
    def present(self) -> tuple[Person, ...]:
        """Everyone who is in some room now."""
        return tuple(person for process in self._processes for person in process.people.values())

    def truth(self) -> tuple[RoomTruth, ...]:
        """What everybody did until now, one entry for each life of a room."""
        return by_room(self._deeds)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that still live."""
        return tuple(process.pid for process in self._processes if process.over is None)

    async def _start(self) -> _Process:
        process = await _Process.start(self._nursery, self._hello)
        self._processes.append(process)
        return process

    async def _close(self) -> None:
        """Everybody leaves, every process ends."""
        with trio.move_on_after(_END_SECONDS):
            async with trio.open_nursery() as nursery:
                for person in self.present:
                    nursery.start_soon(_leave_or_not, person)
        async with trio.open_nursery() as nursery:
            for process in self._processes:
                nursery.start_soon(process.end)


async def _leave_or_not(person: Person) -> None:
    try:
        await person.leave()
    except PeopleError:
        pass  # its process is gone, and so is the person


@asynccontextmanager
async def open_people(url: str, api_key: str, api_secret: str) -> AsyncIterator[People]:
    """A process for people at the server `url`; everybody leaves when the block ends.

    Raises `PeopleError` where the process does not start.
    """
    hello = {"url": url, "api_key": api_key, "api_secret": api_secret}
    failure: BaseException | None = None
    # What the block raises is kept out of the nursery, so that it comes out as it is and
    # not inside an exception group: the nursery is nobody else's business.
    async with trio.open_nursery() as nursery:
        people = People(nursery, hello)
        try:
            await people._start()
            yield people
        except BaseException as error:
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                await people._close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def payload_format(payload: bytes) -> str:
    """`json` for a JSON object or list, else `text` where it is UTF-8, else `binary`."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "binary"
    try:
        return "json" if isinstance(json.loads(text), dict | list) else "text"
    except ValueError:
        return "text"
