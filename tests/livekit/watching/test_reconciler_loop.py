"""The reconciler over time, against a server that exists only here.  In virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from typing import cast

import pytest
import structlog.testing
import trio
from attrs import define, field
from livekit.protocol import agent_dispatch, models
from trio.testing import MockClock

from bridge.livekit.api_errors import Unavailable
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from bridge.livekit.watching import reconciler as r
from bridge.livekit.watching.room_candidates import MAX_PROMPT_LAUNCHES
from bridge.livekit.watching.room_inspection import OWN_ROOM_INTERVAL
from bridge.livekit.watching.watch_log import MAX_NAMESAKES
from bridge.livekit.watching.watch_state import OurRooms
from bridge.livekit.worker.job_refusals import OUR_DISPATCH
from bridge.livekit.worker.jobs import Reserve


def an_agent(identity: str, instance: str, *, joined_at: int) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity=identity,
        kind=models.ParticipantInfo.Kind.AGENT,
        joined_at=joined_at,
        attributes={"lk.agent_name": "watcher"}
        | ({INSTANCE_ATTRIBUTE: instance} if instance else {}),
    )


@define(eq=False)
class Rooms:
    """The part of `ServerApi` that the reconciler uses, without a server."""

    rooms: list[str] = field(factory=list[str])
    sids: dict[str, str] = field(factory=dict[str, str])
    """Room: its SID, where that is not "RM_" and its name."""
    agents: dict[str, str] = field(factory=dict[str, str])
    """Room: the instance id of the agent of our name that is there since for ever; "" for an
    agent that is no worker of ours."""
    guests: dict[str, str] = field(factory=dict[str, str])
    """Room: the identity and instance, as "agent-1@here", of one that came after it."""
    people: set[str] = field(factory=set[str])
    """Rooms that alice is in."""
    deleted: list[str] = field(factory=list[str])
    """SIDs of rooms that we deleted."""
    made_anew: bool = False
    """A room is deleted just before a dispatch to it comes, which makes it anew."""
    made_at: dict[str, float] = field(factory=dict[str, float])
    """Room: when it was made."""
    removed: list[tuple[float, str, str]] = field(factory=list[tuple[float, str, str]])
    gone: set[str] = field(factory=set[str])
    """Rooms that are listed and end before anybody can look at them."""
    error: Exception | None = None
    dispatch_error: Exception | None = None
    dispatched: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    looks: int = 0
    lists: int = 0
    _dispatches: dict[str, list[agent_dispatch.AgentDispatch]] = field(
        factory=dict[str, list[agent_dispatch.AgentDispatch]]
    )
    _ids: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def server_time(self) -> float:
        return trio.current_time()

    async def list_rooms(self, asked: Sequence[str] = ()) -> list[models.Room]:
        await trio.lowlevel.checkpoint()
        self.lists += 1
        if self.error is not None:
            raise self.error
        return [
            models.Room(
                sid=self.sids.get(name, f"RM_{name}"),
                name=name,
                creation_time_ms=int(1000 * self.made_at.get(name, 0.0)),
            )
            for name in self.rooms
            if not asked or (name in asked and name not in self.gone)
        ]

    async def delete_room(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.deleted.append(self.sids.pop(name))
        self.rooms.remove(name)

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        found: list[models.ParticipantInfo] = []
        if name in self.people:
            found.append(models.ParticipantInfo(identity="alice"))
        if name in self.agents:
            found.append(an_agent("agent-0", self.agents[name], joined_at=1))
        if name in self.guests:
            found.append(an_agent(*self.guests[name].split("@"), joined_at=2))
        return found

    async def remove_participant(self, name: str, identity: str) -> None:
        await trio.lowlevel.checkpoint()
        self.removed.append((trio.current_time(), name, identity))
        del self.guests[name]

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        await trio.lowlevel.checkpoint()
        return self._dispatches.get(name, [])

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        await trio.lowlevel.checkpoint()
        if self.dispatch_error is not None:
            raise self.dispatch_error
        if self.made_anew:
            self.sids[name] = f"RM_{name}_anew"
            self.made_at.setdefault(name, trio.current_time())
        made = agent_dispatch.AgentDispatch(
            id=f"AD_{next(self._ids)}",
            agent_name=agent_name,
            metadata=metadata,
            state=agent_dispatch.AgentDispatchState(created_at=int(trio.current_time() * 1e9)),
        )
        self._dispatches.setdefault(name, []).append(made)
        self.dispatched.append((trio.current_time(), name))
        return made

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._dispatches[name] = [x for x in self._dispatches[name] if x.id != dispatch_id]

    @property
    def clock(self) -> Rooms:
        return self

    def now(self) -> float:
        return trio.current_time()

    def times(self, name: str) -> list[float]:
        return [at for at, room in self.dispatched if room == name]


@define(eq=False)
class Places:
    """A worker as the reconciler sees it."""

    registered: bool = True
    draining: bool = False
    free: int = 100
    rooms: frozenset[str] = frozenset()
    """SIDs."""
    identities: frozenset[str] = frozenset()
    pending_entries: int = 0
    places_for_people: int = 0
    reserve: Reserve = field(factory=Reserve)
    claims: list[tuple[float, str]] = field(factory=list[tuple[float, str]])
    on_claim: Callable[[str], object] = lambda _sid: None
    registration: trio.Event = field(factory=trio.Event)
    moved: trio.Event = field(factory=trio.Event)

    async def wait_registered(self) -> None:
        if not self.registered:
            await self.registration.wait()
        await trio.lowlevel.checkpoint()

    async def wait_pending_entries(self, most: int) -> None:
        while self.pending_entries > most:
            await self.moved.wait()
        await trio.lowlevel.checkpoint()

    def enter(self, rooms: int) -> None:
        """So many of the rooms that were under way are entered."""
        self.pending_entries -= rooms
        self.moved.set()
        self.moved = trio.Event()

    def reserved_from(self, room: str) -> int:
        taken = sum(self.reserve.fits(sid.removeprefix("RM_")) for sid in self.rooms)
        return 0 if self.reserve.fits(room) else max(0, self.reserve.places - taken)

    def reserved_for(self, room: str) -> bool:
        return self.reserve.fits(room)

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        self.claims.append((trio.current_time(), room))
        self.on_claim(room_sid)

    def take(self, *names: str) -> None:
        self.take_sids(*(f"RM_{name}" for name in names))

    def take_sids(self, *sids: str) -> None:
        self.rooms |= set(sids)
        self.free -= len(sids)

    def begin_to_enter(self, sid: str) -> None:
        """What a worker does with a claim that the server serves."""
        self.take_sids(sid)
        self.pending_entries += 1


@define(eq=False)
class Scene:
    nursery: trio.Nursery
    rooms: Rooms
    places: Places = field(factory=Places)
    occupied: set[str] = field(factory=set[str])
    excluded: set[str] = field(factory=set[str])
    resumable: set[str] = field(factory=set[str])
    vacant: list[str] = field(factory=list[str])
    """Names of rooms of ours that nobody is in, the newest first."""
    given_up: list[str] = field(factory=list[str])

    def give_up(self, sid: str) -> None:
        """What the program does with an empty room whose place is wanted."""
        self.given_up.append(sid)
        self.vacant.remove(sid.removeprefix("RM_"))
        self.places.rooms -= {sid}
        self.places.free += 1

    def start(
        self,
        watch: Sequence[str] = ("*",),
        instance: str = "here",
        former: Collection[str] = (),
        *,
        claims_when_alone: bool = False,
    ) -> r.Reconciler:
        reconciler = r.Reconciler(
            api=cast("ServerApi", self.rooms),
            worker=self.places,
            agent_name="watcher",
            instance=instance,
            former_instances=frozenset(former),
            watch=watch,
            rooms=OurRooms(
                occupied=lambda: self.occupied,
                excluded=lambda name, sid: name in self.excluded and sid == f"RM_{name}",
                resumable=lambda: self.resumable,
                vacant=lambda: [(f"RM_{name}", name) for name in self.vacant],
                give_up=self.give_up,
            ),
            claims_when_alone=claims_when_alone,
            rng=random.Random(1),
        )
        self.nursery.start_soon(reconciler.run)
        return reconciler


@pytest.fixture
def scene(nursery: trio.Nursery) -> Scene:
    return Scene(nursery, Rooms())


def names(dispatched: Collection[tuple[float, str]]) -> list[str]:
    return [name for _, name in dispatched]


async def test_rooms_older_than_the_worker_are_dispatched_to_at_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro"]
    scene.start()
    await trio.sleep(r.NEW_ROOM_GRACE)
    assert set(names(scene.rooms.dispatched)) == {"standup", "retro"}


async def test_a_room_that_appears_is_dispatched_to_after_a_moment_for_whoever_made_it(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.start()
    await trio.sleep(10)
    appeared = trio.current_time()
    scene.rooms.rooms = ["standup"]
    await trio.sleep(4)
    (at,) = scene.rooms.times("standup")
    assert r.NEW_ROOM_GRACE / 4 <= at - appeared <= r.INTERVAL + r.NEW_ROOM_GRACE


async def test_a_room_its_maker_dispatches_us_to_gets_one_agent(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.start()
    await trio.sleep(10)
    scene.rooms.rooms = ["standup"]
    await scene.rooms.create_dispatch("standup", "watcher")
    await trio.sleep(3)
    assert len(scene.rooms.dispatched) == 1


async def test_what_is_held_excluded_or_does_not_match_is_left_alone(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["team-1", "team-2", "team-3", "team-4", "private"]
    scene.places.take("team-1")
    scene.occupied = {"team-2"}
    scene.excluded = {"team-3"}
    scene.start(watch=("team-*",))
    await trio.sleep(30)
    assert set(names(scene.rooms.dispatched)) == {"team-4"}


async def test_an_empty_watch_list_does_nothing_at_all(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.start(watch=())
    await trio.sleep(30)
    assert scene.rooms.lists == 0


async def test_a_dispatch_that_brings_no_job_is_repeated_with_growing_delays(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.start()
    await trio.sleep(300)
    times = scene.rooms.times("standup")
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[:3] == [pytest.approx(wait, abs=1.5) for wait in (4, 8, 15)]
    assert all(60 <= gap <= 62 for gap in gaps[5:])


async def test_a_room_we_enter_and_lose_at_once_is_not_dispatched_to_at_once_again(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.start()
    for _ in range(60):
        before = len(scene.rooms.dispatched)
        await trio.sleep(1)
        if len(scene.rooms.dispatched) > before:
            scene.places.take("standup")
            await trio.sleep(1)
            scene.places.rooms = frozenset()
    assert 3 <= len(scene.rooms.dispatched) <= 5


async def test_a_room_we_held_for_long_and_lost_is_dispatched_to_within_seconds(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.start()
    await trio.sleep(0.5)
    scene.places.take("standup")
    await trio.sleep(60)
    lost = trio.current_time()
    scene.places.rooms = frozenset()
    await trio.sleep(3)
    assert scene.rooms.times("standup")[-1] - lost <= 2


async def test_a_room_another_worker_watches_is_left_to_it_until_its_agent_goes(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.agents = {"standup": "elsewhere"}
    scene.start()
    await trio.sleep(100)
    assert scene.rooms.dispatched == []
    gone = trio.current_time()
    scene.rooms.agents = {}
    await trio.sleep(6)
    assert scene.rooms.times("standup")[0] - gone <= 5


async def test_what_a_crash_of_ours_left_behind_does_not_count_as_a_watcher(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.agents = {"standup": "here"}
    await scene.rooms.create_dispatch("standup", "watcher", OUR_DISPATCH)
    scene.start()
    await trio.sleep(0.5)
    assert len(scene.rooms.times("standup")) == 2


@pytest.mark.parametrize("started_ago, taken", [(0.0, 2), (40.0, 1)])
async def test_what_a_former_id_of_ours_left_behind_is_no_watcher_soon_after_the_start(
    started_ago: float, taken: int, scene: Scene, autojump_clock: MockClock
) -> None:
    """A later agent of that id is another worker's, which had the same one before."""
    scene.start(former=["before"])
    await trio.sleep(started_ago)
    scene.rooms.rooms = ["standup"]
    scene.rooms.agents = {"standup": "before"}
    await scene.rooms.create_dispatch("standup", "watcher", OUR_DISPATCH)
    await trio.sleep(3)
    assert len(scene.rooms.times("standup")) == taken


async def test_a_worker_with_the_same_instance_id_is_noticed_and_not_fought_for_ever(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.agents = {"standup": "here"}
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(600)
    assert 1 <= len(scene.rooms.dispatched) <= 4
    assert [line["event"] for line in logs].count("instance_shared") == 1


async def test_looking_at_the_rooms_of_others_is_thinned_out_when_they_are_many(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = [f"room-{number}" for number in range(500)]
    scene.rooms.agents = dict.fromkeys(scene.rooms.rooms, "elsewhere")
    scene.start()
    await trio.sleep(50)
    before = scene.rooms.looks
    await trio.sleep(100)
    assert (scene.rooms.looks - before) / 100 <= 1.2 * r.INSPECTIONS_PER_SECOND


async def test_only_as_many_are_dispatched_to_as_there_are_places_and_it_is_said_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = [f"room-{number}" for number in range(10)]
    scene.rooms.people = set(scene.rooms.rooms)
    scene.places.free = 3
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        taken = names(scene.rooms.dispatched)
        scene.places.take(*taken)
        await trio.sleep(60)
    assert len(scene.rooms.dispatched) == 3
    said = [line for line in logs if line["event"] == "rooms_not_watched"]
    assert [line["rooms"] for line in said] == [7]
    assert len(said[0]["first"]) == 5


async def test_rooms_with_nobody_in_them_leave_places_to_those_with_people(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Three that were prepared and one with people, for three places."""
    scene.rooms.rooms = ["empty-1", "empty-2", "empty-3", "standup"]
    scene.rooms.people = {"standup"}
    scene.places.free, scene.places.places_for_people = 3, 1
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        taken = names(scene.rooms.dispatched)
        scene.places.take(*taken)
        await trio.sleep(30)
    assert "standup" in taken
    assert len(taken) >= 2
    assert set(names(scene.rooms.dispatched)) == set(taken)
    assert not [line for line in logs if line["event"] == "rooms_not_watched"]


async def test_an_empty_room_that_has_no_place_is_ours_soon_after_somebody_came(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["empty-1"]
    scene.places.free, scene.places.places_for_people = 1, 1
    scene.start()
    await trio.sleep(30)
    assert scene.rooms.dispatched == []
    came_at = trio.current_time()
    scene.rooms.people = {"empty-1"}
    await trio.sleep(10)
    assert scene.rooms.times("empty-1")[0] - came_at <= r.RECHECK_INTERVAL


async def test_an_empty_room_gives_its_place_to_one_with_people_the_newest_first(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["silent", "newer", "older", "standup"]
    scene.places.free = 3
    scene.places.take("silent", "newer", "older")
    scene.vacant = ["silent", "newer", "older"]
    scene.rooms.people = {"silent", "standup"}  # Who is silent is announced later.
    scene.start()
    await trio.sleep(2)
    assert scene.given_up == ["RM_newer"]
    assert names(scene.rooms.dispatched) == ["standup"]


async def test_a_room_with_people_never_gives_its_place_up(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["retro", "standup"]
    scene.rooms.people = {"retro", "standup"}
    scene.places.free = 1
    scene.places.take("retro")
    scene.vacant = ["retro"]
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(30)
    assert (scene.given_up, scene.rooms.dispatched) == ([], [])
    assert [line["rooms"] for line in logs if line["event"] == "rooms_not_watched"] == [1]


async def test_reserved_places_are_for_the_rooms_of_the_first_pattern(
    scene: Scene, autojump_clock: MockClock
) -> None:
    others = [f"other-{number}" for number in range(5)]
    scene.rooms.rooms = [*others, "team-1"]
    scene.rooms.people = {*scene.rooms.rooms, "team-2"}
    scene.places.free, scene.places.reserve = 4, Reserve(2, "team-*")
    scene.start(watch=("team-*", "*"))
    first = set[str]()
    for _ in range(10):
        await trio.sleep(1)
        scene.places.take(*(set(names(scene.rooms.dispatched)) - first))
        first = set(names(scene.rooms.dispatched))
    assert "team-1" in first
    assert len(first) == 3, "one place is kept for another room of the team"
    scene.rooms.rooms.append("team-2")
    await trio.sleep(5)
    assert set(names(scene.rooms.dispatched)) == {*first, "team-2"}


async def test_an_empty_room_that_places_are_reserved_for_keeps_its_place_from_others(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["team-1", "standup"]
    scene.rooms.people = {"standup"}
    scene.places.free, scene.places.reserve = 1, Reserve(1, "team-*")
    scene.places.take("team-1")
    scene.vacant = ["team-1"]
    scene.start(watch=("team-*", "*"))
    await trio.sleep(30)
    assert (scene.given_up, scene.rooms.dispatched) == ([], [])


async def test_a_place_that_becomes_free_is_used_within_seconds(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.people = {"standup"}
    scene.places.free = 0
    scene.start()
    await trio.sleep(30)
    assert scene.rooms.dispatched == []
    scene.places.free = 1
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(3)
        scene.places.take("standup")
        await trio.sleep(5)
    assert names(scene.rooms.dispatched) == ["standup"]
    assert logs[-1]["event"] == "rooms_all_watched"


async def test_two_reconcilers_that_dispatch_in_the_same_moment_leave_one_dispatch(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro"]
    scene.start(instance="here")
    scene.start(instance="there")
    await trio.sleep(1)
    for name in scene.rooms.rooms:
        assert len(await scene.rooms.list_dispatch(name)) == 1


async def test_nothing_is_dispatched_while_the_worker_is_not_registered_or_draining(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.places.registered = False
    scene.start()
    await trio.sleep(60)
    assert scene.rooms.dispatched == []
    scene.places.draining = True
    scene.places.registered = True
    scene.places.registration.set()
    await trio.sleep(60)
    assert scene.rooms.dispatched == []
    scene.places.draining = False
    await trio.sleep(2)
    assert names(scene.rooms.dispatched) == ["standup"]


async def test_a_server_that_fails_is_survived_and_logged_once_and_its_return_noticed(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.error = Unavailable("RoomService/ListRooms: cannot reach the server")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(300)
        assert 300 / r.ERROR_BACKOFF.most <= scene.rooms.lists <= 60
        scene.rooms.error = None
        await trio.sleep(r.ERROR_BACKOFF.most)
    assert [line["event"] for line in logs][:3] == [
        "reconcile_failed",
        "room_dispatched",
        "reconcile_recovered",
    ]


async def test_one_room_that_fails_does_not_keep_the_others_waiting(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro"]
    scene.rooms.dispatch_error = Unavailable("no answer")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        scene.rooms.dispatch_error = None
        await trio.sleep(30)
    assert {"standup", "retro"} <= set(names(scene.rooms.dispatched))
    assert logs[0]["event"] == "reconcile_failed"
    assert logs[0]["rooms"] == 2


async def test_a_fault_that_nobody_thought_of_ends_neither_the_reconciler_nor_the_process(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.error = RecursionError("of an odd answer")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(300)
        assert scene.rooms.lists <= 60
        scene.rooms.error = None
        scene.rooms.dispatch_error = OverflowError("of another")
        await trio.sleep(r.ERROR_BACKOFF.most)
        scene.rooms.dispatch_error = None
        await trio.sleep(30)
    assert set(names(scene.rooms.dispatched)) == {"standup"}
    failed = [line["error"] for line in logs if line["event"] == "reconcile_failed"]
    assert list(dict.fromkeys(failed)) == [
        "a fault in this program: RecursionError",
        "a fault in this program: OverflowError",
    ]
    passes = [line["event"] for line in logs if line["event"].startswith("reconcile_")]
    assert passes[-1] == "reconcile_recovered"


# ------------------------------------------------------------------------------ claims


def many(number: int) -> list[str]:
    return [f"room-{n}" for n in range(number)]


async def test_a_burst_beyond_what_livekit_launches_is_claimed_as_fast_as_rooms_are_entered(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = many(100)
    scene.places.on_claim = scene.places.begin_to_enter
    scene.start()
    await trio.sleep(1)
    # A few lookers are past the question when the last place at the doors is taken.
    assert (
        r.MAX_OPEN_CLAIMS <= len(scene.places.claims) < r.MAX_OPEN_CLAIMS + r.PARALLEL_INSPECTIONS
    )
    for _ in range(40):
        scene.places.enter(min(4, scene.places.pending_entries))
        await trio.sleep(0.1)
    claimed = names(scene.places.claims)
    assert sorted([*claimed, *names(scene.rooms.dispatched)]) == sorted(scene.rooms.rooms)
    assert len(scene.rooms.dispatched) <= MAX_PROMPT_LAUNCHES, "the rest LiveKit may place"


async def test_a_claim_that_brings_nothing_is_followed_by_a_dispatch(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = many(MAX_PROMPT_LAUNCHES + 1)
    scene.start()
    await trio.sleep(3)
    assert len(scene.places.claims) == MAX_PROMPT_LAUNCHES + 1
    assert scene.rooms.dispatched == []
    await trio.sleep(2)
    assert sorted(names(scene.rooms.dispatched)) == sorted(scene.rooms.rooms)
    assert len(scene.places.claims) == MAX_PROMPT_LAUNCHES + 1


async def test_rooms_whose_entry_is_refused_are_tried_ever_more_rarely(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = many(100)

    async def fail(sid: str) -> None:
        await trio.sleep(0.3)
        scene.places.rooms -= {sid}
        scene.places.free += 1
        scene.places.enter(1)

    def begin_in_vain(sid: str) -> None:
        scene.places.begin_to_enter(sid)
        scene.nursery.start_soon(fail, sid)

    scene.places.on_claim = begin_in_vain
    scene.start()
    await trio.sleep(120)
    tries = len(scene.places.claims) + len(scene.rooms.dispatched)
    assert 400 <= tries <= 600, "5 or 6 for each in two minutes"
    assert scene.places.free == 100


# ------------------------------------------------------------- what we watched before


async def test_rooms_that_are_wanted_are_claimed_at_once_whatever_watch_says_and_only_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro", "other"]
    scene.rooms.agents = {"standup": "here"}  # Ours, from before we were killed.
    scene.resumable = {"RM_standup", "RM_retro", "RM_long-gone"}
    scene.places.registered = False

    def go_on_with(sid: str) -> None:
        scene.places.take_sids(sid)
        scene.resumable.discard(sid)

    scene.places.on_claim = go_on_with
    scene.start(watch=())
    await trio.sleep(10)
    scene.places.registered = True
    scene.places.registration.set()
    await trio.sleep(0.01)
    assert {*names(scene.places.claims)} == {"standup", "retro"}
    scene.places.rooms = frozenset()  # Sent out again.
    await trio.sleep(100)
    assert len(scene.places.claims) == 2
    assert scene.rooms.dispatched == []


async def test_a_wanted_room_that_another_worker_watches_or_that_is_excluded_is_left_alone(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro"]
    scene.rooms.agents = {"standup": "elsewhere"}
    scene.excluded = {"retro"}
    scene.resumable = {"RM_standup", "RM_retro"}
    scene.start()
    await trio.sleep(60)
    assert scene.places.claims == []


async def test_a_wanted_room_that_ended_before_the_look_is_not_made_anew(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.gone = {"standup"}
    scene.resumable = {"RM_standup"}
    scene.start(watch=())
    await trio.sleep(1)
    assert scene.places.claims == []


async def test_wanted_rooms_get_the_places_first(scene: Scene, autojump_clock: MockClock) -> None:
    scene.rooms.rooms = many(30)
    scene.resumable = {f"RM_room-{number}" for number in range(25, 30)}
    scene.places.free = 5
    scene.places.on_claim = scene.places.take_sids
    scene.start()
    await trio.sleep(5)
    assert {f"RM_{name}" for name in names(scene.places.claims)} == scene.resumable


async def test_a_worker_without_a_name_only_goes_on_with_what_it_watched(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup", "retro"]
    scene.resumable = {"RM_standup"}
    reconciler = r.Reconciler(
        cast("ServerApi", scene.rooms),
        scene.places,
        "",
        "here",
        (),
        OurRooms(resumable=lambda: scene.resumable),
    )
    scene.nursery.start_soon(reconciler.run)
    await trio.sleep(5)
    assert {*names(scene.places.claims)} == {"standup"}
    assert len(scene.places.claims) == 2, "tried again"
    assert scene.rooms.dispatched == []


# ---------------------------------------------------------------------- lives of a room


async def test_another_life_of_a_name_is_watched_while_the_last_one_is_still_being_left(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.places.take("standup")
    scene.occupied = {"standup"}
    scene.start()
    await trio.sleep(60)
    scene.rooms.sids["standup"] = "RM_2"
    scene.occupied = set()  # Its session has ended; the job of its first life has not.
    again = trio.current_time()
    await trio.sleep(3)
    assert scene.rooms.times("standup")[0] - again <= r.INTERVAL + r.NEW_ROOM_GRACE


async def test_another_life_of_a_room_to_which_our_connection_may_come_back_is_left_to_it(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.places.take("standup")
    scene.occupied = {"standup"}
    scene.start()
    await trio.sleep(60)
    scene.rooms.sids["standup"] = "RM_2"  # The server was killed and came back.
    await trio.sleep(20)
    assert scene.rooms.dispatched == []
    # It did come back, under the identity of its job, but ended there.
    scene.rooms.guests = {"standup": "agent-1@here"}
    scene.places.identities = frozenset({"agent-1"})
    scene.occupied = set()
    await trio.sleep(20)
    assert scene.rooms.dispatched == []


# ------------------------------------------------------------- two workers in one room


async def test_a_room_in_which_another_worker_was_first_is_left_and_left_alone(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.places.take("standup")
    scene.places.identities = frozenset({"agent-1"})
    scene.start()
    await trio.sleep(5)
    scene.rooms.agents = {"standup": "elsewhere"}
    scene.rooms.guests = {"standup": "agent-1@here"}
    came = trio.current_time()
    await trio.sleep(OWN_ROOM_INTERVAL + 5)
    ((at, *removed),) = scene.rooms.removed
    assert removed == ["standup", "agent-1"]
    assert at - came <= r.RECHECK_INTERVAL + r.INTERVAL
    scene.places.rooms = frozenset()
    await trio.sleep(60)
    assert scene.rooms.dispatched == []


async def test_a_room_in_which_we_were_first_is_kept(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.agents = {"standup": "here"}
    scene.rooms.guests = {"standup": "agent-1@elsewhere"}
    scene.places.take("standup")
    scene.places.identities = frozenset({"agent-0"})
    scene.start()
    await trio.sleep(300)
    assert scene.rooms.removed == []
    assert scene.rooms.looks <= 2 * 300 / OWN_ROOM_INTERVAL + 1


# ----------------------------------------------------------------------- being told


async def test_a_room_that_we_are_told_of_is_looked_at_at_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    reconciler = scene.start()
    await trio.sleep(10.2)
    scene.rooms.rooms = ["standup"]
    told_at = trio.current_time()
    reconciler.inspect_now("RM_standup")
    reconciler.inspect_now("RM_that-nobody-knows")
    await trio.sleep(0.01)
    assert scene.rooms.times("standup") == [told_at]


async def test_being_told_while_draining_or_away_costs_nothing(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.places.draining = True
    reconciler = scene.start()
    await trio.sleep(10)
    reconciler.inspect_now("RM_standup")
    await trio.sleep(10)
    assert scene.rooms.lists == 0


async def test_what_was_dispatched_when_the_worker_lost_its_socket_is_dispatched_again_at_once(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.start()
    await trio.sleep(1)
    assert len(scene.rooms.dispatched) == 1
    scene.places.registered = False
    await trio.sleep(1)
    scene.places.registered = True
    scene.places.registration.set()
    back = trio.current_time()
    await trio.sleep(r.INTERVAL + r.NEW_ROOM_GRACE)
    assert scene.rooms.times("standup")[1] - back <= r.INTERVAL + r.NEW_ROOM_GRACE


def test_there_is_no_reconciler_for_an_unnamed_worker() -> None:
    with pytest.raises(ValueError, match="agent name"):
        r.Reconciler(cast("ServerApi", Rooms()), Places(), "", "here", ("*",))


async def test_another_agent_of_our_name_is_told_once_a_room_and_the_room_is_claimed(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """A dispatch could go to that agent again."""
    scene.rooms.rooms = [f"room-{number}" for number in range(30)]
    scene.rooms.agents = dict.fromkeys(scene.rooms.rooms, "")
    scene.places.on_claim = scene.places.take_sids
    with structlog.testing.capture_logs() as logs:
        scene.start()
        await trio.sleep(120)
    assert set(names(scene.places.claims)) | set(names(scene.rooms.dispatched)) == set(
        scene.rooms.rooms
    )
    assert len(scene.rooms.dispatched) <= r.PARALLEL_INSPECTIONS, (
        "only those that were looked at meanwhile"
    )
    said = [line for line in logs if line["event"] == "agent_name_shared"]
    assert len(said) == MAX_NAMESAKES
    assert [line["last"] for line in said].count(True) == 1
    assert {line["identity"] for line in said} == {"agent-0"}


async def test_a_room_that_our_dispatch_made_anew_is_deleted_unless_somebody_is_there(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.rooms.rooms = ["standup"]
    scene.rooms.made_anew = True
    scene.start()
    await trio.sleep(1)
    assert scene.rooms.deleted == ["RM_standup_anew"]
    scene.rooms.rooms, scene.rooms.people = ["retro"], {"retro"}
    await trio.sleep(10)
    assert "retro" in names(scene.rooms.dispatched)
    scene.rooms.rooms, scene.rooms.made_at = ["owners"], {"owners": 1.0}
    await trio.sleep(10)
    assert "owners" in names(scene.rooms.dispatched)
    assert scene.rooms.deleted == ["RM_standup_anew"], "made by its owner, before we asked"


async def test_a_worker_that_sees_no_other_claims_and_one_that_does_dispatches(
    scene: Scene, autojump_clock: MockClock
) -> None:
    scene.places.on_claim = scene.places.take_sids
    scene.rooms.rooms = ["standup"]
    scene.start(claims_when_alone=True)
    await trio.sleep(1)
    assert (names(scene.places.claims), scene.rooms.dispatched) == (["standup"], [])
    scene.rooms.rooms.append("retro")
    scene.rooms.agents = {"retro": "elsewhere"}
    await trio.sleep(5)
    scene.rooms.rooms.append("review")
    await trio.sleep(5)
    assert names(scene.places.claims) == ["standup"]
    assert set(names(scene.rooms.dispatched)) == {"review"}
