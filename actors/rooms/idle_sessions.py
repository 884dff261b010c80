"""Sessions in which no actor of ours is: the manager begins, continues and ends them."""

from __future__ import annotations

from typing import Final, final

from actors.journal.archive import StoredSession
from actors.journal.journal import Journal
from actors.rooms.messages import AgentUploaded, Reported, RosterWanted, WebhookReceived
from actors.rooms.room_group import RoomDependencies
from actors.rooms.room_table import UNWATCHED_LIMIT, RoomTable
from actors.rooms.subscriber import publish_entries
from actors.session import Disconnected, EndReason, SessionBegan, WebhookRoomFinished
from actors.session.end_reasons import DISPATCH_DELETED

LONGEST_RUN: Final = 86_400.0
"""Seconds before its upload at which a run may have begun.  Its clock is not trusted with more."""


@final
class IdleSessions:
    """A part of the manager, which alone calls it."""

    def __init__(self, table: RoomTable, dependencies: RoomDependencies) -> None:
        self._table = table
        self._dependencies = dependencies

    def begin(
        self,
        room: str,
        room_sid: str,
        job_ids: tuple[str, ...],
        created_at: float | None,
        *,
        at: float | None = None,
    ) -> Journal:
        """The journal of a new session, which begins at `at`, or now."""
        dependencies = self._dependencies
        began = SessionBegan(
            dependencies.clock() if at is None else at,
            room=room,
            room_sid=room_sid,
            job_ids=job_ids,
            worker=dependencies.worker,
            agent_name=dependencies.agent_name,
            created_at=created_at,
            person_key=dependencies.person_key,
        )
        leases = dependencies.leases
        number = None if leases is None else leases.session_number(room_sid)
        return self.fence_if_reserved(Journal.begin(began, dependencies.backlog, number))

    def fence_if_reserved(self, journal: Journal) -> Journal:
        """Store nothing of a session that another worker still writes."""
        leases = self._dependencies.leases
        if leases is not None and leases.is_reserved(journal.state.room_sid):
            self._dependencies.backlog.fence([journal.number])
        return journal

    def give_away(self, journal: Journal) -> None:
        """Another worker goes on with this session: the next batch is the last one of ours.

        The lease of a session that has ended is over with it.
        """
        if not journal.ended:
            self._dependencies.backlog.release(journal, self._dependencies.clock())
        self._table.forget(journal)

    def take_over(self, stored: StoredSession) -> None:
        """Go on with a session that an earlier run or another worker stored."""
        table, state = self._table, stored.state
        seen_until = max(state.last_at, stored.seen_until or table.alive_at or 0.0)
        record = table.find_room(state.room_sid)
        known = table.find_idle(state.room_sid) if record is None else record.journal
        if known is not None:
            # The archive could not be read for a while, and this session was begun anew.
            if known.number != stored.session:
                before = known.number
                # This worker may have had the session before, and given it away.
                self._dependencies.backlog.unfence(stored.session)
                known.adopt(stored, seen_until)
                self._dependencies.backlog.unfence(before)
            if record is None:
                table.remove_idle(state.room_sid)
                table.add_idle(known)
            elif record.connection is not None:
                record.connection.tell(RosterWanted())
            return
        if self._dependencies.leases is not None:
            self._dependencies.backlog.unfence(stored.session)
        journal = Journal.resume(stored, self._dependencies.backlog)
        if not state.ended:
            journal.record(Disconnected(seen_until, None, "worker_failed"))
        elif state.end_reason == DISPATCH_DELETED:
            table.decline(state.room_sid)
        self.publish(journal)
        table.add_idle(journal)

    def take_webhook(self, message: WebhookReceived) -> None:
        """A webhook reported of a room in which we are not."""
        event, sid, table = message.event, message.room_sid, self._table
        journal = table.find_idle(sid) or self._begin_unwatched(message.room, sid)
        if journal is None:
            return
        journal.record(event)
        self.publish(journal)
        if isinstance(event, WebhookRoomFinished) and not journal.ended:
            self.end(journal, event.at, "found_ended")

    def take_upload(self, message: AgentUploaded) -> None:
        """An agent uploaded about its job in a room in which we are not."""
        event, sid = message.event, message.room_sid
        journal = self._table.find_idle(sid)
        if journal is None and message.room:
            began = event.at if event.started_at is None else min(event.started_at, event.at)
            earliest = event.at - LONGEST_RUN
            journal = self._begin_unwatched(message.room, sid, at=max(began, earliest))
        if journal is not None:
            journal.record(event)
            self.publish(journal)

    def _begin_unwatched(self, room: str, sid: str, at: float | None = None) -> Journal | None:
        """A session of a room that we do not watch; None where it is not ours to begin one."""
        table = self._table
        if table.draining or len(table.unwatched) >= UNWATCHED_LIMIT:
            return None
        if self._dependencies.leases is not None:
            return None  # Another worker has the room, or will.
        journal = self.begin(room, sid, (), None, at=at)
        table.add_idle(journal)
        return journal

    def take_report(self, message: Reported) -> None:
        """A part of this program reports something to a session, and gets its state."""
        journal = self._table.find_idle(message.room_sid)
        if journal is not None:
            journal.record(message.event)
            self.publish(journal)
            message.reply_to.send(journal.state)

    def end(self, journal: Journal, at: float, reason: EndReason) -> None:
        """The room is over, or the worker stops."""
        journal.end(at, reason)
        self.publish(journal)
        self._table.add_idle(journal)

    def publish(self, journal: Journal) -> None:
        """Give the entries that are not published yet to the subscribers."""
        publish_entries(journal, self._dependencies.subscriber)
