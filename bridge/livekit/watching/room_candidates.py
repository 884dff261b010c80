"""The rooms that the reconciler should look into or get: pure functions of plain data.

Rooms are told apart by their SID, never by their name.  A name can end and begin again within a
second, as another room instance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from attrs import define, field, frozen
from livekit.protocol import agent_dispatch, models

from actors.runtime import Backoff
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, CHECK_PREFIX, INSTANCE_ATTRIBUTE
from bridge.livekit.worker.job_refusals import OUR_DISPATCH
from bridge.livekit.worker.jobs import MAX_NAME_LENGTH

DISPATCH_GRACE: Final = 3.5
"""Seconds for which a dispatch of somebody else may still bring a job: LiveKit gives a worker 3 s
to answer."""

SHORT_DISPATCH_GRACE: Final = 0.8
"""The same while more rooms wait than LiveKit launches promptly.  A dispatch then becomes a job
within 0.2 s, or it is queued for seconds; a claim avoids the queue.  If the dispatched job still
arrives, the room has two jobs."""

SLOW_DISPATCH_GRACE: Final = 10.0
"""Seconds for which a dispatch may still bring a job where many were made at once.  Measured: of
300 dispatches the last became a job after 7 s."""

ENTRY_GRACE: Final = 5.0
"""Seconds for which a job that came of a dispatch may still enter its room."""

MAX_PROMPT_LAUNCHES: Final = 20
"""More dispatches than this within `LAUNCH_WINDOW` are served late.  LiveKit has 50 slots for
launching jobs and takes two for each dispatch.  For the first 5 s after a worker registered it
asks every node which agents there are, and once a minute again; meanwhile it keeps one of the two
slots.  Measured: of 100 dispatches right after a registration, 25 became jobs at once and 75
after 5.6 s."""

LAUNCH_WINDOW: Final = 5.0
"""Seconds for which LiveKit keeps such a slot."""

RETRY: Final = Backoff(first=DISPATCH_GRACE, most=60.0)
"""Between the attempts to get a room.  The first retry comes when the last attempt can bring no
job any more."""

BURST_RETRY: Final = Backoff(first=SLOW_DISPATCH_GRACE, most=60.0)
"""The same where many rooms were dispatched to at once."""

RETRY_RESET_AFTER: Final = 30.0
"""A room must be ours for so many seconds after its last attempt, else its attempts still count.
So a room that we enter and lose at once is not tried again at once."""

MAX_CLOCK_SKEW: Final = 5.0
"""Seconds by which the clocks of two nodes of LiveKit differ at most."""

NANOSECONDS: Final = 1e9
"""In a second: LiveKit's unit for the times of dispatches and jobs."""


@frozen
class ListedRoom:
    """A room as `ListRooms` shows it."""

    sid: str
    name: str
    created_at: float = 0.0
    """Unix seconds."""
    people: int = 0
    """The count in the list, which lags by up to 3 s."""

    @classmethod
    def of(cls, room: models.Room) -> ListedRoom:
        """From LiveKit's own record."""
        # Servers before 1.8 send whole seconds only.
        created_at = room.creation_time_ms / 1000 or float(room.creation_time)
        return cls(room.sid, room.name, created_at, room.num_participants)


def rooms_in(listed: Iterable[models.Room]) -> list[ListedRoom]:
    """Each room instance once, however often the list has it.  Rooms without name or SID, and
    rooms whose name is longer than the name in a job may be, are left out."""
    by_sid = {
        room.sid: ListedRoom.of(room)
        for room in listed
        if room.sid and room.name and max(len(room.sid), len(room.name)) <= MAX_NAME_LENGTH
    }
    return list(by_sid.values())


@frozen
class ListedAgent:
    """An agent of our name as `ListParticipants` shows it."""

    identity: str
    instance: str
    """The instance id of its worker, "" where it carries none."""
    joined_at: float
    """Unix seconds, on the server's clock."""


@define
class RoomMemory:
    """The reconciler's memory of a room.  Times are on trio's clock."""

    inspect_at: float
    """When the room is to be inspected next."""
    ours: bool = False
    """It was ours when the rooms were last listed."""
    disconnected: bool = False
    """Our connection to it was down then."""
    inspections: int = 0
    """How often we were seen in it since it became ours, or since an outage."""
    attempts: int = 0
    """How often we tried to get it without staying in it."""
    attempts_logged: int = 0
    """The number of the last attempt in the log.  Attempts that failed or were taken back have no
    line of their own, and no number."""
    attempted_at: float = float("-inf")
    dispatches: set[str] = field(factory=set[str])
    """The ids of our own dispatches."""
    leftover_since: float = float("inf")
    """Since when an agent with our instance id is there that is not ours now."""
    watched_by_others: bool = False
    watched_by: frozenset[str] = frozenset()
    """The instance ids of the other workers that were seen in it last."""
    unwatched_since: float = float("inf")
    """Since when nobody was seen who watches it, or is on the way."""
    has_ghosts: bool = False
    """An agent of ours was listed in it that is not there.  Its node may be dead."""
    has_people: bool = False
    """Somebody was in it at the last inspection."""
    place_from: str = ""
    """The SID of an empty room of ours that is left so that this room gets its place."""
    place_requested_at: float = float("-inf")
    namesake_logged: bool = False
    """The log has a line about an agent of our name in this room that is not ours."""
    unplaced: bool = False
    """There was no place for it at the last inspection."""

    def next_attempt(self) -> int:
        """The number of an attempt that is logged now."""
        self.attempts_logged += 1
        return self.attempts_logged


# ------------------------------------------------------------------------ which rooms


def watches(patterns: Iterable[str], room: str) -> bool:
    """True if a room's name fits one of the globs.  Upper and lower case differ."""
    return any(fnmatchcase(room, pattern) for pattern in patterns)


def candidates(
    rooms: Iterable[ListedRoom],
    memory: Mapping[str, RoomMemory],
    *,
    patterns: Sequence[str],
    resumable: Collection[str],
    excluded: Callable[[str, str], bool],
) -> list[ListedRoom]:
    """The rooms that are ours, and the rooms that should be.

    `resumable` are the SIDs of rooms that should be ours whatever the patterns say.
    """

    def should_be_ours(room: ListedRoom) -> bool:
        return (
            (room.sid in resumable or watches(patterns, room.name))
            and not room.name.startswith(CHECK_PREFIX)
            and not excluded(room.name, room.sid)
        )

    return [room for room in rooms if memory[room.sid].ours or should_be_ours(room)]


# ------------------------------------------------------------------------ who is there


def our_agents(
    participants: Iterable[models.ParticipantInfo], agent_name: str
) -> tuple[ListedAgent, ...]:
    """The agents of our workers: they have our name and carry an instance id.  Other agents may
    have the same name (`namesakes`)."""
    return tuple(
        ListedAgent(
            participant.identity,
            participant.attributes.get(INSTANCE_ATTRIBUTE, ""),
            participant.joined_at_ms / 1000 or float(participant.joined_at),
        )
        for participant in participants
        if participant.kind == models.ParticipantInfo.Kind.AGENT
        and participant.attributes.get(AGENT_NAME_ATTRIBUTE, "") == agent_name
        and INSTANCE_ATTRIBUTE in participant.attributes
    )


def has_people(participants: Iterable[models.ParticipantInfo]) -> bool:
    """True if anybody is there who is neither an agent nor a recorder."""
    kinds = models.ParticipantInfo.Kind
    return any(participant.kind not in (kinds.AGENT, kinds.EGRESS) for participant in participants)


def namesakes(participants: Iterable[models.ParticipantInfo], agent_name: str) -> tuple[str, ...]:
    """Identities of agents that have our name and belong to no worker of ours.

    They watch nothing for us, and LiveKit may give our dispatches to them.  Agents without a name
    are the user's own and do not count.
    """
    return tuple(
        participant.identity
        for participant in participants
        if agent_name
        and participant.kind == models.ParticipantInfo.Kind.AGENT
        and participant.attributes.get(AGENT_NAME_ATTRIBUTE, "") == agent_name
        and INSTANCE_ATTRIBUTE not in participant.attributes
    )


def duplicate_agents(
    agents: Iterable[ListedAgent], own_identities: Collection[str], instance: str
) -> tuple[str, ...]:
    """Our own identities that must leave a room because it has another agent.

    The agent that came first stays; of two in the same millisecond, the agent with the smaller
    identity.  All workers see the same list and decide alike.  An agent that a crash of
    `instance`, ourselves, left behind does not count.
    """
    alive = [
        agent for agent in agents if agent.identity in own_identities or agent.instance != instance
    ]
    first = min(alive, key=lambda agent: (agent.joined_at, agent.identity), default=None)
    return tuple(
        agent.identity for agent in alive if agent.identity in own_identities and agent is not first
    )


# ------------------------------------------------------------------------- dispatches


def dispatch_wait(
    dispatches: Iterable[agent_dispatch.AgentDispatch],
    agent_name: str,
    server_time: float,
    failed: Collection[str] = (),
    grace: float = DISPATCH_GRACE,
) -> float:
    """Seconds for which a dispatch of our name may still bring an agent; 0 where none can.

    `grace` is for dispatches of somebody else.  `failed` are the ids of our own dispatches that
    brought no job in time; a job that came of one still counts.  A time that is further in the
    future than the clocks of two nodes differ is ignored, so that no room waits for ever.
    """

    def seconds_left(nanoseconds: int, longest: float) -> float:
        age = server_time - nanoseconds / NANOSECONDS
        return longest - age if age >= -MAX_CLOCK_SKEW else 0.0

    def waits(dispatch: agent_dispatch.AgentDispatch) -> Iterable[float]:
        if dispatch.id not in failed:
            # Reconcilers dispatch to many rooms at once, people seldom.
            longest = SLOW_DISPATCH_GRACE if dispatch.metadata == OUR_DISPATCH else grace
            yield seconds_left(dispatch.state.created_at, longest)
        for job in dispatch.state.jobs:
            yield seconds_left(job.state.started_at, ENTRY_GRACE)

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


def is_superseded(
    ours: agent_dispatch.AgentDispatch,
    dispatches: Iterable[agent_dispatch.AgentDispatch],
) -> bool:
    """True if our own new dispatch must go, because another one came just before it.

    The oldest stays; of two in the same nanosecond, the dispatch with the smaller id.  Two
    reconcilers that see both dispatches decide alike.
    """
    created_at = ours.state.created_at
    return any(
        other.agent_name == ours.agent_name
        and not other.state.deleted_at
        and created_at - DISPATCH_GRACE * NANOSECONDS < other.state.created_at
        and (other.state.created_at, other.id) < (created_at, ours.id)
        for other in dispatches
    )


def attempt_grace(burst: int) -> float:
    """Seconds to wait for a job where `burst` rooms were dispatched to at once."""
    return DISPATCH_GRACE if burst <= MAX_PROMPT_LAUNCHES else SLOW_DISPATCH_GRACE


def retry_delay(attempts: int, burst: int = 1) -> float:
    """Seconds until a room is tried again, after so many attempts."""
    return (RETRY if burst <= MAX_PROMPT_LAUNCHES else BURST_RETRY).bound(attempts)
