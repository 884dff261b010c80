"""The session actor: owns the state of one session and folds each event into it.

Events come from the room's connection, in the order of the room.  Each is recorded in
the journal first and published second, so a crash in between loses nothing.
After a crash, or when the mailbox had to refuse an event, the actor asks its connection
for the present roster and compares.  People and tracks are right again then, even if the event
that brought them was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, TypeAlias, final, get_args

from actors.journal.journal import Journal
from actors.journal.process_ports import Clock
from actors.rooms.messages import (
    AgentUploaded,
    ConnectionMessage,
    EndSession,
    JobAttached,
    LeaveRoom,
    ReannounceSession,
    Reported,
    RosterWanted,
    RulesDue,
    SessionReady,
    Snapshot,
    WebhookReceived,
)
from actors.rooms.room_rules import RoomRules, StartRules
from actors.rooms.subscriber import Subscriber, publish_entries
from actors.runtime import Actor, MailboxSpec, Overflow, Policy, Ref, Timer, receives
from actors.session import (
    MessagesDropped,
    QualityChanged,
    Reconnected,
    Resynced,
    RoomEvent,
    RoomInstanceChanged,
    SessionBegan,
    SpeakersChanged,
    Tick,
    Watching,
)
from actors.session.events import AttachmentReceived, DataReceived

ObserveLag: TypeAlias = Callable[[float], object]
"""Takes the seconds from when an event came until it was folded.  Must not raise."""

SessionMessage: TypeAlias = (
    RoomEvent
    | EndSession
    | JobAttached
    | ReannounceSession
    | Reported
    | RulesDue
    | Snapshot
    | WebhookReceived
    | AgentUploaded
)

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
"""Joins, leaves and tracks are never dropped: if they do not fit, the room is compared."""


RULES_WAIT: Final = 60.0
"""The most seconds until rules are looked at again, where time decides."""


@final
class SessionActor(Actor[SessionMessage]):
    """One incarnation.  `journal` has the state from earlier ones."""

    def __init__(
        self,
        key: str,
        journal: Journal,
        *,
        clock: Clock,
        subscriber: Subscriber,
        observe_lag: ObserveLag,
        announce_ready: Callable[[SessionReady], object],
        next_instance: Callable[[SessionBegan], Journal | None],
        give_back: Callable[[Reported | WebhookReceived | AgentUploaded], object],
        start_rules: StartRules = lambda _: None,
    ) -> None:
        """`next_instance` gives the journal of the room's next instance; None if other actors of
        ours are in it already.  `give_back` takes what is of an earlier instance: the manager has
        its session."""
        self._key = key
        self._journal = journal
        self._clock = clock
        self._subscriber = subscriber
        self._observe_lag = observe_lag
        self._announce_ready = announce_ready
        self._next_instance = next_instance
        self._give_back = give_back
        self._timer: Timer | None = None
        self._due: float | None = None
        self._start_rules = start_rules
        self._rules: RoomRules | None = None
        self._rules_timer: Timer | None = None
        self._rules_due = inf

    async def started(self) -> None:
        self._connection: Ref[ConnectionMessage] = self.context.sibling("connection")
        self._rules = self._start_rules(self._journal.state)
        self._report_ready()
        self._publish()
        if self.context.generation > 1:
            self._connection.tell(RosterWanted())
        self._set_timer()

    def overflowed(self) -> None:
        self._connection.tell(RosterWanted())

    @receives(EndSession)
    def finish(self, message: EndSession) -> None:
        self._journal.end(message.at, message.reason)
        self._publish()

    @receives(JobAttached)
    def attach(self, message: JobAttached) -> None:
        # Only the manager continues a session that has ended.
        if not self._journal.ended:
            self._journal.attach(self._clock(), message.job_id)

    @receives(ReannounceSession)
    def reannounce(self, _: ReannounceSession) -> None:
        self._report_ready()

    @receives(Snapshot)
    def snapshot(self, message: Snapshot) -> None:
        message.reply_to.send(self._journal.state)

    @receives(Reported)
    def on_report(self, message: Reported) -> None:
        if message.room_sid != self._journal.state.room_sid:
            self._give_back(message)
            return
        self._journal.record(message.event)
        self._publish()
        self._set_timer()
        message.reply_to.send(self._journal.state)

    @receives(WebhookReceived, AgentUploaded)
    def on_outside_report(self, message: WebhookReceived | AgentUploaded) -> None:
        """The next instance of the room may have begun while the message waited here."""
        if message.room_sid == self._journal.state.room_sid:
            self.on_event(message.event)
        else:
            self._give_back(message)

    @receives(*EVENTS)
    def on_event(self, event: RoomEvent) -> None:
        dropped_messages = self.context.take_dropped(DataReceived)
        files = self.context.take_dropped(AttachmentReceived)
        if dropped_messages or files:
            self._journal.record(MessagesDropped(event.at, dropped_messages, attachments=files))
        try:
            self._journal.record(event)
        except RoomInstanceChanged:
            self._begin_again(event)
        if self._rules is not None:
            for record in self._rules.decide_after(self._journal.state, event.at):
                self._journal.record(record)
        self._observe_lag(self._clock() - event.at)
        self._publish()
        self._set_timer()

    @receives(RulesDue)
    def look_at_rules(self, message: RulesDue) -> None:
        self._rules_due = inf
        if self._rules is not None and self._clock() >= message.at:
            for record in self._rules.decide_at(self._journal.state, message.at):
                self._journal.record(record)
        self._publish()

    def _begin_again(self, event: RoomEvent) -> None:
        """The server made the room anew under the same connection: begin another session."""
        assert isinstance(event, Watching | Resynced | Reconnected)
        before, roster = self._journal.state, event.roster
        self._journal.end(event.at, "server_lost")
        self._publish()
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
        self._rules = self._start_rules(journal.state)
        self._report_ready()
        self._journal.record(Watching(event.at, roster))
        for waiting in before.deferred:
            self._journal.record(waiting)

    def _report_ready(self) -> None:
        self._announce_ready(
            SessionReady(self._key, self.context.ref, self._connection, self._journal)
        )

    def _publish(self) -> None:
        publish_entries(self._journal, self._subscriber, self._rules)
        if self._rules is not None:
            self._set_rules_timer(self._rules.due)

    def _set_rules_timer(self, due: float) -> None:
        """Have a `RulesDue` when time alone may decide something."""
        if due == self._rules_due:
            return
        self._rules_due = due
        if self._rules_timer is not None:
            self._rules_timer.cancel()
            self._rules_timer = None
        if due != inf:
            # The bound is for a clock that is set back meanwhile.
            delay = min(max(0.0, due - self._clock()), RULES_WAIT)
            self._rules_timer = self.context.after(delay, RulesDue(due))

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
            # `most` bounds the wait, in case our clock was set back.
            delay = min(max(0.0, due - self._clock()), most)
            self._timer = self.context.after(delay, Tick(due))
