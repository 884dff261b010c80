"""The recorder: starts, follows and stops the recordings that rules want.

**Exactly one.**  LiveKit starts one recording for each request, and a request whose answer is lost
may have been taken.  So the intent is on the disk before LiveKit is asked, and the request carries
its key.  If there is no answer, because LiveKit gave none or because this worker was killed,
LiveKit's list decides: what has the key is ours.  Only a list that is younger than the longest time
that a request may take can say that there is none (`SEARCH`).

**Never a hang.**  Each start, each recording and each stop has a task of its own here, with
deadlines.  Sessions hear of it by reports (`actors.session.recording_reports`).

**A restart**, of this actor or of the program, finds all it needs in the states of the sessions:
intents without an egress, recordings that are not over, stops that were wanted.  `SWEEP` looks for
them regularly, so a session that is recovered late is not forgotten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, final

import trio

from actors.journal.process_ports import Clock
from actors.recording.egress_port import EgressPort, EgressState
from actors.recording.own_recordings import (
    differs,
    id_of_ours,
    outlives_its_room,
    recording_of,
)
from actors.recording.recorder_messages import (
    EndRecording,
    RecorderMessage,
    RecordingResult,
    RecordRoom,
)
from actors.recording.session_access import SessionAccess
from actors.rooms.room_control import (
    ControlNotFound,
    ControlTimedOut,
    ControlUnavailable,
    RoomControlError,
)
from actors.runtime import Actor, receives, sleep, sleep_until
from actors.session import SessionState
from actors.session.recording_reports import (
    EgressListed,
    RecorderSilent,
    RecordingIntended,
    RecordingNotStarted,
    RecordingStopIntended,
)
from actors.session.recordings import OVER, is_ours_open
from actors.session.state import Recording, RecordingIntent

START_WITHIN: Final = 30.0
"""Seconds for LiveKit to answer a start; it gives up after 22."""
SEARCH: Final = 45.0
"""Seconds after which a request is in LiveKit's list, or never will be: the intent has to be on the
disk, and LiveKit to answer."""
SEARCH_AGAIN: Final = 2.0
STORE_WITHIN: Final = 10.0
"""Seconds for an intent to be on the disk."""
BEGIN_WITHIN: Final = 30.0
"""Seconds for a recording to become active.  One that stays in "starting" may do so for ever."""
TRIES: Final = 3
"""Starts of one wish, where the recording stays in "starting"."""
LOOK_SOON: Final = 1.0
LOOK: Final = 10.0
"""Seconds between two questions about one recording.  Webhooks are quicker, where they come."""
SWEEP: Final = 30.0
OLDEST_INTENT: Final = 600.0
"""Seconds: an older intent is not carried out after a restart."""


@final
class Recorder(Actor[RecorderMessage]):
    """One incarnation.  What outlives it is in the sessions."""

    def __init__(
        self, egress: EgressPort, sessions: SessionAccess, *, clock: Clock, limit: int
    ) -> None:
        """`limit`: recordings at the same time."""
        self._egress = egress
        self._sessions = sessions
        self._clock = clock
        self._limit = limit
        self._tasks: set[str] = set()
        """Keys of what is being done: an intent, or an egress that is followed."""

    async def started(self) -> None:
        self.context.start_soon(self._sweep)

    @receives(RecordRoom)
    def start(self, message: RecordRoom) -> None:
        self.context.start_soon(self._start, message)

    @receives(EndRecording)
    def stop(self, message: EndRecording) -> None:
        self.context.start_soon(self._stop, message)

    # ------------------------------------------------------------ a start

    async def _start(self, message: RecordRoom) -> None:
        message.reply_to.send(await self._started(message))

    async def _started(self, message: RecordRoom) -> RecordingResult:
        result = RecordingResult("failed")
        for number in range(1, TRIES + 1):
            intent = message.intent if number == 1 else f"{message.intent}.{number}"
            result = await self._try(message, intent)
            if result.error != _STAYS_STARTING:
                break
        return result

    async def _try(self, message: RecordRoom, intent: str) -> RecordingResult:
        state = self._sessions.find(message.room_sid)
        if state is None:
            return RecordingResult("failed", error="there is no such session")
        known = recording_of(state, intent)
        if known is not None:
            return await self._begun(message.room_sid, known.id)
        before = state.recording_intents.get(intent)
        if before is not None:  # LiveKit may have been asked by an earlier incarnation, or run.
            return await self._alone(intent, lambda: self._find_out(message.room_sid, before))
        refusal = self._refusal(state)
        if refusal is not None:
            return refusal
        # Under its key from here on: the sweep may see the intent at once.
        return await self._alone(intent, lambda: self._want(message, intent))

    async def _want(self, message: RecordRoom, intent: str) -> RecordingResult:
        report = RecordingIntended(self._clock(), intent, message.rule, message.request)
        state = await self._sessions.report(message.room_sid, report)
        wanted = None if state is None else state.recording_intents.get(intent)
        if state is None or wanted is None:  # Another wish came first.
            return RecordingResult("running", egress_id=id_of_ours(state))
        return await self._carry_out(state, wanted)

    def _refusal(self, state: SessionState) -> RecordingResult | None:
        if is_ours_open(state):
            return RecordingResult("running", egress_id=id_of_ours(state))
        if state.ended:
            return RecordingResult("failed", error="the room is over")
        running = sum(is_ours_open(one) for one in self._sessions.all())
        if running >= self._limit:
            error = f"{running} recordings run, and the limit is {self._limit}"
            return RecordingResult("failed", error=error, retry=True)
        return None

    async def _carry_out(self, state: SessionState, wanted: RecordingIntent) -> RecordingResult:
        """Ask LiveKit, once the intent is on the disk."""
        with trio.move_on_after(STORE_WITHIN) as storing:
            await self._sessions.store(state.room_sid)
        if storing.cancelled_caught:
            return await self._give_up(state, wanted, "the store does not take the intent", True)
        began = trio.current_time()
        try:
            with trio.fail_after(START_WITHIN):
                newest = await self._egress.start(state.room, wanted.request, wanted.intent)
        except (ControlTimedOut, ControlUnavailable, trio.TooSlowError) as error:
            # Whether LiveKit took it is not known.
            newest = await self._search(state, wanted, began + SEARCH)
            if newest is None:
                why = str(error) or f"LiveKit gave no answer within {START_WITHIN:g} s"
                return await self._give_up(state, wanted, why, True)
        except RoomControlError as error:
            return await self._give_up(state, wanted, str(error), False)
        return await self._take(state, wanted, newest)

    async def _take(
        self, state: SessionState, wanted: RecordingIntent, newest: EgressState
    ) -> RecordingResult:
        """LiveKit has the recording: wait until it records."""
        if newest.room_sid != state.room_sid:
            # LiveKit knows rooms by name, and made this one anew meanwhile.
            await self._stop_stray(newest.egress_id)
            return await self._give_up(state, wanted, "the room is over", False)
        await self._report(state.room_sid, newest, wanted.intent)
        self._follow_soon(state.room_sid, newest.egress_id)
        return await self._begun(state.room_sid, newest.egress_id)

    async def _stop_stray(self, egress_id: str) -> None:
        """Stop a recording that no session wants."""
        with trio.move_on_after(START_WITHIN), suppress(RoomControlError):
            await self._egress.stop(egress_id)

    async def _give_up(
        self, state: SessionState, wanted: RecordingIntent, error: str, retry: bool
    ) -> RecordingResult:
        report = RecordingNotStarted(self._clock(), wanted.intent, error)
        await self._sessions.report(state.room_sid, report)
        return RecordingResult("failed", error=error, retry=retry)

    async def _search(
        self, state: SessionState, wanted: RecordingIntent, until: float
    ) -> EgressState | None:
        """The egress of an intent in LiveKit's list; None where there was none after `until`
        (trio's time).  Where LiveKit cannot be reached that is not known, so it is asked again."""
        while True:
            asked = trio.current_time()
            try:
                with trio.fail_after(START_WITHIN):
                    listed = await self._egress.list_room(state.room)
            except (ControlUnavailable, trio.TooSlowError):
                await sleep(SEARCH_AGAIN)
                continue
            except RoomControlError:
                return None
            known = self._sessions.find(state.room_sid)
            taken = frozenset[str]() if known is None else known.recordings.keys()
            for one in listed:
                ours = one.room_sid == state.room_sid and one.is_of(
                    wanted.intent, wanted.request, wanted.at
                )
                if ours and (one.intent or one.egress_id not in taken):
                    return one
            if asked >= until:
                return None
            await sleep_until(min(asked + SEARCH_AGAIN, until))

    async def _begun(self, room_sid: str, egress_id: str) -> RecordingResult:
        """Wait until a recording records, or did not begin in time."""
        with trio.move_on_after(BEGIN_WITHIN):
            while True:
                one = self._find(room_sid, egress_id)
                if one is None or one.status != "starting":
                    break
                await sleep(LOOK_SOON)
        one = self._find(room_sid, egress_id)
        if one is not None and one.status == "starting":
            await self._stop_egress(room_sid, egress_id)
            return RecordingResult("failed", egress_id, _STAYS_STARTING, retry=True)
        if one is not None and one.status in OVER and one.started_at is None:
            return RecordingResult("failed", egress_id, one.error or one.status)
        return RecordingResult("started", egress_id)

    # ------------------------------------------------------------ a recording

    def _follow_soon(self, room_sid: str, egress_id: str) -> None:
        if egress_id not in self._tasks:
            self.context.start_soon(self._follow_alone, room_sid, egress_id)

    async def _follow_alone(self, room_sid: str, egress_id: str) -> None:
        await self._alone(egress_id, lambda: self._follow(room_sid, egress_id))

    async def _follow(self, room_sid: str, egress_id: str) -> None:
        """Ask LiveKit about a recording until it is over.  Webhooks may say the same before."""
        while (one := self._find(room_sid, egress_id)) is not None and one.status not in OVER:
            answers = one.status != "ending" and one.lost_at is None
            state = self._sessions.find(room_sid)
            if answers and (one.stop_wanted or outlives_its_room(state, self._clock())):
                await self._stop_egress(room_sid, egress_id)
            await self._look(room_sid, one)
            await sleep(LOOK if one.status == "active" else LOOK_SOON)

    async def _look(self, room_sid: str, one: Recording) -> None:
        try:
            with trio.fail_after(START_WITHIN):
                newest = await self._egress.look_up(one.id)
        except ControlNotFound:
            newest = EgressState(
                one.id,
                room_sid,
                one.kind,
                "aborted",
                started_at=one.started_at,
                error="LiveKit does not know this recording any more",
                updated_at=max(one.updated_at, self._clock()),
            )
        except (RoomControlError, trio.TooSlowError):
            return
        now = self._find(room_sid, one.id)
        if now is not None and newest.updated_at >= now.updated_at and differs(newest, now):
            await self._report(room_sid, newest, now.intent)

    async def _report(self, room_sid: str, newest: EgressState, intent: str) -> None:
        await self._sessions.report(
            room_sid,
            EgressListed(
                self._clock(),
                newest.egress_id,
                newest.kind,
                newest.status,
                intent,
                newest.started_at,
                newest.ended_at,
                newest.error,
                newest.file,
                newest.updated_at,
            ),
        )

    # ------------------------------------------------------------ a stop

    async def _stop(self, message: EndRecording) -> None:
        message.reply_to.send(await self._stopped(message))

    async def _stopped(self, message: EndRecording) -> RecordingResult:
        with trio.move_on_after(SEARCH + BEGIN_WITHIN):
            # One that is being started can be stopped when it is known.
            while self._is_wanted(message.room_sid):
                await sleep(LOOK_SOON)
        result = RecordingResult("not_running")
        state = self._sessions.find(message.room_sid)
        for one in () if state is None else tuple(state.recordings.values()):
            if one.is_ours and one.status not in OVER:
                wish = RecordingStopIntended(self._clock(), one.id, message.rule)
                await self._sessions.report(message.room_sid, wish)
                result = await self._stop_egress(message.room_sid, one.id)
                self._follow_soon(message.room_sid, one.id)
        return result

    async def _stop_egress(self, room_sid: str, egress_id: str) -> RecordingResult:
        try:
            with trio.fail_after(START_WITHIN):
                await self._egress.stop(egress_id)
        except ControlNotFound:
            pass  # It is over; `_follow` learns how.
        except ControlTimedOut:
            await self._sessions.report(room_sid, RecorderSilent(self._clock(), egress_id))
            error = "its egress worker does not answer"
            return RecordingResult("failed", egress_id, error)
        except (RoomControlError, trio.TooSlowError) as error:
            why = str(error) or "LiveKit gave no answer"
            return RecordingResult("failed", egress_id, why, retry=True)
        one = self._find(room_sid, egress_id)
        if one is not None:
            await self._look(room_sid, one)
        return RecordingResult("stopped", egress_id)

    # ------------------------------------------------------------ after a restart

    async def _sweep(self) -> None:
        await self._sessions.ready()
        while True:
            for state in self._sessions.all():
                for wanted in state.recording_intents.values():
                    if wanted.intent not in self._tasks:
                        self.context.start_soon(self._resume, state.room_sid, wanted)
                for one in state.recordings.values():
                    if one.is_ours and one.status not in OVER:
                        self._follow_soon(state.room_sid, one.id)
            await sleep(SWEEP)

    async def _resume(self, room_sid: str, wanted: RecordingIntent) -> None:
        await self._alone(wanted.intent, lambda: self._find_out(room_sid, wanted))

    async def _find_out(self, room_sid: str, wanted: RecordingIntent) -> RecordingResult:
        """An earlier incarnation, or run, had this intent: LiveKit knows whether it was asked."""
        state = self._sessions.find(room_sid)
        if state is None:
            return RecordingResult("failed", error="there is no such session")
        passed = max(0.0, self._clock() - max(wanted.at, wanted.asked_at))
        newest = await self._search(state, wanted, trio.current_time() + max(0.0, SEARCH - passed))
        state = self._sessions.find(room_sid)
        if state is None or wanted.intent not in state.recording_intents:
            return RecordingResult("running", id_of_ours(state))  # A webhook told of it meanwhile.
        if newest is not None:
            return await self._take(state, wanted, newest)
        if state.ended or self._clock() - wanted.at > OLDEST_INTENT:
            why = "the worker was ended before LiveKit took it"
            return await self._give_up(state, wanted, why, False)
        # The next run must know how long this request may take.
        again = RecordingIntended(self._clock(), wanted.intent, wanted.rule, wanted.request)
        await self._sessions.report(room_sid, again)
        return await self._carry_out(state, wanted)

    # ------------------------------------------------------------ helpers

    async def _alone(
        self, key: str, do: Callable[[], Awaitable[RecordingResult | None]]
    ) -> RecordingResult:
        """Do something under its key, which nobody else does meanwhile."""
        if key in self._tasks:
            return RecordingResult("running")
        self._tasks.add(key)
        try:
            return await do() or RecordingResult("started")
        finally:
            self._tasks.discard(key)

    def _is_wanted(self, room_sid: str) -> bool:
        state = self._sessions.find(room_sid)
        return state is not None and bool(state.recording_intents)

    def _find(self, room_sid: str, egress_id: str) -> Recording | None:
        state = self._sessions.find(room_sid)
        return None if state is None else state.recordings.get(egress_id)


_STAYS_STARTING: Final = f"it did not begin to record within {BEGIN_WITHIN:g} s"
