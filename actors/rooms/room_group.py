"""The actors of one room: a small rest_for_one of [connection, session].

A session that crashes is restarted alone, and goes on from its journal.  A connection
that crashes takes the session along, because a stream of events that broke off is not
to be trusted, and both start anew.  Each is significant: when the connection is
through with the room the group ends, and the session still folds what is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.process_ports import Announce, Clock
from actors.rooms.connection_actor import ConnectionActor, ConnectionMemory, FindAgain, Undo
from actors.rooms.messages import RoomEntered, RoomGroupEnded, SessionReady
from actors.rooms.room_port import RoomJob, RoomPort
from actors.rooms.session_actor import MAILBOX, Heard, Publish, SessionActor
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
SOON: Final = Backoff(first=0.01, most=5.0)
"""A session restarts at once: its mailbox fills meanwhile."""


@frozen
class RoomDependencies:
    """What the actors of every room are given."""

    port: RoomPort
    find_again: FindAgain
    undo: Undo
    backlog: Backlog
    """Where the records of every session go."""
    clock: Clock
    publish: Publish
    announce: Announce
    worker: str
    """Who we are, as it stands in a session."""
    agent_name: str
    person_key: str | None = None
    """Where it stands who a participant is, for new sessions."""
    heard: Heard = lambda _: None
    leave_within: float = 5.0
    """Seconds for a connection to say goodbye."""
    session_mailbox: MailboxSpec = MAILBOX


def room_group(
    key: str,
    job: RoomJob,
    journal: Journal,
    dependencies: RoomDependencies,
    tell_manager: Callable[[SessionReady | RoomEntered | RoomGroupEnded], object],
    next_instance: Callable[[SessionBegan], Journal | None],
) -> GroupSpec:
    """The supervisor of one room and its two children."""
    latest, stay = [journal], ConnectionMemory()

    def opened(message: SessionReady) -> None:
        # A room that was made anew under one connection goes on in another journal.
        latest[0] = message.journal
        tell_manager(message)

    def connection() -> ConnectionActor:
        return ConnectionActor(
            job,
            dependencies.port,
            find_again=dependencies.find_again,
            undo=dependencies.undo,
            clock=dependencies.clock,
            announce=dependencies.announce,
            entered=lambda: tell_manager(RoomEntered(key)),
            stay=stay,
        )

    def session() -> SessionActor:
        return SessionActor(
            key,
            latest[0],
            clock=dependencies.clock,
            publish=dependencies.publish,
            heard=dependencies.heard,
            opened=opened,
            next_instance=next_instance,
        )

    def on_end(end: Exit) -> None:
        tell_manager(RoomGroupEnded(key, end))

    return GroupSpec(
        key,
        children=(
            ChildSpec(
                "connection",
                connection,
                restart=Restart.TRANSIENT,
                shutdown=dependencies.leave_within,
                significant=True,
                intensity=CONNECTION_RESTARTS,
            ),
            ChildSpec(
                "session",
                session,
                restart=Restart.TRANSIENT,
                significant=True,
                intensity=SESSION_RESTARTS,
                backoff=SOON,
                mailbox=dependencies.session_mailbox,
            ),
        ),
        strategy=Strategy.REST_FOR_ONE,
        intensity=Intensity(restarts=12, within=60.0),
        on_end=on_end,
    )
