"""The session actor: owns what is known of one room, fold by fold.

Events come from the room's connection, in the order of the room.  Each is recorded in
the journal first and told to the world second, so a crash in the telling loses nothing.
After a crash, or when the mailbox had to refuse an event, the actor asks its connection
for the room as it is and compares: people and tracks are right again even if the very
event that told of them was the one that was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, final, get_args

import trio

from actors.journal.journal import Journal
from actors.journal.process_ports import Clock
from actors.rooms.messages import (
    EndSession,
    JobAttached,
    LeaveRoom,
    ReannounceSession,
    RosterWanted,
    SessionReady,
    Snapshot,
)
from actors.runtime import Actor, MailboxSpec, Overflow, Policy, Ref, receives
from actors.session import (
    MessagesDropped,
    QualityChanged,
    Reconnected,
    Resynced,
    RoomEvent,
    RoomInstanceChanged,
    SessionBegan,
    SessionState,
    SpeakersChanged,
    Tick,
    TimelineEntry,
    Watching,
)
from actors.session.events import AttachmentReceived, DataReceived

Publish: TypeAlias = Callable[[SessionState, TimelineEntry], object]
"""Takes one entry of a session, with the session's state after it."""
Heard: TypeAlias = Callable[[float], object]
"""Takes the seconds from when an event came until it was folded."""

SessionMessage: TypeAlias = RoomEvent | EndSession | JobAttached | ReannounceSession | Snapshot

EVENTS: Final[tuple[type[RoomEvent], ...]] = get_args(RoomEvent)

MAILBOX: Final = MailboxSpec(
    capacity=20_000,
    policies={
        QualityChanged: Policy(Overflow.COALESCE, key=lambda event: event.identity),
        SpeakersChanged: Policy(Overflow.COALESCE),
        DataReceived: Policy(Overflow.DROP_OLDEST, limit=10_000),
        AttachmentReceived: Policy(Overflow.DROP_OLDEST, limit=1_000),
    },
)
"""Joins, leaves and tracks are never thinned: where they do not fit, the room is compared."""


@final
class SessionActor(Actor[SessionMessage]):
    """One incarnation.  `journal` is what earlier ones left."""

    def __init__(
        self,
        key: str,
        journal: Journal,
        *,
        clock: Clock,
        publish: Publish,
        heard: Heard,
        opened: Callable[[SessionReady], object],
        next_instance: Callable[[SessionBegan], Journal | None],
    ) -> None:
        """`next_instance` gives the journal of the next life of the room; None where others of
        ours are in it."""
        self._key = key
        self._journal = journal
        self._clock = clock
        self._publish = publish
        self._heard = heard
        self._opened = opened
        self._next_instance = next_instance
        self._timer: trio.CancelScope | None = None
        self._due: float | None = None

    async def started(self) -> None:
        self._connection: Ref[LeaveRoom | RosterWanted] = self.context.sibling("connection")
        self._say_opened()
        self._tell()
        if self.context.generation > 1:
            self._connection.tell(RosterWanted())
        self._set_timer()

    def overflowed(self) -> None:
        self._connection.tell(RosterWanted())

    @receives(EndSession)
    def finish(self, message: EndSession) -> None:
        self._journal.end(message.at, message.reason)
        self._tell()

    @receives(JobAttached)
    def attach(self, message: JobAttached) -> None:
        # A session that has ended is not opened again by its last words: the manager does.
        if not self._journal.ended:
            self._journal.attach(self._clock(), message.job_id)

    @receives(ReannounceSession)
    def introduce(self, _: ReannounceSession) -> None:
        self._say_opened()

    @receives(Snapshot)
    def snapshot(self, message: Snapshot) -> None:
        message.reply_to.send(self._journal.state)

    @receives(*EVENTS)
    def on_event(self, event: RoomEvent) -> None:
        thinned = self.context.take_dropped(DataReceived)
        files = self.context.take_dropped(AttachmentReceived)
        if thinned or files:
            self._journal.record(MessagesDropped(event.at, thinned, attachments=files))
        try:
            self._journal.record(event)
        except RoomInstanceChanged:
            self._begin_again(event)
        self._heard(self._clock() - event.at)
        self._tell()
        self._set_timer()

    def _begin_again(self, event: RoomEvent) -> None:
        """The server made the room anew under the same connection: another session."""
        assert isinstance(event, Watching | Resynced | Reconnected)
        before, roster = self._journal.state, event.roster
        self._journal.end(event.at, "server_lost")
        self._tell()
        journal = self._next_instance(
            SessionBegan(
                event.at,
                room=before.room,
                room_sid=roster.room_sid,
                job_ids=before.job_ids,
                worker=before.worker,
                agent_name=before.agent_name,
                created_at=roster.created_at,
                person_key=before.person_key,
            )
        )
        if journal is None:
            self._connection.tell(LeaveRoom("server_lost"))
            return
        self._journal = journal
        self._say_opened()
        self._journal.record(Watching(event.at, roster))
        for waiting in before.deferred:
            self._journal.record(waiting)

    def _say_opened(self) -> None:
        self._opened(SessionReady(self._key, self.context.ref, self._connection, self._journal))

    def _tell(self) -> None:
        """Publish what was recorded, in order.

        An entry is taken before it is published: one that makes a publisher raise is
        lost to the publishers (not to the session), and is not tried for ever.
        """
        unpublished, state = self._journal.unpublished, self._journal.state
        while unpublished:
            self._publish(state, unpublished.popleft())

    def _set_timer(self) -> None:
        """Have a `Tick` when the fold wants one."""
        due, most = min(self._journal.deadlines, default=(None, 0.0))
        if due == self._due:
            return
        self._due = due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # Nothing waits longer than that, unless our clock was set back meanwhile.
            delay = min(max(0.0, due - self._clock()), most)
            self._timer = self.context.after(delay, Tick(due))
