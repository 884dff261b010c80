"""The actors of one room: a small rest_for_one of its parts.

The parts are [connection, session], and what the program adds behind them.  A part that
crashes is restarted together with the parts after it.  A session that crashes goes on from its
journal.  A connection that crashes takes the session along, because a stream of events that
broke off cannot be trusted, and both start anew.

Connection and session are significant: when the connection is through with the room the group
ends, and the session still folds what is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import define, frozen

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.process_ports import Announce, Clock
from actors.rooms.connection_actor import ConnectionActor, ConnectionMemory
from actors.rooms.lease_view import LeaseView
from actors.rooms.messages import (
    AgentUploaded,
    Reported,
    RoomEntered,
    RoomGroupEnded,
    SessionReady,
    WebhookReceived,
)
from actors.rooms.room_port import RoomJob, RoomPort
from actors.rooms.room_rules import StartRules
from actors.rooms.server_lookups import DispatchExists, OwnRoomRemoval, RenewJob
from actors.rooms.session_actor import MAILBOX, ObserveLag, SessionActor
from actors.rooms.subscriber import Subscriber
from actors.runtime import (
    Backoff,
    ChildSpec,
    Exit,
    GroupSpec,
    Intensity,
    MailboxSpec,
    Restart,
    Strategy,
)
from actors.session import SessionBegan

SESSION_RESTARTS: Final = Intensity(restarts=10, within=60.0)
CONNECTION_RESTARTS: Final = Intensity(restarts=2, within=300.0)
GROUP_RESTARTS: Final = Intensity(restarts=12, within=60.0)
"""Restarts of all parts together.  When these are spent the room's job fails."""
SESSION_BACKOFF: Final = Backoff(first=0.01, most=5.0)
"""A session restarts at once, because its mailbox fills meanwhile."""


@define(eq=False)
class RoomContext:
    """One room, for the parts of its group.  It outlives their incarnations."""

    key: str
    """The name of the group; the room's SID as its first job named it."""
    job: RoomJob
    journal: Journal
    """Journal of the newest instance of the room."""
    dependencies: RoomDependencies
    tell_manager: Callable[
        [SessionReady | RoomEntered | RoomGroupEnded | Reported | WebhookReceived | AgentUploaded],
        object,
    ]
    next_instance: Callable[[SessionBegan], Journal | None]
    """See `RoomTable.next_instance`."""
    connection_memory: ConnectionMemory


RoomPart: TypeAlias = Callable[[RoomContext], ChildSpec[Any]]
"""Makes the spec of one child of a room's group.  Called once, when the group is started."""


def connection_part(room: RoomContext) -> ChildSpec[Any]:
    """The actor that keeps us in the room."""
    dependencies = room.dependencies

    def start() -> ConnectionActor:
        return ConnectionActor(
            room.job,
            dependencies.port,
            renew_job=dependencies.renew_job,
            dispatch_exists=dependencies.dispatch_exists,
            own_room_removal=dependencies.own_room_removal,
            clock=dependencies.clock,
            announce=dependencies.announce,
            report_entered=lambda: room.tell_manager(RoomEntered(room.key)),
            memory=room.connection_memory,
        )

    return ChildSpec(
        "connection",
        start,
        restart=Restart.TRANSIENT,
        shutdown=dependencies.leave_within,
        significant=True,
        intensity=CONNECTION_RESTARTS,
    )


def session_part(room: RoomContext) -> ChildSpec[Any]:
    """The actor that folds the room's events into its session."""
    dependencies = room.dependencies

    def announce_ready(message: SessionReady) -> None:
        # The next instance of the room, under the same connection, has another journal.
        room.journal = message.journal
        room.tell_manager(message)

    def start() -> SessionActor:
        return SessionActor(
            room.key,
            room.journal,
            clock=dependencies.clock,
            subscriber=dependencies.subscriber,
            observe_lag=dependencies.observe_lag,
            announce_ready=announce_ready,
            next_instance=room.next_instance,
            give_back=room.tell_manager,
            start_rules=dependencies.start_rules,
        )

    return ChildSpec(
        "session",
        start,
        restart=Restart.TRANSIENT,
        significant=True,
        intensity=SESSION_RESTARTS,
        backoff=SESSION_BACKOFF,
        mailbox=dependencies.session_mailbox,
    )


ROOM_PARTS: Final[tuple[RoomPart, ...]] = (connection_part, session_part)
"""The parts of every room, in the order in which they start."""


@frozen
class RoomDependencies:
    """The dependencies that the actors of every room share."""

    port: RoomPort
    renew_job: RenewJob
    dispatch_exists: DispatchExists
    own_room_removal: OwnRoomRemoval
    backlog: Backlog
    """Where the records of every session go."""
    clock: Clock
    subscriber: Subscriber
    """Takes what every session publishes."""
    announce: Announce
    worker: str
    """Our name in a session."""
    agent_name: str
    person_key: str | None = None
    """Where it is written who a participant is, for new sessions."""
    observe_lag: ObserveLag = lambda _: None
    start_rules: StartRules = lambda _: None
    """The rules of each session."""
    leases: LeaseView | None = None
    """The leases of this worker, where several workers share a database."""
    leave_within: float = 5.0
    """Seconds for a connection to leave its room in order."""
    session_mailbox: MailboxSpec = MAILBOX
    parts: tuple[RoomPart, ...] = ROOM_PARTS
    """The children of each room's group, in the order in which they start."""


def room_group(room: RoomContext) -> GroupSpec:
    """The supervisor of one room and its parts."""

    def on_end(end: Exit) -> None:
        room.tell_manager(RoomGroupEnded(room.key, end))

    return GroupSpec(
        room.key,
        children=tuple(part(room) for part in room.dependencies.parts),
        strategy=Strategy.REST_FOR_ONE,
        intensity=GROUP_RESTARTS,
        on_end=on_end,
    )
