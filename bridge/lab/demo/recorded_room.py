"""One room of the story that a rule records, through a stand-in for LiveKit's egress worker.

LiveKit records only with Redis and an egress worker.  Where a Redis is installed the demo starts
one, and the stand-in (`bridge.lab.egress`) takes the request, enters the room as a hidden recorder
and reports to LiveKit, as an egress worker does.  It writes no file.  Its own account is compared
with the session.
"""

from __future__ import annotations

import glob
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, final

import trio
from attrs import evolve, frozen
from livekit.protocol import egress

from actors.session import SessionView
from bridge.config.rule_list import RuleTable
from bridge.lab.demo.differences import Difference, diff
from bridge.lab.demo.play_script import RoomStory, TrueRecording, WatchingWorker
from bridge.lab.demo.script import Ending, RoomScript, Script
from bridge.lab.egress.redis_server import PrivateRedis, find_redis
from bridge.lab.egress.standin_egress import ENDED, Leave, StandinEgress, open_standin
from bridge.lab.people import Grants, People
from bridge.lab.server import ServerError

RULE_NAME: Final = "keep this meeting"
FILE: Final = "demo.mp4"
RECORDER: Final = Grants(hidden=True, recorder=True)
ENDED_SECONDS: Final = 10.0
"""Within this the worker must know that a recording has ended; else the comparison shows it."""
_LOOK_SECONDS: Final = 0.2
_BY_ENDING: Final[tuple[Ending, ...]] = ("left", "deleted", "open")
"""A room that ends shows most of a recording."""
NANOSECONDS: Final = 1e9


@asynccontextmanager
async def private_redis(folder: Path) -> AsyncGenerator[PrivateRedis | None, None]:
    """A Redis for the length of a block; None where none is installed or it does not start."""
    program = find_redis()
    redis: PrivateRedis | None = None
    if program is not None:
        try:
            redis = await trio.to_thread.run_sync(PrivateRedis.start, program, folder)
        except ServerError:
            redis = None
    try:
        yield redis
    finally:
        if redis is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(redis.stop)


@final
class RecordedRoom:
    """Made by `recording_room`."""

    def __init__(self, room: RoomScript, people: People, nursery: trio.Nursery) -> None:
        self.room = room
        self._people = people
        self._nursery = nursery
        self._standin: StandinEgress | None = None

    @property
    def rule(self) -> RuleTable:
        """Records the room, once."""
        return RuleTable.of(
            {
                "name": RULE_NAME,
                "rooms": [glob.escape(self.room.room)],
                "when": {"joins": ">= 1"},
                "then": [{"record": FILE}],
            }
        )

    def use(self, standin: StandinEgress) -> None:
        """Record through this stand-in."""
        self._standin = standin

    async def enter(self, room: str, egress_id: str) -> Leave:
        """Enter a room as its recorder.  The recording is complete when the room ends."""
        recorder = await self._people.join(room, egress_id, grants=RECORDER)

        async def leave() -> None:
            if recorder.present:
                await recorder.leave()

        async def follow() -> None:
            await recorder.out()
            assert self._standin is not None
            if self._standin.recordings[egress_id].info.status not in ENDED:
                await self._standin.report(egress_id, egress.EGRESS_COMPLETE)

        self._nursery.start_soon(follow)
        return leave

    @property
    def _infos(self) -> tuple[egress.EgressInfo, ...]:
        recordings = () if self._standin is None else self._standin.recordings.values()
        return tuple(one.info for one in recordings)

    async def ended(self, worker: WatchingWorker) -> None:
        """Wait until the worker knows of each end of a recording."""
        if self.room.ending == "open":
            return
        with trio.move_on_after(ENDED_SECONDS):
            while True:
                over = {
                    one.id
                    for session in await worker.sessions()
                    for one in session.recordings or ()
                    if one.ended_at is not None
                }
                if over.issuperset(info.egress_id for info in self._infos):
                    return
                await trio.sleep(_LOOK_SECONDS)

    def with_recordings(self, stories: Sequence[RoomStory]) -> tuple[RoomStory, ...]:
        """The stories with the stand-in's account.  The recorder is none of the people."""
        ids = {info.egress_id for info in self._infos}
        return tuple(self._with_recordings(story, ids) for story in stories)

    def _with_recordings(self, story: RoomStory, ids: set[str]) -> RoomStory:
        people = tuple(deed for deed in story.truth.deeds if deed.identity not in ids)
        recordings = tuple(
            _recording(info) for info in self._infos if info.room_id == story.truth.room_sid
        )
        return evolve(story, truth=evolve(story.truth, deeds=people), recordings=recordings)


def _recording(info: egress.EgressInfo) -> TrueRecording:
    return TrueRecording(
        info.egress_id,
        RULE_NAME,
        FILE if info.ended_at else None,
        info.started_at / NANOSECONDS,
        info.ended_at / NANOSECONDS if info.ended_at else None,
    )


@asynccontextmanager
async def recording_room(
    plan: Script, people: People, redis: PrivateRedis | None
) -> AsyncGenerator[RecordedRoom | None, None]:
    """Have a room of the plan recorded, for the length of a block; None without a Redis."""
    if redis is None:
        yield None
        return
    room = min(plan.rooms, key=lambda one: _BY_ENDING.index(one.ending))
    async with trio.open_nursery() as nursery:
        recorded = RecordedRoom(room, people, nursery)
        async with open_standin(redis.port, recorded.enter) as standin:
            recorded.use(standin)
            yield recorded
            nursery.cancel_scope.cancel()


@frozen
class RecordingComparison:
    """The chapter of the recording."""

    room: str
    recording: TrueRecording | None
    """None where the rule started none."""
    numbers: int
    """Number of compared values, besides those of the sessions."""
    differences: tuple[Difference, ...]


def compare_recording(
    room: str, stories: Sequence[RoomStory], sessions: Sequence[SessionView]
) -> RecordingComparison:
    """Compare how often the rule recorded.  The recording itself is compared with its session."""
    recordings = {story.plan.room: story.recordings for story in stories}
    acts = {story.plan.room: 0 for story in stories}
    for session in sessions:
        for entry in session.timeline or ():
            if entry.rule == RULE_NAME and entry.event in ("act_done", "act_failed"):
                acts[session.room] += entry.event == "act_done"
    wanted = {name: int(name == room) for name in recordings}
    actual = {name: len(ones) for name, ones in recordings.items()}
    differences = [
        *diff("recordings", wanted, actual),
        *diff("acts of recording", wanted, acts),
    ]
    one = recordings[room][0] if recordings[room] else None
    return RecordingComparison(room, one, 2 * len(wanted), tuple(differences))
