"""The port of acting in a simulation with rules: it fails in each way, and notes each effect."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, final

from attrs import frozen

from actors.rooms.room_control import (
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    RoomControl,
)
from actors.rooms.room_port import SendOutcome
from actors.rules.limits import PresentPerson
from actors.runtime import sleep
from actors.session import Permissions
from actors.session.rule_state import NO_RULES
from actors.simulation.people_actions import mark_inexact_if_unwatched
from actors.simulation.simulated_room_control import SimulatedRoomControl
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

T = TypeVar("T")

TEXTS: Final = frozenset({"send", "remove", "hold", "ban"})
WORDS: Final[Mapping[str, frozenset[str]]] = {
    "remove": frozenset({"remove", "ban"}),
    "mute": frozenset({"mute"}),
    "set_permissions": frozenset({"hold", "release"}),
    "send": TEXTS,
    "set_metadata": frozenset({"metadata"}),
    "end": frozenset({"end_room"}),
}
"""By method of the port: the acts that call it."""


@frozen
class ActFault:
    """What becomes of one request."""

    what: str
    seconds: float = 0.0


@final
class ActingControl(RoomControl):
    """See the module.  It outlives the programs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.inner = SimulatedRoomControl(world.rooms)
        self.faults: deque[ActFault] = deque()
        """Of the next requests."""
        self.sent: Counter[tuple[str, bytes]] = Counter()
        """Messages that people got, by room name and text: the server knows no SID here."""
        self.without_intent: list[str] = []
        """Requests whose intent was not on the disk."""

    async def remove(self, room: str, identity: str) -> None:
        await self._around("remove", room, lambda: self.inner.remove(room, identity))

    async def mute(self, room: str, identity: str, track_sid: str) -> None:
        await self._around("mute", room, lambda: self.inner.mute(room, identity, track_sid))

    async def set_permissions(self, room: str, identity: str, permissions: Permissions) -> None:
        await self._around(
            "set_permissions",
            room,
            lambda: self.inner.set_permissions(room, identity, permissions),
        )

    async def send(
        self, room: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        async def send() -> None:
            await self.inner.send(room, data, topic=topic, identities=identities)
            sid = self._sid(room)
            self.sent[room, data] += 1
            if not identities and sid in self._world.truths.by_sid:
                self._world.truths.by_sid[sid].messages += 1

        await self._around("send", room, send)

    async def stream_outcome(self, room: SimulatedRoom) -> SendOutcome:
        """Of a text stream that a connection sends: it fails as requests do."""
        self._check_intent("send", room.name)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            self._world.inject(fault.what)
        if fault is not None and fault.what not in {"act_answer_lost", "act_slow"}:
            return "not sent"
        await sleep(0.0 if fault is None else fault.seconds)
        return "unknown" if fault is not None and fault.what == "act_answer_lost" else "sent"

    def text_sent(self, room: SimulatedRoom, text: str) -> None:
        self.sent[room.name, text.encode()] += 1

    async def set_metadata(self, room: str, metadata: str) -> None:
        await self._around("set_metadata", room, lambda: self.inner.set_metadata(room, metadata))

    async def end(self, room: str, room_sid: str) -> None:
        await self._around("end", room, lambda: self.inner.end(room, room_sid))

    async def people(self, room: str) -> Sequence[PresentPerson]:
        return await self.inner.people(room)

    async def _around(self, method: str, room: str, act: Callable[[], Awaitable[T]]) -> T:
        self._check_intent(method, room)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            self._world.inject(fault.what)
        if fault is None or fault.what in {"act_answer_lost", "act_slow"}:
            if fault is not None:
                await sleep(fault.seconds)
            for live in self._world.rooms.live:
                if live.name == room:
                    mark_inexact_if_unwatched(self._world, live)
            result = await act()
            if fault is None or fault.what == "act_slow":
                return result
            raise ControlTimedOut("the answer was lost")
        if fault.what == "act_refused":
            raise ControlRefused("not allowed")
        raise ControlUnavailable("the server is down")

    def _check_intent(self, method: str, room: str) -> None:
        """No act without its entry: the intent is on the disk before the server is asked."""
        sid, disk = self._sid(room), self._world.disk
        for number in disk.numbers:
            if disk.room_of(number) == (room, sid):
                rules = disk.session(number).state.rules or NO_RULES
                if any(act.plan.act in WORDS[method] for act in rules.open_acts.values()):
                    return
        if sid:
            self.without_intent.append(f"{method} in {room} ({sid})")

    def _sid(self, room: str) -> str:
        live = self._world.rooms.find(room)
        return "" if live is None else live.sid
