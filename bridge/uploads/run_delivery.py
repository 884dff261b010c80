"""Brings what uploads say to the session of the room instance, once, and texts to their keeper.

Three uploads tell of the same turns: spans while the agent runs, the report, and log records.  The
report is the truth: its items have ids, which the agent's messages in the room have too.  So turns
and calls of the two others wait (`AFTER_CLOSE`).  If no report comes, those of the log records are
taken, and without them those of the spans, if the session has no turn of that run.

A run whose room nobody watches has a session only if a report (or log record) names the room, and
the room is one of those that are to be watched.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, final

import structlog
import trio
from attrs import define, evolve, field

from actors.rooms.agent_texts import AgentTexts
from actors.session import SessionState
from actors.session.agent_reports import AgentCall, AgentReport, AgentTurn, ModelUsage
from actors.session.agent_run import JOB_PREFIX, MAX_ITEMS, job_of
from actors.session.participant import COUNTED_KINDS
from bridge.uploads.run_matching import participant_sid_of, run_of_upload
from bridge.uploads.session_words import (
    SPAN,
    calls_of,
    models_of,
    texts_of,
    turn_of_span,
    turns_of,
)
from bridge.uploads.upload_facts import RunFacts, RunKey, UploadedToolCall, UploadedTurn

log = structlog.get_logger()

AFTER_CLOSE: Final = 15.0
"""Seconds after the end of a run in which its report is waited for.  It comes within 5 s."""
AFTER_SILENCE: Final = 60.0
"""Seconds after the last upload of a run that the room says is over: its process was killed."""
LOOK_EVERY: Final = 5.0
MOST_RUNS: Final = 512
"""Runs whose uploads wait, the newest."""
MOST_WAITING: Final = 2_000
"""Turns and calls of one run that wait."""
MOST_RUN_BYTES: Final = 4 * 1024 * 1024
"""Of one run that waits: eight hours of talk with its texts.  Turns and calls beyond it are left
out, so one run cannot push out all others."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""Of all runs that wait.  Beyond it the oldest are dropped."""
LOG_AGAIN: Final = 60.0
"""Seconds until dropped runs are logged again."""
MOST_REPORTED: Final = 5_000
"""Runs that are remembered because their report came, or their spans were taken: the newest."""
AT_ONCE: Final = 200
"""Turns and calls of one record of a session."""

_Source: TypeAlias = Literal["report", "spans"]
"""The kind of upload that the turns of a run were taken from."""
_Key = TypeVar("_Key")
_AnItem = TypeVar("_AnItem", UploadedTurn, UploadedToolCall)
DeliveryOutcome: TypeAlias = Literal["delivered", "unknown_room", "waiting_dropped"]


class UploadedSessions(Protocol):
    """The sessions, as uploads need them."""

    def find(self, room_sid: str) -> SessionState | None:
        """The session of a room instance as it is now; None where none is in memory."""
        ...

    def wanted(self, room: str) -> bool:
        """True if a room of this name is to be watched."""
        ...

    def report(self, room: str, room_sid: str, report: AgentReport) -> object:
        """Have the report folded.  A session is made where there is none, if `room` is not
        empty.  Does not wait."""
        ...


_TURN_OR_CALL: Final = 1024
"""Bytes in memory of a turn or a call without its texts, of an error and of a model's usage."""
_Item: TypeAlias = UploadedTurn | UploadedToolCall


@define
class _Waiting:
    """The waiting uploads of one run.  A batch may come twice: equal keys are of one turn."""

    run_facts: RunFacts
    """The newest of everything that is no list."""
    span_turns: dict[tuple[str, int], UploadedTurn] = field(
        factory=dict[tuple[str, int], UploadedTurn]
    )
    span_calls: dict[tuple[str, int], UploadedToolCall] = field(
        factory=dict[tuple[str, int], UploadedToolCall]
    )
    """By what they are and the millisecond of their begin."""
    item_turns: dict[str, UploadedTurn] = field(factory=dict[str, UploadedTurn])
    item_calls: dict[tuple[str, str, int, int], UploadedToolCall] = field(
        factory=dict[tuple[str, str, int, int], UploadedToolCall]
    )
    """By their ids and the milliseconds of begin and end: begin and end of a call are two."""
    item_bytes: int = 0
    """Of turns and calls."""
    at: float = 0.0
    """When the newest upload came, in the loop's time."""
    closed: bool = False

    @property
    def count(self) -> int:
        spans, items = (self.span_turns, self.span_calls), (self.item_turns, self.item_calls)
        return sum(map(len, (*spans, *items)))

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        rest = len(self.run_facts.errors) + len(self.run_facts.usage)
        return self.item_bytes + _TURN_OR_CALL * (1 + rest)

    def known_by(self) -> RunFacts:
        """With the turns by whose ids a run of the room may be known."""
        return evolve(self.run_facts, turns=tuple(self.item_turns.values()))

    def add(self, run_facts: RunFacts) -> None:
        """Turns and calls.  Those beyond a bound are left out."""
        for turn in run_facts.turns:
            if turn.item_id:
                self._put(self.item_turns, turn.item_id, turn)
            else:
                self._put(self.span_turns, (turn.role, _millisecond(turn.started_at)), turn)
        for call in run_facts.tool_calls:
            began, ended = _millisecond(call.started_at), _millisecond(call.ended_at)
            if call.item_id or call.ended_at is None or call.started_at is None:
                self._put(self.item_calls, (call.call_id, call.item_id, began, ended), call)
            else:
                self._put(self.span_calls, (call.call_id, began), call)

    def _put(self, items: dict[_Key, _AnItem], key: _Key, item: _AnItem) -> None:
        before = items.get(key)
        size = _size_of(item) - (0 if before is None else _size_of(before))
        if self.count - (before is not None) >= MOST_WAITING or self.size + size > MOST_RUN_BYTES:
            return
        items[key] = item
        self.item_bytes += size


def _size_of(item: _Item) -> int:
    texts = (item.text,) if isinstance(item, UploadedTurn) else (item.arguments, item.output)
    return _TURN_OR_CALL + sum(map(sys.getsizeof, texts))


@final
class RunDelivery:
    """`take` gets all facts; the service `run` delivers what waited long enough."""

    def __init__(
        self,
        sessions: UploadedSessions,
        texts: AgentTexts | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is that of the sessions."""
        self.counts: Counter[DeliveryOutcome] = Counter()
        self.waiting_bytes = 0
        """Of all runs that wait, about."""
        self._logged_at = float("-inf")
        self._sessions = sessions
        self._texts = texts
        self._clock = clock
        self._waiting: OrderedDict[RunKey, _Waiting] = OrderedDict()
        self._over: OrderedDict[RunKey, _Source] = OrderedDict()
        self._work = trio.Event()

    def take(self, run_facts: RunFacts) -> None:
        """One upload's facts of one run.  Never waits."""
        run = run_facts.run
        if run_facts.redacted and self._texts is not None:
            self._texts.redact(run.room_sid, run.job_id)
        source = self._over.get(run)
        if run_facts.report:
            if source == "report":
                return  # The agent sent it again.
            waiting = self._take_out(run)
            if waiting is not None:
                counts = waiting.run_facts
                run_facts = evolve(
                    run_facts,
                    retries=counts.retries,
                    log_errors=counts.log_errors,
                    outcome=counts.outcome,
                    redacted=run_facts.redacted or counts.redacted,
                    participant_sid=run_facts.participant_sid or counts.participant_sid,
                )
            self._deliver(run_facts if source is None else _without_items(run_facts))
            self._remember(run, "report")
        elif source is not None:
            self._deliver(_without_items(run_facts))
        else:
            self._wait(run_facts)

    async def run(self) -> None:
        """Deliver what waited long enough, until cancelled."""
        while True:
            if not self._waiting:
                self._work = trio.Event()
                await self._work.wait()
            await trio.sleep(LOOK_EVERY)
            self.look()

    def look(self) -> None:
        """Deliver what is due."""
        now = trio.current_time()
        for run in [run for run, one in self._waiting.items() if self._is_due(run, one, now)]:
            waiting = self._take_out(run)
            assert waiting is not None
            settled = self._settled(run, waiting)
            self._deliver(settled)
            if any(turn.item_id.startswith(SPAN) for turn in settled.turns):
                # A report would add the same turns and calls under other ids.
                self._remember(run, "spans")

    def _remember(self, run: RunKey, source: _Source) -> None:
        self._over[run] = source
        if len(self._over) > MOST_REPORTED:
            self._over.popitem(last=False)

    # ------------------------------------------------------------ what waits

    def _wait(self, run_facts: RunFacts) -> None:
        run = run_facts.run
        waiting = self._take_out(run) or _Waiting(RunFacts(run))
        waiting.at = trio.current_time()
        waiting.run_facts = _merged(waiting.run_facts, run_facts)
        waiting.closed = waiting.closed or run_facts.ended_at is not None
        waiting.add(run_facts)
        self._waiting[run] = waiting
        self.waiting_bytes += waiting.size
        while len(self._waiting) > MOST_RUNS or self.waiting_bytes > MOST_BYTES:
            self._drop_oldest()
        self._work.set()

    def _drop_oldest(self) -> None:
        self._take_out(next(iter(self._waiting)))
        self.counts["waiting_dropped"] += 1
        now = trio.current_time()
        if now - self._logged_at >= LOG_AGAIN:
            self._logged_at = now
            log.warning("waiting_uploads_dropped", runs=self.counts["waiting_dropped"])

    def _take_out(self, run: RunKey) -> _Waiting | None:
        waiting = self._waiting.pop(run, None)
        self.waiting_bytes -= 0 if waiting is None else waiting.size
        return waiting

    def _is_due(self, run: RunKey, waiting: _Waiting, now: float) -> bool:
        if waiting.closed:
            return now - waiting.at >= AFTER_CLOSE
        if now - waiting.at < AFTER_SILENCE:
            return False
        state = self._sessions.find(run.room_sid)
        if state is None:
            return True
        known = run_of_upload(state, waiting.known_by())
        return state.ended_at is not None or (known is not None and known.ended_at is not None)

    def _settled(self, run: RunKey, waiting: _Waiting) -> RunFacts:
        """The turns and calls of the best source."""
        state = self._sessions.find(run.room_sid)
        known = None if state is None else run_of_upload(state, waiting.known_by())
        turns: Sequence[UploadedTurn] = list(waiting.item_turns.values())
        calls: Sequence[UploadedToolCall] = list(waiting.item_calls.values())
        if not turns and not calls and (known is None or not (known.turns or known.tool_calls)):
            turns = [turn_of_span(one) for one in waiting.span_turns.values()]
            calls = list(waiting.span_calls.values())
        turns = sorted(turns, key=lambda one: one.started_at or one.created_at)
        return evolve(waiting.run_facts, turns=tuple(turns), tool_calls=tuple(calls))

    # ------------------------------------------------------------ to the session

    def _deliver(self, run_facts: RunFacts) -> None:
        run = run_facts.run
        if _is_empty(run_facts):
            return
        state = self._sessions.find(run.room_sid)
        if state is None and not (run_facts.room and self._sessions.wanted(run_facts.room)):
            self.counts["unknown_room"] += 1
            return
        room = run_facts.room if state is None else state.room
        known = None if state is None else run_of_upload(state, run_facts)
        if state is not None and known is not None and not known.job_id:
            run_facts = evolve(run_facts, participant_sid=participant_sid_of(state, known))
        turns, calls = turns_of(run_facts), calls_of(run_facts)
        if known is not None and known.turns:
            # The session knows only so many items again.
            most = MAX_ITEMS - 24
            turns, calls = turns[-most:], calls[-max(0, most - len(turns)) or len(calls) :]
        for part in _parts(run_facts, turns, calls, self._clock()):
            self._sessions.report(room, run.room_sid, part)
        self.counts["delivered"] += 1
        if self._texts is not None and not run_facts.redacted:
            agent = JOB_PREFIX + run.job_id if known is None else known.identity
            person = None if state is None else _user_of(state)
            # Texts from the room of an agent with an identity of its own have no job.
            job = run.job_id if known is None else job_of(known.identity)
            for text in texts_of(run_facts, room, job, agent, person):
                if self._texts.keeps(text.kind):
                    self._texts.add(text)


def _merged(before: RunFacts, run_facts: RunFacts) -> RunFacts:
    """Both, without lists."""
    return evolve(
        run_facts,
        agent_name=run_facts.agent_name or before.agent_name,
        room=run_facts.room or before.room,
        sdk_version=run_facts.sdk_version or before.sdk_version,
        participant_sid=before.participant_sid or run_facts.participant_sid,
        started_at=before.started_at if run_facts.started_at is None else run_facts.started_at,
        ended_at=before.ended_at if run_facts.ended_at is None else run_facts.ended_at,
        close_reason=run_facts.close_reason or before.close_reason,
        usage=run_facts.usage or before.usage,
        errors=tuple(dict.fromkeys((*before.errors, *run_facts.errors)))[:MOST_WAITING],
        retries=before.retries + run_facts.retries,
        log_errors=before.log_errors + run_facts.log_errors,
        outcome=run_facts.outcome or before.outcome,
        redacted=before.redacted or run_facts.redacted,
        turns=(),
        tool_calls=(),
    )


def _without_items(run_facts: RunFacts) -> RunFacts:
    return evolve(run_facts, turns=(), tool_calls=())


def _is_empty(run_facts: RunFacts) -> bool:
    """Nothing that a session would have."""
    lists = (run_facts.turns, run_facts.tool_calls, run_facts.usage, run_facts.errors)
    words = (run_facts.close_reason, run_facts.sdk_version, run_facts.outcome)
    return not (any(lists) or any(words) or run_facts.retries or run_facts.log_errors)


def _parts(
    run_facts: RunFacts, turns: Sequence[AgentTurn], calls: Sequence[AgentCall], at: float
) -> Iterator[AgentReport]:
    """The report in records of bounded size; the last one says how the run ended."""
    models: tuple[ModelUsage, ...] = models_of(run_facts)
    steps = max(1, -(-len(turns) // AT_ONCE), -(-len(calls) // AT_ONCE))
    for step in range(steps):
        part = slice(step * AT_ONCE, (step + 1) * AT_ONCE)
        last = step == steps - 1
        yield AgentReport(
            at,
            run_facts.run.job_id,
            agent_name=run_facts.agent_name,
            version=run_facts.sdk_version,
            started_at=run_facts.started_at,
            ended_at=run_facts.ended_at,
            close_reason=run_facts.close_reason or None,
            turns=tuple(turns[part]),
            calls=tuple(calls[part]),
            models=models if last else (),
            retries=run_facts.retries if last else 0,
            log_errors=run_facts.log_errors if last else 0,
            outcome=run_facts.outcome,
            participant_sid=run_facts.participant_sid,
            errors=(sum(run_facts.error_counts.values()) or len(run_facts.errors)) if last else 0,
        )


def _user_of(state: SessionState) -> str | None:
    """The person of a conversation of two; None where nobody or several people were there.  Of
    several, what was heard in the room says who spoke."""
    everybody = (*state.present.values(), *state.past.values())
    people = [person.identity for person in everybody if person.kind in COUNTED_KINDS]
    return people[0] if len(people) == 1 else None


def _millisecond(time: float | None) -> int:
    return -1 if time is None else round(time * 1000)
