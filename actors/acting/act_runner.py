"""The actor that carries out what rules decided.

It does nothing before the decision is durable.  After a kill it goes on with the acts that were
intended and not reported: those that can be repeated without harm are repeated, the others are
reported as not known.  What the server does not find is fulfilled, if the act was to end it.
The report goes to the session, so each act has one entry in its timeline.

Acts of one episode are done one after another, those of different episodes side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Final, TypeAlias, final

import trio
from attrs import define, field, frozen

from actors.acting.act_requests import ACT_KINDS, LEFT, ROOM_OVER, ActKind, ActRequest
from actors.acting.limit_requests import LIMIT_KINDS, PeopleLists
from actors.acting.room_texts import RoomTexts
from actors.journal.process_ports import Clock
from actors.recording.session_access import SessionAccess
from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnsupported,
    RoomControl,
    RoomControlError,
)
from actors.rules.acts import NAMES, Act, EndRoom
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from actors.runtime import Actor, Backoff, receives, sleep
from actors.session import SessionState
from actors.session.bounds import ANNOUNCE_INTERVAL
from actors.session.end_reasons import CONTINUABLE
from actors.session.rule_records import ActReported
from actors.session.rule_state import NO_RULES, OpenAct, episode_key

AT_ONCE: Final = 8
"""Requests that are under way at the same time."""
TRIES: Final = 6
RETRY: Final = Backoff(first=0.5, most=15.0)
SCAN_EVERY: Final = 5.0
"""Seconds between two looks for acts that nobody is busy with."""
GIVE_UP_AFTER: Final = 600.0
"""Seconds after the end of a session that may go on until its open acts are reported as failed."""
LOOKS: Final = 3
"""Looks before the end of a room, while people are on their way in."""

Outcome: TypeAlias = tuple[bool, str]
"""True if the act is done, and the result for the timeline."""
FindAct: TypeAlias = Callable[[str, int], Act | Limit | None]
"""The act at a place in the `then` of a rule, or the limit of this name; None if there is none (any
more)."""

_UNKNOWN: Final = "not known: the worker ended before the answer"


def acts_of(rules: tuple[Rule, ...], limits: tuple[Limit, ...] = ()) -> FindAct:
    """Finds the acts of these rules, and these limits."""
    by_name = {rule.name: rule.acts for rule in rules}
    limit_of = {limit.name: limit for limit in limits}

    def find(name: str, index: int) -> Act | Limit | None:
        if name in limit_of:
            return limit_of[name]
        acts = by_name.get(name, ())
        return acts[index] if 0 <= index < len(acts) else None

    return find


@frozen
class ActsIntended:
    """A session intends acts, or an earlier run left some in it."""

    room_sid: str


@define(eq=False)
class ActMemory:
    """The state of the runner that outlives its crashes."""

    since: float
    """Unix seconds when this run began."""
    earlier: set[tuple[str, str]] = field(factory=set[tuple[str, str]])
    """Room SID and key of the acts that earlier runs left open."""
    has_looked: bool = False
    """`earlier` was filled, once the sessions of earlier runs were in memory.  Not later: a clock
    that is set back makes acts of this run older than `since`."""
    requested: set[tuple[str, str]] = field(factory=set[tuple[str, str]])
    """Room SID and key of the acts of which a request was made."""


@final
class ActRunner(Actor[ActsIntended]):
    """See the module."""

    def __init__(
        self,
        control: RoomControl,
        texts: RoomTexts,
        sessions: SessionAccess,
        find_act: FindAct,
        memory: ActMemory,
        *,
        clock: Clock,
        report_fault: Callable[[str, Exception], object],
        kinds: Mapping[str, ActKind] = ACT_KINDS,
    ) -> None:
        self._control = control
        self._texts = texts
        self._sessions = sessions
        self._find_act = find_act
        self._memory = memory
        self._clock = clock
        self._report_fault = report_fault
        self._kinds = kinds
        self._lists = PeopleLists(control, clock)
        self._busy: set[tuple[str, str]] = set()
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def started(self) -> None:
        self.context.start_soon(self._scan_regularly)

    @receives(ActsIntended)
    def intended(self, message: ActsIntended) -> None:
        self._begin(message.room_sid)

    async def _scan_regularly(self) -> None:
        await self._sessions.ready()
        memory = self._memory
        if not memory.has_looked:
            memory.has_looked = True
            memory.earlier = {
                (state.room_sid, key)
                for state in self._sessions.all()
                for key, act in (state.rules or NO_RULES).open_acts.items()
                if act.at < memory.since
            }
        while True:
            for state in self._sessions.all():
                if state.rules is not None and state.rules.open_acts:
                    self._begin(state.room_sid)
            await sleep(SCAN_EVERY)

    def _begin(self, sid: str) -> None:
        """Start on the open acts of a session that nobody is busy with."""
        state = self._sessions.find(sid)
        if state is None or not _can_act(state, self._clock()):
            return
        episodes: dict[tuple[str, str, float], list[OpenAct]] = {}
        for key, act in (state.rules or NO_RULES).open_acts.items():
            if (sid, key) not in self._busy:
                episodes.setdefault((act.rule, act.on, act.at), []).append(act)
                self._busy.add((sid, key))
        for of_one in episodes.values():
            self.context.start_soon(self._carry_out, sid, of_one)

    async def _carry_out(self, sid: str, acts: list[OpenAct]) -> None:
        """The acts of one episode, in order."""
        noted_at = trio.current_time()
        await self._sessions.store(sid)
        for act in acts:
            key = (sid, act.plan.key)
            if not self._is_open(sid, act):
                # The session goes on from another state, which knows nothing of it.
                self._busy.discard(key)
                continue
            try:
                outcome = await self._outcome(sid, act, noted_at)
            except Exception as error:  # noqa: BLE001 (one act fails, the others go on)
                self._report_fault(act.rule, error)
                outcome = False, f"an internal error: {type(error).__name__}"
            if outcome is not None:
                done, result = outcome
                report = ActReported(self._clock(), act.plan.key, done, result)
                await self._sessions.report(sid, report)
            self._memory.requested.discard(key)
            self._memory.earlier.discard(key)
            self._busy.discard(key)

    def _is_open(self, sid: str, act: OpenAct) -> bool:
        state = self._sessions.find(sid)
        return state is not None and act.plan.key in (state.rules or NO_RULES).open_acts

    async def _outcome(self, sid: str, act: OpenAct, noted_at: float) -> Outcome | None:
        """The outcome of an act; None if it stays open until its room is watched again."""
        key = (sid, act.plan.key)
        configured = self._find_act(act.rule, act.plan.index)
        kinds = LIMIT_KINDS if isinstance(configured, Limit) else self._kinds
        kind = kinds.get(act.plan.act)
        if kind is None or not _fits(act, configured):
            return False, "the rule has no such act any more"
        memory = self._memory
        if not kind.repeatable and (key in memory.earlier or key in memory.requested):
            return False, _UNKNOWN
        planned = max(0.0, act.plan.due - act.at)
        # The bound is for a clock that was set back meanwhile.
        await sleep(min(max(0.0, act.plan.due - self._clock()), planned))
        since = trio.current_time() if planned else noted_at
        error = ""
        for attempt in range(1, TRIES + 1):
            state = self._sessions.find(sid)
            if state is None or not _can_act(state, self._clock()):
                return None
            if state.ended and state.end_reason in CONTINUABLE:
                return False, "the room was not watched again"
            outcome = await self._look_again(state, act, kind, configured, since)
            if outcome is not None:
                return outcome
            self._memory.requested.add(key)
            try:
                return True, await self._request(
                    kind, ActRequest(self._control, act, configured, state, self._texts)
                )
            except RoomControlError as failure:
                outcome = _of_failure(kind, failure)
                if outcome is not None:
                    return outcome
                error = str(failure)
            if attempt < TRIES:
                await sleep(RETRY.delay(attempt, self.context.random))
        return False, f"given up after {TRIES} tries: {error}"

    async def _request(self, kind: ActKind, request: ActRequest) -> str:
        async with nullcontext() if kind.takes_long else self._limiter:
            try:
                with trio.fail_after(kind.deadline):
                    return await kind.request(request)
            except trio.TooSlowError:
                raise ControlTimedOut(f"no answer in {kind.deadline:g} s") from None

    async def _look_again(
        self,
        state: SessionState,
        act: OpenAct,
        kind: ActKind,
        configured: Act | Limit | None,
        since: float,
    ) -> Outcome | None:
        """The outcome of an act that needs no request; None if it is still wanted."""
        if state.ended:
            return kind.on_person or kind.not_found == ROOM_OVER, ROOM_OVER
        if act.plan.sid and (kind.on_person or _is_to_person(configured)):
            person = state.present.get(act.on)
            if person is None or person.joins[-1].sid != act.plan.sid:
                return kind.on_person, LEFT
        if isinstance(configured, Limit):
            return await self._lists.look(state, act, configured, since)
        if isinstance(configured, EndRoom) and act.plan.act == "end_room":
            return await self._look_before_end(state, act)
        return None

    async def _look_before_end(self, state: SessionState, act: OpenAct) -> Outcome | None:
        """The end of a room that somebody is just entering is another thing than was decided.

        The server knows of people who publish nothing before the room does (up to 3 s).
        """
        room, sid = state.room, state.room_sid
        for _ in range(LOOKS):
            newest = self._sessions.find(sid)
            if newest is None or newest.ended:
                return True, ROOM_OVER
            if not self._still_wanted(newest, act):
                return False, "not needed: the rule does not hold any more"
            try:
                async with self._limiter:
                    people = await self._control.people(room)
            except RoomControlError:
                return None  # The request itself has its own errors.
            if all(one.identity in newest.present for one in people):
                return None
            await sleep(ANNOUNCE_INTERVAL + 1.0)
        newest = self._sessions.find(sid)
        if newest is not None and not newest.ended and not self._still_wanted(newest, act):
            return False, "not needed: the rule does not hold any more"
        return None

    def _still_wanted(self, state: SessionState, act: OpenAct) -> bool:
        """True while the episode that wanted the act goes on.  That of an event is over at once."""
        if not act.lasting:
            return True
        episode = (state.rules or NO_RULES).episodes.get(episode_key(act.rule, act.on))
        return episode is not None and episode.since == act.at


def _of_failure(kind: ActKind, error: RoomControlError) -> Outcome | None:
    """The outcome of an act whose request failed; None if it is worth another try."""
    if isinstance(error, ControlNotFound) and kind.not_found is not None:
        return True, kind.not_found
    if isinstance(error, ControlNotFound | ControlRefused | ControlUnsupported):
        return False, str(error)
    if isinstance(error, ControlTimedOut) and not kind.repeatable:
        return False, f"not known whether it was done: {error}"
    return None


def _can_act(state: SessionState, now: float) -> bool:
    """True if an act can be done, or reported: the room is watched, or over for good, or nobody
    came back to it for long."""
    if state.ended_at is not None:
        over = state.end_reason not in CONTINUABLE
        return over or now >= state.ended_at + GIVE_UP_AFTER
    return state.watching or state.reconnecting


def _fits(act: OpenAct, configured: Act | Limit | None) -> bool:
    """True if the act is configured as it was when it was intended."""
    if act.plan.index < 0 or act.plan.act == "release":
        return True
    if configured is None or isinstance(configured, Limit):
        return configured is not None
    word = NAMES[type(configured)]
    return word == act.plan.act or (word == "end_room" and act.plan.act == "send")


def _is_to_person(configured: Act | Limit | None) -> bool:
    return bool(getattr(configured, "to_person", False))
