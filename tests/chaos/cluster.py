"""A cluster: a server, people who come and go in its rooms, a worker that may die, its store."""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, evolve, field
from livekit.protocol.models import ParticipantInfo

from actors.journal.session_reader import NoStore
from bridge.lab.people import Deed, People, PeopleError, Person, RoomTruth, open_people
from bridge.lab.server import PrivateServer
from bridge.livekit.api_errors import ApiError
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import Agent, running_agent, server_api
from tests.chaos.verdict import BUSY, Account, Blind, Comparison, ListedInstance, made_by_us
from tests.session.session_story import as_json

SOURCES: Final = ("microphone", "camera", "screen")
NAMES: Final = ("alice", "bob", "carol", "dave")
ROOMS: Final = ("atlas", "borealis", "cassini")
REPORTED: Final = 2.0
"""Seconds in which a worker has heard what the server did."""
WAIT: Final = 60.0
"""Seconds that bound what would otherwise hang."""

ACCOUNTS: Final[list[Account]] = []
"""The accounts of all runs, for the table at the end."""


@define(eq=False)
class Cluster:
    """See the module.  Made by `open_cluster`."""

    nursery: trio.Nursery
    server: PrivateServer
    api: ServerApi
    people: People
    data_dirs: list[Path]
    env: dict[str, str]
    webhooks: bool
    worker: Agent | None = None
    blind: dict[str, list[Blind]] = field(factory=dict[str, list[Blind]])
    """By room SID, since the room's creation."""
    _named: dict[str, str] = field(factory=dict[str, str])
    """Rooms by SID."""
    _born: dict[str, float] = field(factory=dict[str, float])
    _since: dict[str, float] = field(factory=dict[str, float])
    """By room: when the worker went out of it.  The empty name is for all."""
    _ends: dict[str, float] = field(factory=dict[str, float])
    """By room SID, where a room instance ended with its server."""
    _kills: set[float] = field(factory=set[float])
    """When a worker was killed, as `_since` has it."""
    _deeds: list[Deed] = field(factory=list[Deed])
    _errors: list[str] = field(factory=list[str])
    """Failures of the people themselves: their room was closed, or their own SDK failed."""
    _arrivals: dict[str, float] = field(factory=dict[str, float])
    """By track SID: when the server had its media, seconds after the owner's SDK where busy."""
    _lost: set[str] = field(factory=set[str])
    """Tracks whose media did not come while somebody waited: the server may never have them."""
    _instances: dict[str, ListedInstance] = field(factory=dict[str, ListedInstance])
    """Every life of a room that the server listed, by SID."""

    # -- the worker

    async def start_worker(self, *flags: str, env: Mapping[str, str] | None = None) -> Agent:
        """Start it and wait until it is registered."""
        agent: Agent = await self.nursery.start(
            self._run_worker, self.data_dirs[0], flags, {**self.env, **(env or {})}
        )
        self.worker = agent
        await agent.logged("worker_registered")
        return agent

    async def start_another(self, data_dir: Path) -> Agent:
        """One more worker of the same name, with a store of its own."""
        self.data_dirs.append(data_dir)
        agent: Agent = await self.nursery.start(self._run_worker, data_dir, (), {})
        await agent.logged("worker_registered")
        return agent

    async def _run_worker(
        self,
        data_dir: Path,
        flags: Sequence[str],
        env: Mapping[str, str],
        *,
        task_status: trio.TaskStatus[Agent],
    ) -> None:
        async with running_agent(self.server, data_dir, *flags, env=env) as agent:
            task_status.started(agent)
            await agent.ended(wait=math.inf)

    def events(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of the worker's log."""
        assert self.worker is not None
        return self.worker.events(event, **fields)

    async def kill_worker(self) -> None:
        """`kill -9`, and wait until it is gone."""
        assert self.worker is not None
        self.unwatched()
        self._kills.add(self._since[""])
        self.worker.signal(signal.SIGKILL)
        await self.worker.ended()

    def gap(self, room: str, since: float, until: float) -> None:
        """The room was not observed then, although a worker was in it."""
        sid = next(sid for sid, name in self._named.items() if name == room)
        self.blind[sid].append(Blind(since, until))

    def unwatched(self, room: str = "") -> None:
        """Note that no worker is in this room, or in any, until `watching`."""
        self._since[room] = time.time()

    async def watching(self, rooms: Collection[str]) -> None:
        """Wait until a worker came into each of these rooms, as the server has it."""
        with trio.fail_after(WAIT):
            async with trio.open_nursery() as nursery:
                for room in rooms:
                    nursery.start_soon(self._watched, room)

    async def _watched(self, name: str) -> None:
        since = max(self._since.get(name, 0.0), self._since.get("", 0.0))
        while True:
            with suppress(ApiError):
                [room] = await self.api.list_rooms([name]) or [None]
                people = await self.api.list_participants(name) if room else ()
                if room is not None and (came := newest_agent(people)) > since:
                    born = self._born.setdefault(room.sid, room.creation_time_ms / 1000)
                    self._named[room.sid] = name
                    unsaved = BUSY if since in self._kills else 0.0
                    gap = Blind(max(since, born), came, unsaved)
                    self.blind.setdefault(room.sid, []).append(gap)
                    return
            await trio.sleep(0.2)

    async def close(self) -> None:
        """Wait until the server has closed every room, and stop the worker."""
        with trio.move_on_after(WAIT) as waiting:
            while await self.api.list_rooms():  # noqa: ASYNC110  (a server does not tell)
                await trio.sleep(0.2)
        if waiting.cancelled_caught:
            open_rooms = {
                room.name: await self.api.list_participants(room.name)
                for room in await self.api.list_rooms()
            }
            raise AssertionError(f"rooms are still open: {open_rooms}; {self._errors}")
        await trio.sleep(REPORTED)
        assert self.worker is not None
        await self.worker.stop()

    # -- the server

    async def kill_server(self) -> None:
        """`kill -9`: every room's life ends, whatever its people believe."""
        alive = {room.sid for room in await self.api.list_rooms()}
        now = time.time()
        self._ends |= dict.fromkeys(alive, now)
        for sid in alive & self.blind.keys():
            self.blind[sid].append(Blind(now, math.inf))
        await trio.to_thread.run_sync(self.server.kill)

    async def restart_server(self) -> None:
        await trio.to_thread.run_sync(self.server.restart)

    async def people_are_back(self) -> None:
        """Wait until everybody's SDK came into the new life of the room; take over who and
        what they are there from the server."""
        with trio.fail_after(WAIT):
            for person in self.people.present:
                await self._is_back(person)

    async def _is_back(self, person: Person) -> None:
        tracks = len(person.tracks)
        while person.present:
            with suppress(ApiError):
                for info in await self.api.list_participants(person.room):
                    if info.identity == person.identity and len(info.tracks) == tracks:
                        [room] = await self.api.list_rooms([person.room])
                        self._moved(person, room.sid, info)
                        return
            await trio.sleep(0.2)

    async def arrived(self, person: Person, *tracks: str) -> None:
        """Wait until the server has this person active, with the media of these tracks.

        On a busy machine both take seconds, and a person who leaves before was never active.
        """
        there = set[str]()
        with trio.move_on_after(WAIT):
            while person.present:
                with suppress(ApiError):
                    for info in await self.api.list_participants(person.room):
                        if info.sid == person.sid and info.state == info.ACTIVE:
                            there |= {track.sid for track in info.tracks}
                            if there >= {*tracks}:
                                self._arrivals |= dict.fromkeys(tracks, time.time())
                                return
                await trio.sleep(0.2)
        self._lost |= {*tracks} - there
        self._errors.append(f"{person.identity} in {person.room} did not arrive with {tracks}")

    def _moved(self, person: Person, room_sid: str, info: ParticipantInfo) -> None:
        sources = {track.source: track.sid for track in info.tracks}
        person.sid, person.room_sid = info.sid, room_sid
        at = info.joined_at_ms / 1000
        joined = Deed(at, "joined", person.room, room_sid, person.identity, info.sid, {})
        self._deeds.append(evolve(joined, data={"joined_at": at}))
        named = {2: "microphone", 1: "camera", 3: "screen"}
        for source, sid in sources.items():
            data = {"track": sid, "source": named[source]}
            self._deeds.append(evolve(joined, deed="published", at=time.time(), data=data))

    # -- its people

    async def bustle(self, room: str, rng: random.Random, over: trio.Event) -> None:
        """Somebody comes, does this and that, and goes, until it is `over`.  One stays on."""
        keeper = await self.people.join(room, "keeper")
        await keeper.publish("microphone")
        while not over.is_set():
            await self.visit(room, rng.choice(NAMES), rng)
        await keeper.leave()

    async def visit(self, room: str, identity: str, rng: random.Random) -> None:
        """Come, publish and say something, and go; out at once where the room is closed."""
        try:
            person = await self.people.join(room, identity)
            try:
                await self._be_there(person, rng)
            finally:
                with trio.CancelScope(shield=True):
                    await person.leave()
        except PeopleError as error:
            self._errors.append(f"{time.time():.1f} {room}: {error}")

    async def _be_there(self, person: Person, rng: random.Random) -> None:
        for source in rng.sample(SOURCES, rng.randint(0, 2)):
            track = await person.publish(source)
            if rng.random() < 0.5:
                await person.mute(track)
        for _ in range(rng.randint(0, 5)):
            await person.send_data(b"{}", topic="chaos")
            await trio.sleep(rng.uniform(0.0, 0.5))
        await trio.sleep(rng.uniform(0.2, 4.0))

    @asynccontextmanager
    async def bustling(
        self, rooms: Sequence[str] = ROOMS, seed: int = 0
    ) -> AsyncGenerator[random.Random, None]:
        """People come and go for the length of a block, and then all leave."""
        rng, over = random.Random(seed), trio.Event()
        async with trio.open_nursery() as nursery:
            for room in rooms:
                nursery.start_soon(self.bustle, room, random.Random(rng.random()), over)
            yield rng
            over.set()

    # -- the verdict

    async def watch_instances(self) -> None:
        """Note every room that the server lists, and in which of them somebody was."""
        while True:
            with suppress(ApiError):
                for room in await self.api.list_rooms():
                    instance = self._instances.setdefault(
                        room.sid, ListedInstance(room.name, time.time())
                    )
                    instance.listed_until = time.time()
                    if instance.had_people and room.sid not in self.blind:
                        continue
                    for who in await self.api.list_participants(room.name):
                        if INSTANCE_ATTRIBUTE in who.attributes:
                            instance.entries.add(who.joined_at_ms / 1000)
                        else:
                            instance.had_people = True
            await trio.sleep(0.25)

    def truth(self) -> list[RoomTruth]:
        """The events in each instance of a room, until its end."""
        deeds_by_instance: dict[str, list[Deed]] = {}
        for truth in self.people.truth():
            deeds_by_instance[truth.room_sid] = list(truth.deeds)
        for deed in self._deeds:
            deeds_by_instance.setdefault(deed.room_sid, []).append(deed)
        for deeds in deeds_by_instance.values():
            deeds[:] = map(self._as_the_server_had_it, deeds)
        return [
            RoomTruth(deeds[0].room, sid, tuple(self._until_the_end(sid, deeds)))
            for sid, deeds in deeds_by_instance.items()
        ]

    def _as_the_server_had_it(self, deed: Deed) -> Deed:
        if deed.deed != "published":
            return deed
        track = str(deed.data["track"])
        if track in self._lost:
            return evolve(deed, data={**deed.data, "lost": True})
        return evolve(deed, at=self._arrivals.get(track, deed.at))

    def _until_the_end(self, room_sid: str, deeds: list[Deed]) -> list[Deed]:
        deeds = sorted(deeds, key=lambda deed: (deed.at, deed.deed != "joined"))
        end = self._ends.get(room_sid)
        if end is None:
            return deeds
        lived = [deed for deed in deeds if deed.at <= end]
        left = {deed.sid for deed in lived if deed.deed == "left"}
        lost = [deed for deed in lived if deed.deed == "joined" and deed.sid not in left]
        data = {"reason": None}
        return [*lived, *(evolve(deed, deed="left", at=end, data=data) for deed in lost)]

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Every session by its room's SID, whole; of two workers' the one that saw more."""
        sessions_by_room: dict[str, dict[str, Any]] = {}
        for data_dir in self.data_dirs:
            with suppress(NoStore), open_reader(data_dir) as reader:
                rows = reader.sessions(limit=10_000).sessions
                sids = [row.room_sid for row in rows]
                assert len(set(sids)) == len(sids), "a life of a room has two sessions"
                for sid in sids:
                    session = reader.session(sid)
                    assert session is not None
                    if (
                        sid not in sessions_by_room
                        or sessions_by_room[sid]["coverage"] < session.coverage
                    ):
                        sessions_by_room[sid] = as_json(session)
        return sessions_by_room

    def judge(self, name: str, *, must_have_session: bool = True) -> Account:
        """Every session against the truth; a row of the table."""
        account, sessions = Account(name), self.sessions()
        truths = self.truth()
        # The list is read too rarely on a busy machine: somebody may have been there meanwhile.
        with_people = {truth.room_sid for truth in truths}
        account.differences += made_by_us(
            {sid: one for sid, one in self._instances.items() if sid not in with_people}
        )
        ACCOUNTS.append(account)
        for truth in truths:
            sid = truth.room_sid
            session, blind = sessions.pop(sid, None), self.blind.get(sid, [])
            if session is None and not must_have_session:
                continue
            instance = self._instances.get(sid)
            entries = () if instance is None else instance.entries
            comparison = Comparison(account, truth, session, blind, self.webhooks, entries)
            comparison.run(sid in self.blind)
        for session in sessions.values():
            if session["people"]["joins"]:
                account.differences.append(f"nobody was in {session['room']}: {session}")
        if account.differences:
            account.differences += [f"of the people: {error}" for error in self._errors]
            if self.worker is not None:
                account.differences += self._connection_lines(self.worker)
        return account

    def _connection_lines(self, worker: Agent) -> list[str]:
        events = ("reconnecting", "reconnected", "session_started", "session_ended")
        lines = [line for event in events for line in worker.events(event)]
        return [
            f"of the worker: {line}" for line in sorted(lines, key=lambda line: str(line["at"]))
        ]


def newest_agent(people: Sequence[ParticipantInfo]) -> float:
    """The time at which the last agent that is in the room came; 0 where none is."""
    came = [who.joined_at_ms / 1000 for who in people if who.kind == who.AGENT]
    return max(came, default=0.0)


@asynccontextmanager
async def open_cluster(
    server: PrivateServer, data_dir: Path, *, http_port: int = 0
) -> AsyncGenerator[Cluster, None]:
    """A cluster around a server that runs.  Its worker is killed in the end where it still runs.

    `http_port` is where the server's webhooks go; 0: it sends none.
    """
    env = {"ROOM_ACTORS_HTTP": f"127.0.0.1:{http_port}"}
    async with (
        open_people(server.url, server.api_key, server.api_secret) as people,
        server_api(server) as api,
        trio.open_nursery() as nursery,
    ):
        cluster = Cluster(nursery, server, api, people, [data_dir], env, webhooks=http_port != 0)
        nursery.start_soon(cluster.watch_instances)
        yield cluster
        nursery.cancel_scope.cancel()
