"""What uploads add to a session: each turn once, whichever upload tells of it first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import trio
from attrs import define, evolve, field
from structlog.testing import capture_logs
from trio.testing import MockClock

from actors.journal.conversation_texts import ConversationText, TextKind
from actors.session import (
    ParticipantJoined,
    SessionBegan,
    SessionState,
    TimelineEntry,
    fold,
)
from actors.session.agent_reports import AgentReport, AgentTurn, AgentTurnReported
from actors.session.agent_run import MAX_ITEMS, AgentRun
from actors.session.events import Watching
from actors.session.room_info import ParticipantInfo, Roster
from bridge.uploads.run_delivery import (
    AFTER_CLOSE,
    AFTER_SILENCE,
    AT_ONCE,
    LOOK_EVERY,
    MOST_BYTES,
    MOST_RUN_BYTES,
    MOST_RUNS,
    RunDelivery,
)
from bridge.uploads.upload_desk import Upload
from bridge.uploads.upload_facts import RunFacts, RunKey, UploadedToolCall, UploadedTurn
from bridge.uploads.upload_reader import UploadReader
from tests.uploads.agent_uploads import RUN, captured, captured_report

READ = UploadReader(texts=True)
AGENT = f"agent-{RUN.job_id}"
AGENT_SID = "PA_4MhPuvtNaBXw"
"""Of the agent of the captured conversation."""
NOW = 1795998880.0
"""Ten seconds after the captured conversation."""


def facts_of(kind: str) -> list[RunFacts]:
    if kind == "report":
        header, history = captured_report()
        return list(READ(Upload("report", header, chat_history=history)))
    return [one for body in captured(kind) for one in READ(Upload(kind, body, packed=True))]  # pyright: ignore[reportArgumentType]


@define
class Sessions:
    """Sessions as a worker has them, without actors."""

    states: dict[str, SessionState] = field(factory=dict[str, SessionState])
    entries: list[TimelineEntry] = field(factory=list[TimelineEntry])
    reports: list[AgentReport] = field(factory=list[AgentReport])
    patterns: Callable[[str], bool] = lambda _: True

    def find(self, room_sid: str) -> SessionState | None:
        return self.states.get(room_sid)

    def wanted(self, room: str) -> bool:
        return self.patterns(room)

    def report(self, room: str, room_sid: str, report: AgentReport) -> None:
        self.reports.append(report)
        if room_sid not in self.states:
            self.begin(room, room_sid)
        self._fold(room_sid, report)

    def begin(self, room: str = "first", room_sid: str = RUN.room_sid) -> None:
        began = SessionBegan(NOW - 60, room, room_sid, (), "w", "watcher", None)
        self.states[room_sid], _ = fold(None, began)

    def watch(self) -> None:
        """A watched room with a person and the agent in it."""
        self.begin()
        alice = ParticipantInfo("alice", "PA_1", NOW - 50)
        agent = ParticipantInfo(AGENT, "PA_2", NOW - 49, kind="agent")
        roster = Roster(RUN.room_sid, participants=(alice,))
        self._fold(RUN.room_sid, Watching(NOW - 50, roster))
        self._fold(RUN.room_sid, ParticipantJoined(NOW - 49, agent))

    def watch_own(self, *identities: str, sids: Sequence[str] = (AGENT_SID,)) -> None:
        """A watched room with a person and agents with identities of their own."""
        self.begin()
        alice = ParticipantInfo("alice", "PA_1", NOW - 50)
        self._fold(RUN.room_sid, Watching(NOW - 50, Roster(RUN.room_sid, participants=(alice,))))
        for identity, sid in zip(identities, sids, strict=True):
            attributes = {"lk.agent_name": "stub-agent"}
            info = ParticipantInfo(identity, sid, NOW - 49, kind="agent", attributes=attributes)
            self._fold(RUN.room_sid, ParticipantJoined(NOW - 49, info))

    def own_turn(self, item: str, identity: str, *, began: float = NOW - 40) -> None:
        turn = AgentTurn(item, "agent", began, began + 1, delay=0.5)
        self._fold(RUN.room_sid, AgentTurnReported(began + 1, identity, began + 1, turn))

    def runs(self) -> list[tuple[str, str, int]]:
        """Identity, job and turns of each run."""
        agents = self.states[RUN.room_sid].agents
        assert agents is not None
        return [(one.identity, one.job_id, one.turns) for one in agents.runs.values()]

    def live_turn(self, item: str, *, began: float = NOW - 40) -> None:
        """The agent told of this turn in the room."""
        turn = AgentTurn(item, "agent", began, began + 1, delay=0.5)
        self._fold(RUN.room_sid, AgentTurnReported(began + 1, AGENT, began + 1, turn))

    def _fold(self, room_sid: str, event: object) -> None:
        state, entries = fold(self.states[room_sid], event)  # pyright: ignore[reportArgumentType]
        self.states[room_sid] = state
        self.entries += entries

    @property
    def run(self) -> AgentRun:
        agents = self.states[RUN.room_sid].agents
        assert agents is not None
        return agents.runs[RUN.job_id]

    def items(self) -> list[str]:
        """Ids of turns and calls in the timeline."""
        events = ("agent_turn", "agent_tool_call")
        return [one.data["item"] for one in self.entries if one.event in events]


@define
class Texts:
    """Fills `AgentTexts`."""

    kinds: tuple[TextKind, ...] = ("speech", "chat", "tool_arguments", "tool_output")
    added: list[ConversationText] = field(factory=list[ConversationText])
    redacted: list[tuple[str, str]] = field(factory=list[tuple[str, str]])

    def keeps(self, kind: TextKind) -> bool:
        return kind in self.kinds

    def add(self, text: ConversationText) -> None:
        self.added.append(text)

    def redact(self, room_sid: str, job_id: str) -> None:
        self.redacted.append((room_sid, job_id))


def delivery_to(sessions: Sessions, texts: Texts | None = None) -> RunDelivery:
    return RunDelivery(sessions, texts, clock=lambda: NOW)


def upload(delivery: RunDelivery, *kinds: str) -> None:
    for kind in kinds:
        for run_facts in facts_of(kind):
            delivery.take(run_facts)


ITEMS = [
    "item_41271cc03fd6", "item_fb0919dd9865", "item_1a8209d2f536", "item_c7606ef3ef33",
    "item_f1cdfcc8594c", "item_2dd0f36eb7d2", "item_c8d17c40401a", "item_6297a72563ca",
    "item_23286d060c84", "item_5cd87339d61a",
    "item_81ef176ba02e/fnc_0", "item_eabb4c31ced3/fnc_0",
]  # fmt: skip
"""Of the captured conversation: turns, then calls."""


# ---------------------------------------------------------------- one conversation


@pytest.mark.parametrize(
    "kinds",
    [("report",), ("traces", "report", "logs"), ("traces", "logs", "report"), ("report",) * 3],
)
async def test_a_report_makes_a_session_of_a_room_that_nobody_watched(kinds: tuple[str, ...]):
    sessions = Sessions()
    delivery = delivery_to(sessions)
    upload(delivery, *kinds)
    delivery.look()
    assert sessions.items() == ITEMS
    run, state = sessions.run, sessions.states[RUN.room_sid]
    assert (state.room, state.watching) == ("first", False)
    assert (run.name, run.version, run.close_reason) == (
        "stub-agent", "1.8.9", "participant_disconnected",
    )  # fmt: skip
    assert (run.turns, run.user_turns, run.interruptions) == (10, 5, 4)
    assert (run.tool_calls, run.tool_errors, run.tool_cancelled) == (2, 1, 0)
    assert run.delays.count == 3
    assert run.errors == 1
    # Three lines of the log come after the report, where logs do.
    assert run.log_errors == (0 if "logs" not in kinds else 5)
    assert run.delays.percentile(0.5) == 1.0643703937530518
    assert run.usage["llm stub/stub-llm"].amounts["input_tokens"] == 654
    calls = [one.data for one in sessions.entries if one.event == "agent_tool_call"]
    assert [(call["tool"], call["result"]) for call in calls] == [
        ("weather", "ok"), ("broken", "error"),
    ]  # fmt: skip
    assert calls[0]["seconds"] == 0.305
    assert delivery.counts["delivered"] >= 1


async def test_turns_that_the_room_brought_are_not_added_again():
    sessions = Sessions()
    sessions.watch()
    sessions.live_turn(ITEMS[0])
    sessions.live_turn(ITEMS[2])
    delivery = delivery_to(sessions)
    upload(delivery, "traces", "report", "logs")
    assert sorted(sessions.items()) == sorted(ITEMS)
    assert sessions.run.turns == 10
    assert sessions.run.identity == AGENT


async def test_without_a_report_the_items_of_the_logs_are_taken(autojump_clock: MockClock):
    sessions = Sessions()
    sessions.begin()
    delivery = delivery_to(sessions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        upload(delivery, "traces", "logs")
        assert sessions.items() == []
        await trio.sleep(AFTER_CLOSE + 2 * LOOK_EVERY)
        assert sessions.items() == ITEMS
        assert sessions.run.close_reason == "participant_disconnected"
        nursery.cancel_scope.cancel()


async def test_without_any_items_the_turns_of_the_spans_are_taken(autojump_clock: MockClock):
    sessions = Sessions()
    sessions.begin()
    delivery = delivery_to(sessions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.run)
        upload(delivery, "traces", "traces")  # a batch may come twice
        await trio.sleep(AFTER_CLOSE + 2 * LOOK_EVERY)
        nursery.cancel_scope.cancel()
    run = sessions.run
    # Typed turns have no span.
    assert (run.turns, run.user_turns, run.interruptions) == (8, 3, 4)
    assert (run.tool_calls, run.tool_errors, run.errors) == (2, 1, 1)
    begins = [one.at for one in sessions.entries if one.event == "agent_turn"]
    assert begins == sorted(begins)
    upload(delivery, "report")  # too late: these turns are there already
    assert sessions.run.turns == 8


async def test_a_late_report_still_fills_what_the_room_did_not_bring(autojump_clock: MockClock):
    """A recording of an hour needs a minute to come."""
    sessions = Sessions()
    sessions.watch()
    sessions.live_turn(ITEMS[0])
    delivery = delivery_to(sessions)
    upload(delivery, "traces")
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    upload(delivery, "report")
    assert sorted(sessions.items()) == sorted(ITEMS)
    count = len(sessions.reports)
    upload(delivery, "report")
    delivery.take(RunFacts(RUN))  # says nothing
    assert len(sessions.reports) == count


async def test_what_only_uploads_tell_of_is_added_up():
    sessions = Sessions()
    delivery = delivery_to(sessions)
    delivery.take(RunFacts(RUN, retries=2, log_errors=1))
    upload(delivery, "report")
    delivery.take(RunFacts(RUN, retries=1, log_errors=1, outcome="fail"))
    run = sessions.run
    assert (run.retries, run.log_errors, run.outcome) == (3, 2, "fail")


async def test_spans_add_no_turn_where_the_room_brought_some(autojump_clock: MockClock):
    sessions = Sessions()
    sessions.watch()
    sessions.live_turn("item_live")
    delivery = delivery_to(sessions)
    upload(delivery, "traces")
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    assert [item for item in sessions.items() if "fnc" not in item and "call" not in item] == [
        "item_live"
    ]
    assert sessions.run.close_reason == "participant_disconnected"


async def test_a_run_whose_process_was_killed_has_the_turns_of_its_spans(
    autojump_clock: MockClock,
):
    sessions = Sessions()
    sessions.begin()
    delivery = delivery_to(sessions)
    for run_facts in facts_of("traces")[:3]:
        delivery.take(run_facts)
    await trio.sleep(2 * AFTER_SILENCE)
    delivery.look()
    assert sessions.reports == []  # it may go on: nothing says that it is over
    state = sessions.states[RUN.room_sid]
    sessions.states[RUN.room_sid] = evolve(state, ended_at=NOW, end_reason="found_ended")
    delivery.look()
    assert sessions.run.turns == 4


# ---------------------------------------------------------------- whose session


async def test_a_room_that_is_not_to_be_watched_gets_no_session():
    sessions = Sessions(patterns=lambda room: room.startswith("team-"))
    delivery = delivery_to(sessions)
    upload(delivery, "report")
    assert sessions.states == {}
    assert delivery.counts == {"unknown_room": 1}


async def test_spans_alone_make_no_session(autojump_clock: MockClock):
    sessions = Sessions()
    delivery = delivery_to(sessions)
    upload(delivery, "traces")
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    assert sessions.states == {}


# ---------------------------------------------------------------- identities of their own


async def test_the_spans_name_the_participant_of_an_agent_with_an_identity_of_its_own():
    sessions = Sessions()
    sessions.watch_own("twin", "helper", sids=("PA_9", AGENT_SID))
    sessions.own_turn(ITEMS[0], "helper")
    sessions.own_turn("item_of_the_twin", "twin")
    upload(delivery_to(sessions), "traces", "report", "logs")
    assert sessions.runs() == [("twin", "", 1), ("helper", RUN.job_id, 10)]
    assert sorted(sessions.items()) == sorted([*ITEMS, "item_of_the_twin"])


async def test_a_report_alone_is_known_by_an_item_that_its_run_has():
    sessions, texts = Sessions(), Texts()
    sessions.watch_own("twin", "helper", sids=("PA_9", "PA_8"))
    sessions.own_turn(ITEMS[4], "helper")
    upload(delivery_to(sessions, texts), "report", "report")
    assert sessions.runs() == [("twin", "", 0), ("helper", RUN.job_id, 10)]
    # They replace what the room brought of it, which names no job.
    assert {one.job_id for one in texts.added} == {""}
    assert {one.identity for one in texts.added} == {"alice", "helper"}
    sessions.own_turn("item_after_the_report", "helper")
    assert sessions.runs()[1] == ("helper", RUN.job_id, 11)


async def test_a_report_without_common_items_is_known_by_name_and_time():
    sessions = Sessions()
    sessions.watch_own("helper", sids=("PA_8",))
    upload(delivery_to(sessions), "report")
    assert sessions.runs() == [("helper", RUN.job_id, 10)]


@pytest.mark.parametrize("kinds", [("report",), ("traces", "report")])
async def test_a_report_that_may_be_of_several_runs_or_of_another_participant_is_a_run_of_its_own(
    kinds: tuple[str, ...],
):
    sessions = Sessions()
    sessions.watch_own("twin", "helper", sids=("PA_9", "PA_8"))
    upload(delivery_to(sessions), *kinds)
    assert sessions.runs() == [("twin", "", 0), ("helper", "", 0), (AGENT, RUN.job_id, 10)]


# ---------------------------------------------------------------- texts


async def test_texts_go_to_their_keeper_with_who_spoke():
    sessions, texts = Sessions(), Texts()
    sessions.watch()
    upload(delivery_to(sessions, texts), "report")
    said = Counter((one.speaker, one.identity, one.kind) for one in texts.added if not one.name)
    assert said == {
        ("person", "alice", "speech"): 3,
        ("person", "alice", "chat"): 2,
        ("agent", AGENT, "speech"): 5,
    }
    tools = {one.kind: one for one in texts.added if one.name == "weather"}
    assert tools["tool_arguments"].text == '{"city": "amsterdam"}'
    assert "grey" in tools["tool_output"].text
    assert {one.item for one in texts.added} == set(ITEMS)
    assert "SECRET SYSTEM PROMPT" not in str([one.text for one in texts.added])


async def test_only_texts_that_are_kept_are_given():
    sessions, texts = Sessions(), Texts(kinds=("tool_output",))
    sessions.watch()
    upload(delivery_to(sessions, texts), "report")
    assert {one.kind for one in texts.added} == {"tool_output"}


async def test_of_several_people_the_room_says_who_spoke():
    sessions, texts = Sessions(), Texts()
    sessions.watch()
    bob = ParticipantInfo("bob", "PA_3", NOW - 45)
    sessions._fold(RUN.room_sid, ParticipantJoined(NOW - 45, bob))
    upload(delivery_to(sessions, texts), "report")
    assert {one.identity for one in texts.added} == {AGENT}


async def test_redaction_is_passed_on_and_no_text_is():
    sessions, texts = Sessions(), Texts()
    sessions.watch()
    [run_facts] = facts_of("report")
    delivery_to(sessions, texts).take(evolve(run_facts, redacted=True))
    assert texts.redacted == [(RUN.room_sid, RUN.job_id)]
    assert texts.added == []
    assert sessions.run.turns == 10


# ---------------------------------------------------------------- bounds


def made_turns(count: int) -> tuple[UploadedTurn, ...]:
    return tuple(UploadedTurn(f"i{n}", "assistant", NOW - count + n) for n in range(count))


async def test_a_long_report_comes_in_records_of_bounded_size():
    sessions = Sessions()
    run_facts = RunFacts(RUN, room="first", turns=made_turns(1000), report=True)
    delivery_to(sessions).take(run_facts)
    assert max(len(one.turns) for one in sessions.reports) == AT_ONCE
    assert sessions.run.turns == 1000


async def test_of_a_long_report_no_turn_is_added_twice():
    """A session knows only so many items again."""
    sessions = Sessions()
    sessions.watch()
    count = MAX_ITEMS + 200
    for turn in made_turns(count):
        sessions.live_turn(turn.item_id, began=turn.created_at)
    assert sessions.run.turns == count
    delivery_to(sessions).take(RunFacts(RUN, turns=made_turns(count), report=True))
    assert sessions.run.turns == count


async def test_runs_that_wait_are_bounded():
    delivery = delivery_to(Sessions())
    for number in range(MOST_RUNS + 10):
        delivery.take(RunFacts(RunKey("RM_1", f"AJ_{number}"), turns=made_turns(1)))
    assert delivery.counts == {"waiting_dropped": 10}
    assert len(delivery._waiting) == MOST_RUNS


def big_run(number: int, size: int) -> RunFacts:
    """A run with `size` bytes of texts, in turns of 16 KiB."""
    text = "x" * 16_384
    turns = tuple(evolve(one, text=text) for one in made_turns(size // 16_384))
    return RunFacts(RunKey("RM_1", f"AJ_{number}"), room="first", turns=turns)


async def test_runs_that_wait_are_bounded_by_bytes_and_the_oldest_is_dropped():
    sessions = Sessions()
    delivery = delivery_to(sessions)
    delivery.take(RunFacts(RUN, turns=made_turns(1)))
    with capture_logs() as logs:
        for number in range(2 * MOST_BYTES // MOST_RUN_BYTES):
            delivery.take(big_run(number, MOST_RUN_BYTES // 2))
            delivery.take(big_run(number, MOST_RUN_BYTES // 2))  # a batch may come twice
            assert delivery.waiting_bytes <= MOST_BYTES
    dropped = delivery.counts["waiting_dropped"]
    assert 1 < dropped < 4
    assert [one["event"] for one in logs] == ["waiting_uploads_dropped"]
    # The report of a dropped run still brings all of it.
    delivery.take(evolve(big_run(0, 32_768), report=True))
    assert [one.job_id for one in sessions.reports] == ["AJ_0"]
    assert delivery.counts["waiting_dropped"] == dropped


async def test_one_large_run_pushes_no_other_out():
    delivery = delivery_to(Sessions())
    delivery.take(RunFacts(RUN, turns=made_turns(1)))
    delivery.take(big_run(1, 2 * MOST_BYTES))
    assert delivery.waiting_bytes < MOST_RUN_BYTES + 8192
    assert delivery.counts == {}
    delivery.take(evolve(big_run(1, 0), report=True))
    delivery.take(RunFacts(RUN, report=True))
    assert delivery.waiting_bytes == 0


async def test_the_logs_of_a_run_whose_spans_were_taken_add_its_usage_only(
    autojump_clock: MockClock,
):
    sessions = Sessions()
    sessions.begin()
    delivery = delivery_to(sessions)
    upload(delivery, "traces")
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    assert sessions.run.usage == {}
    upload(delivery, "logs")
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    assert sessions.run.turns == 8
    assert sessions.run.usage["llm stub/stub-llm"].amounts["input_tokens"] == 654


async def test_a_call_of_a_batch_that_came_twice_counts_once(autojump_clock: MockClock):
    sessions = Sessions()
    sessions.begin()
    delivery = delivery_to(sessions)
    call = UploadedToolCall("call_1", "item_1", "weather", started_at=NOW - 9)
    output = UploadedToolCall("call_1", name="weather", ended_at=NOW - 8, failed=False)
    for _ in range(2):
        delivery.take(RunFacts(RUN, room="first", ended_at=NOW, tool_calls=(call, output)))
    await trio.sleep(AFTER_CLOSE)
    delivery.look()
    assert sessions.items() == ["item_1"]
    assert sessions.run.tool_calls == 1
