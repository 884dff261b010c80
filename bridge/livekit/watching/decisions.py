"""What the reconciler decides, from plain data and without any I/O.

Rooms are told apart by their SID, never by their name: a name can end and begin again
within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from attrs import define, field, frozen
from livekit.protocol import agent_dispatch, models

from actors.runtime import Backoff
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, CHECK_PREFIX, INSTANCE_ATTRIBUTE
from bridge.livekit.worker.jobs import LONGEST
from bridge.livekit.worker.worker_protocol import OUR_DISPATCH

DISPATCH_GRACE: Final = 3.5
"""Seconds for which somebody's dispatch counts as being under way: LiveKit gives a worker
3 s to answer."""

FRESH_IN_A_BURST: Final = 0.8
"""The same where more rooms than LiveKit launches in one go wait: a dispatch becomes a job
after 0.2 s or stands in a queue of seconds, which a claim of ours gets around.  Where the
job comes all the same it is a second one for the same room."""

ENTERING: Final = 5.0
"""Seconds for which the job it became does: its room is being entered."""

LAUNCHES_AT_ONCE: Final = 20
"""More dispatches than this in one go are served late.  LiveKit has 50 places for launching
jobs and takes two for each dispatch; for the first 5 s after a worker registered (it then
asks every node which agents there are), and again once a minute, it keeps one of them.
Measured: of 100 dispatches right after a registration, 25 became jobs at once, 75 after
5.6 s."""

LAUNCH: Final = 5.0
"""Seconds for which LiveKit keeps such a place: "in one go" is within these."""

LATE: Final = 10.0
"""Seconds for which a dispatch counts as being under way where many were made at once.
Measured: of 300 the last became a job after 7 s."""

RETRY: Final = Backoff(first=DISPATCH_GRACE, most=60.0)
"""The first retry comes when the last try is not under way any more."""

BURST_RETRY: Final = Backoff(first=LATE, most=60.0)
"""The same where many rooms were dispatched to at once."""

KEPT_AFTER: Final = 30.0
"""Seconds after its last try for which a room must be ours for its tries to be forgotten:
one that we enter and lose at once is not tried at once again."""

CLOCKS_APART: Final = 5.0
"""Seconds by which the clocks of two nodes of LiveKit are apart at most."""

NANOSECONDS: Final = 1e9
"""In a second: LiveKit's unit for when a dispatch was made and a job started."""


@frozen
class ListedRoom:
    """A room as `ListRooms` shows it."""

    sid: str
    name: str
    created_at: float = 0.0
    """Unix seconds."""
    people: int = 0
    """As the list has them, which lags by up to 3 s."""

    @classmethod
    def of(cls, room: models.Room) -> ListedRoom:
        # Servers before 1.8 tell whole seconds only.
        created_at = room.creation_time_ms / 1000 or float(room.creation_time)
        return cls(room.sid, room.name, created_at, room.num_participants)


def rooms_in(listed: Iterable[models.Room]) -> list[ListedRoom]:
    """Each life of a room once, however often the list has it; none without name or SID, and
    none whose name is longer than a job's may be."""
    found = {
        room.sid: ListedRoom.of(room)
        for room in listed
        if room.sid and room.name and max(len(room.sid), len(room.name)) <= LONGEST
    }
    return list(found.values())


@frozen
class ListedAgent:
    """An agent of our name as `ListParticipants` shows it."""

    identity: str
    instance: str
    """Of the worker it belongs to, "" where it carries none."""
    joined_at: float
    """Unix seconds, on the server's clock."""


@define
class RoomMemory:
    """What we remember of a room.  Times are on trio's clock."""

    next_look: float
    ours: bool = False
    """It was ours when the rooms were last listed."""
    tries: int = 0
    """How often we tried to have it without keeping it."""
    tried_at: float = float("-inf")
    dispatches: set[str] = field(factory=set[str])
    """The ids of our own."""
    ghost_since: float = float("inf")
    """Since when an agent with our instance id is there that is not ours any more."""
    watched_by_others: bool = False
    people: bool = False
    """Somebody was in it when it was last looked at."""
    place_of: str = ""
    """The SID of an empty room of ours that is left so that this one has its place."""
    namesake: bool = False
    """It was said that an agent of our name is there that is none of ours."""
    place_asked_at: float = float("-inf")
    unplaced: bool = False
    """There was no place for it when it was last looked at."""


# ------------------------------------------------------------------------ which rooms


def watches(patterns: Iterable[str], room: str) -> bool:
    """Whether a room's name fits one of the globs, upper and lower case apart."""
    return any(fnmatchcase(room, pattern) for pattern in patterns)


def candidates(
    rooms: Iterable[ListedRoom],
    memory: Mapping[str, RoomMemory],
    *,
    patterns: Sequence[str],
    wanted: Collection[str],
    excluded: Callable[[str, str], bool],
) -> list[ListedRoom]:
    """The rooms that are ours, and those that should be.

    `wanted` are the SIDs of rooms to be watched whatever the patterns say.
    """

    def should_be_ours(room: ListedRoom) -> bool:
        return (
            (room.sid in wanted or watches(patterns, room.name))
            and not room.name.startswith(CHECK_PREFIX)
            and not excluded(room.name, room.sid)
        )

    return [room for room in rooms if memory[room.sid].ours or should_be_ours(room)]


# ------------------------------------------------------------------------ who is there


def our_agents(
    participants: Iterable[models.ParticipantInfo], agent_name: str
) -> tuple[ListedAgent, ...]:
    """The agents of our name that are workers of ours: they carry an instance id.  Others may
    bear the same name (`namesakes`)."""
    return tuple(
        ListedAgent(
            who.identity,
            who.attributes.get(INSTANCE_ATTRIBUTE, ""),
            who.joined_at_ms / 1000 or float(who.joined_at),
        )
        for who in participants
        if who.kind == models.ParticipantInfo.Kind.AGENT
        and who.attributes.get(AGENT_NAME_ATTRIBUTE, "") == agent_name
        and INSTANCE_ATTRIBUTE in who.attributes
    )


def has_people(participants: Iterable[models.ParticipantInfo]) -> bool:
    """Whether anybody is there but agents and recorders."""
    kinds = models.ParticipantInfo.Kind
    return any(who.kind not in (kinds.AGENT, kinds.EGRESS) for who in participants)


def namesakes(participants: Iterable[models.ParticipantInfo], agent_name: str) -> tuple[str, ...]:
    """Identities of agents that bear our name and are no workers of ours.  They watch nothing
    for us, and what we dispatch under this name may go to them.  Agents without a name are
    the user's own."""
    return tuple(
        who.identity
        for who in participants
        if agent_name
        and who.kind == models.ParticipantInfo.Kind.AGENT
        and who.attributes.get(AGENT_NAME_ATTRIBUTE, "") == agent_name
        and INSTANCE_ATTRIBUTE not in who.attributes
    )


def duplicate_agents(
    agents: Iterable[ListedAgent], mine: Collection[str], instance: str
) -> tuple[str, ...]:
    """Which of our own identities, `mine`, must leave a room because it has another agent.

    The one that came first stays, of two in the same millisecond the one with the smaller
    identity: all workers see the same list and decide alike.  What a crash of `instance`,
    ourselves, left behind is nobody.
    """
    alive = [one for one in agents if one.identity in mine or one.instance != instance]
    first = min(alive, key=lambda one: (one.joined_at, one.identity), default=None)
    return tuple(one.identity for one in alive if one.identity in mine and one is not first)


# ------------------------------------------------------------------ what is under way


def under_way(
    dispatches: Iterable[agent_dispatch.AgentDispatch],
    agent_name: str,
    server_time: float,
    in_vain: Collection[str] = (),
    fresh: float = DISPATCH_GRACE,
) -> float:
    """Seconds for which a dispatch of our name may still bring an agent, whoever made it;
    0 where none can.

    Somebody else's may for `fresh` seconds.  `in_vain` are the ids of those that were given
    up; a job that came of one counts.  A time that is further in the future than the clocks of
    two nodes are apart tells nothing: a room must not wait for it for ever.
    """

    def left(nanoseconds: int, longest: float) -> float:
        age = server_time - nanoseconds / NANOSECONDS
        return longest - age if age >= -CLOCKS_APART else 0.0

    def waits(dispatch: agent_dispatch.AgentDispatch) -> Iterable[float]:
        if dispatch.id not in in_vain:
            # Reconcilers dispatch to many rooms at once, people seldom.
            longest = LATE if dispatch.metadata == OUR_DISPATCH else fresh
            yield left(dispatch.state.created_at, longest)
        for job in dispatch.state.jobs:
            yield left(job.state.started_at, ENTERING)

    return max(
        (
            seconds
            for dispatch in dispatches
            if dispatch.agent_name == agent_name and not dispatch.state.deleted_at
            for seconds in waits(dispatch)
            if seconds > 0
        ),
        default=0.0,
    )


def superseded(
    mine: agent_dispatch.AgentDispatch,
    dispatches: Iterable[agent_dispatch.AgentDispatch],
) -> bool:
    """Whether our own new dispatch must go, because another one came just before it.

    Everyone who sees both decides alike: the oldest stays, at the same nanosecond the
    one with the smaller id.
    """
    created_at = mine.state.created_at
    return any(
        other.agent_name == mine.agent_name
        and not other.state.deleted_at
        and created_at - DISPATCH_GRACE * NANOSECONDS < other.state.created_at
        and (other.state.created_at, other.id) < (created_at, mine.id)
        for other in dispatches
    )


def dispatch_grace(at_once: int) -> float:
    """Seconds to wait for a job where `at_once` rooms were dispatched to at once."""
    return DISPATCH_GRACE if at_once <= LAUNCHES_AT_ONCE else LATE


def retry_delay(tries: int, at_once: int = 1) -> float:
    """Seconds until a room is tried again, after `tries` tries."""
    return (RETRY if at_once <= LAUNCHES_AT_ONCE else BURST_RETRY).bound(tries)
