"""Every checker catches a double that breaks its law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from attrs import evolve

from actors.journal.archive import Batch
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.store_actor import StoreActor
from actors.rooms.connection_actor import ConnectionActor
from actors.rooms.idle_sessions import IdleSessions
from actors.rooms.manager import RoomManager
from actors.rooms.messages import GiveUp, LeaveRoom, RoomsVanished, RosterWanted, WebhookReceived
from actors.rooms.recovery import Recovery
from actors.rooms.room_table import RoomTable
from actors.runtime import (
    ActorEnded,
    Backoff,
    ChildSpec,
    Counters,
    Crashed,
    Exit,
    ExitKind,
    Failed,
    Intensity,
    Mailbox,
    ReplyTo,
    Restarting,
    Supervisor,
)
from actors.runtime.cell import Cell
from actors.runtime.deadlines import Deadlines
from actors.runtime.spec import RestartBudget
from actors.session import (
    AttachmentReceived,
    Disconnected,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    PermissionsChanged,
    Record,
    RecordingChanged,
    RoomEvent,
    SessionState,
    Suspended,
    Tick,
    TrackPublished,
    gaps,
)
from actors.session.participant import Join, Participant
from actors.simulation import draw, play
from actors.simulation.simulated_disk import SimulatedDisk
from actors.testing import checks, open_sim, run
from tests.testing.test_harness import Add, Adder, Total

# ---------------------------------------------------------------- by a made-up history


def counts(**changes: int) -> Counters:
    return evolve(Counters(9, 3, 2, 1, 1, 1, 1), **changes)


ERROR = ValueError("one")

BROKEN: dict[str, tuple[Callable[[], list[str]], Callable[[], list[str]]]] = {
    # law: (a history that keeps it, one that breaks it)
    "balance": (
        lambda: checks.counters_balance({"/a": counts()}),
        lambda: checks.counters_balance({"/a": counts(handled=2)}),
    ),
    "nothing queued": (
        lambda: checks.nothing_queued({"/a": counts(queued=0)}),
        lambda: checks.nothing_queued({"/a": counts()}),
    ),
    "raised, never reported": (
        lambda: checks.raised_is_reported([ERROR], [Crashed("/a", 1, ERROR)]),
        lambda: checks.raised_is_reported([ERROR], []),
    ),
    "raised, reported twice": (
        lambda: checks.raised_is_reported(
            [ERROR], [Crashed("/a", 1, ExceptionGroup("", [ERROR, KeyError()]))]
        ),
        lambda: checks.raised_is_reported([ERROR], [Crashed("/a", 1, ERROR)] * 2),
    ),
    "expected": (
        lambda: checks.crashes_are_expected([Crashed("/a", 1, ERROR)], (ValueError,)),
        lambda: checks.crashes_are_expected([Crashed("/a", 1, ERROR)], (KeyError,)),
    ),
    "budget": (
        lambda: checks.restarts_within_budget(
            [(float(n), Restarting("/a", n, n, 0.0)) for n in (0, 1, 10)],
            {"/a": Intensity(2, 5.0)},
        ),
        lambda: checks.restarts_within_budget(
            [(float(n), Restarting("/a", n, n, 0.0)) for n in (0, 1, 2)],
            {"/a": Intensity(2, 5.0)},
        ),
    ),
    "budget of another in the same place": (
        lambda: checks.restarts_within_budget(
            [(float(n), Restarting("/a", n % 2, n, 0.0)) for n in (0, 1, 2, 3)],
            {"/a": Intensity(2, 5.0)},
        ),
        lambda: checks.restarts_within_budget(
            [(float(n), Restarting("/a", n, n, 0.0)) for n in (0, 1, 2, 3)],
            {"/a": Intensity(2, 5.0)},
        ),
    ),
    "failed too early": (
        lambda: checks.failed_only_after_budget([Failed("/a", 2, None)], {"/a": Intensity(2)}),
        lambda: checks.failed_only_after_budget([Failed("/a", 1, None)], {"/a": Intensity(2)}),
    ),
    "ended": (
        lambda: checks.ends_once([ActorEnded("/a", 1, Exit(ExitKind.NORMAL))], {"/a": 1}),
        lambda: checks.ends_once([], {"/a": 1}),
    ),
    "an actor that ended in its first start": (
        lambda: checks.ends_once([ActorEnded("/a", 1, Exit(ExitKind.KILLED))], {"/a": 1}),
        lambda: checks.ends_once([ActorEnded("/a", 0, Exit(ExitKind.KILLED))], {"/a": 1}),
    ),
    "asks": (
        lambda: checks.asks_end_once({1: 1, 2: 1}),
        lambda: checks.asks_end_once({1: 1, 2: 0, 3: 2}),
    ),
    "planned faults": (
        lambda: checks.faults_happened([], ["/a"]),
        lambda: checks.faults_happened(["raise_at('/b', 1)"], ["/a"]),
    ),
    "tasks": (
        lambda: checks.tasks_at_baseline(3, 3),
        lambda: checks.tasks_at_baseline(3, 4),
    ),
}


@pytest.mark.parametrize("law", BROKEN)
def test_a_checker_knows_a_kept_law_from_a_broken_one(law: str) -> None:
    kept, broken = BROKEN[law]
    assert kept() == []
    assert broken() != []


# ---------------------------------------------------------------- by a broken runtime


def crashing_adders() -> list[str]:
    """The violations of a run with a crash, a late answer and a spent budget."""

    async def main() -> None:
        async with open_sim(1) as sim:
            ref = sim.system.supervisor.start_child(
                ChildSpec("adder", Adder, intensity=Intensity(2, 60.0), backoff=Backoff(first=0.1))
            )
            await ref.ask(Total, timeout=1.0)
            for _ in range(3):
                sim.saboteur.raise_at("/adder", 2)
                for _ in range(3):
                    ref.tell(Add(1))
                await trio.sleep(1.0)

    try:
        run(main)
    except AssertionError as error:
        return str(error).split("; ")
    except BaseExceptionGroup as group:
        return [str(error) for error in group.exceptions]
    return []


def test_without_a_mutation_no_law_is_broken() -> None:
    assert crashing_adders() == []


def lose_one_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Mailbox.offer

    def offer(box: Mailbox[Any], message: Any) -> bool:
        known = real(box, message)
        if isinstance(message, Add) and len(box) > 1:
            box._queue.pop()
        return known

    monkeypatch.setattr(Mailbox, "offer", offer)


def swallow_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cell._close_incarnation

    def close(cell: Cell[Any], end: Exit) -> None:
        real(cell, Exit(ExitKind.NORMAL) if end.error is not None else end)

    monkeypatch.setattr(Cell, "_close_incarnation", close)


def leave_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Supervisor._remove_child

    def remove(supervisor: Supervisor, child: Any, end: Any) -> None:
        real(supervisor, child, end)
        trio.lowlevel.spawn_system_task(trio.sleep_forever)

    monkeypatch.setattr(Supervisor, "_remove_child", remove)


def restart_once_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RestartBudget.charge

    def charge(budget: RestartBudget, now: float) -> bool:
        within = real(budget, now)
        return within or budget.spent == budget._intensity.restarts + 1

    monkeypatch.setattr(RestartBudget, "charge", charge)


def fail_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RestartBudget, "charge", lambda budget, now: False)
    monkeypatch.setattr(RestartBudget, "spent", 1, raising=False)


def forget_to_say_that_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.runtime.supervisor.ActorEnded", lambda *_: None)


def leave_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mailbox, "empty_into_dead_letters", lambda _: [])


@pytest.mark.parametrize(
    "mutation, found",
    [
        (lose_one_silently, "the mailbox does not balance"),
        (swallow_the_exception, "was raised and reported 0 times"),
        (leave_a_task, "tasks were left behind"),
        (restart_once_too_often, "3 restarts within 60 s"),
        (forget_to_say_that_it_ended, "ended 0 times"),
        (leave_the_queue, "messages are still queued"),
    ],
)
def test_a_runtime_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Callable[[pytest.MonkeyPatch], None], found: str
) -> None:
    mutation(monkeypatch)
    assert any(found in one for one in crashing_adders())


# ---------------------------------------------------------------- by broken actors of rooms


def is_caught(found: str, faults: Sequence[str], **size: Any) -> bool:
    """True where the law that `found` begins with breaks when only these faults strike.

    `size` is that of the plan (`draw`), where it is not the usual one.
    """
    return any(
        one.startswith(found)
        for seed in range(12)
        for one in play(draw(seed, among=faults, **size)).violations
    )


def end_a_job_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RoomManager._end_jobs

    def end_jobs(manager: RoomManager, held: Any, end: Exit, *, sent_out: bool) -> None:
        real(manager, held, end, sent_out=sent_out)
        for job_id in held.jobs:
            manager._reports.job_ended(job_id)

    monkeypatch.setattr(RoomManager, "_end_jobs", end_jobs)


def forget_an_event_in_the_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Journal._append, Counter[int]()

    def keep(journal: Journal, record: Record, state: SessionState, entries: Any) -> None:
        seen[0] += 1
        real(journal, record, journal.state if seen[0] % 50 == 0 else state, entries)

    monkeypatch.setattr(Journal, "_append", keep)


def do_not_compare_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = dict(ConnectionActor.handlers) | {RosterWanted: lambda _, __: None}
    monkeypatch.setattr(ConnectionActor, "handlers", handlers)


def enter_whatever_room_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionActor, "_may_be_ours_alone", lambda *_: False)


def never_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplyTo, "send", lambda *_: False)
    monkeypatch.setattr(Deadlines, "add", lambda *_: None)


def hear_no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = dict(RoomManager.handlers) | {WebhookReceived: lambda _, __: None}
    monkeypatch.setattr(RoomManager, "handlers", handlers)


def hear_of_leaves_late(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Journal.record

    def record(journal: Journal, event: RoomEvent) -> None:
        late = isinstance(event, ParticipantLeft)
        real(journal, evolve(event, at=event.at + 3.0) if late else event)

    monkeypatch.setattr(Journal, "record", record)


def change_what_is_recorded(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[RoomEvent], RoomEvent]
) -> None:
    real = Journal.record
    monkeypatch.setattr(Journal, "record", lambda journal, event: real(journal, change(event)))


def deaf_to(kind: type[RoomEvent]) -> Callable[[pytest.MonkeyPatch], None]:
    def deafen(monkeypatch: pytest.MonkeyPatch) -> None:
        change_what_is_recorded(
            monkeypatch, lambda event: Tick(event.at) if type(event) is kind else event
        )

    deafen.__name__ = f"deaf_to_{kind.__name__}"
    return deafen


def take_everybody_for_active(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(event: RoomEvent) -> RoomEvent:
        if isinstance(event, ParticipantJoined):
            return evolve(event, participant=evolve(event.participant, active=True))
        return event

    change_what_is_recorded(monkeypatch, change)


def take_every_end_for_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Participant.is_aborted

    def is_aborted(person: Participant, join: Join) -> bool:
        return real(person, evolve(join, end_observed=True))

    monkeypatch.setattr(Participant, "is_aborted", is_aborted)


def take_every_track_for_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(event: RoomEvent) -> RoomEvent:
        if isinstance(event, TrackPublished):
            return evolve(event, track=evolve(event.track, encrypted=False))
        return event

    change_what_is_recorded(monkeypatch, change)


def end_what_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(manager: RoomManager, message: GiveUp) -> None:
        held = manager._table.find_room(message.room_sid)
        if held is not None:
            manager._leave(held, LeaveRoom("worker_stopped"))

    handlers = dict(RoomManager.handlers) | {GiveUp: give_up}
    monkeypatch.setattr(RoomManager, "handlers", handlers)


def keep_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "add_gap", lambda state, _gap: state)


@pytest.mark.parametrize(
    "mutation, found, faults",
    [
        (end_a_job_twice, "jobs: ", ["room_closed"]),
        (forget_an_event_in_the_fold, "snapshot is the fold: ", ["duplicate"]),
        (do_not_compare_after_a_crash, "agreement: ", ["crash"]),
        (enter_whatever_room_there_is, "no room of ours: ", ["deleted_while_entering"]),
        (end_what_is_given_up, "end reasons: ", ["place_wanted"]),
    ],
)
def test_rooms_that_break_a_law_are_caught(
    monkeypatch: pytest.MonkeyPatch,
    mutation: Callable[[pytest.MonkeyPatch], None],
    found: str,
    faults: list[str],
) -> None:
    mutation(monkeypatch)
    assert is_caught(found, faults)


@pytest.mark.parametrize(
    "mutation, found, faults",
    [
        (deaf_to(ParticipantActive), "numbers: ", ["half_join"]),
        (take_everybody_for_active, "numbers: ", ["half_join"]),
        (take_every_end_for_observed, "numbers: ", ["half_join", "stop"]),
        (deaf_to(AttachmentReceived), "numbers: ", ["second_job"]),
        (deaf_to(PermissionsChanged), "agreement: ", ["second_job"]),
        (deaf_to(RecordingChanged), "agreement: ", ["second_job"]),
        (take_every_track_for_plain, "agreement: ", ["second_job"]),
        (deaf_to(Suspended), "coverage: ", ["suspend"]),
        (keep_no_gap, "gaps: ", ["gap"]),
        (hear_no_webhook, "webhooks alone: ", ["brief_room"]),
        (hear_of_leaves_late, "presence: ", ["second_job"]),
    ],
)
def test_a_session_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    mutation: Callable[[pytest.MonkeyPatch], None],
    found: str,
    faults: list[str],
) -> None:
    mutation(monkeypatch)
    assert is_caught(found, faults)


# ---------------------------------------------------------------- by a broken store


def say_done_before_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StoreActor._try_to_write

    async def try_to_write(store: StoreActor, failures: int) -> bool:
        await real(store, failures)
        return True

    monkeypatch.setattr(StoreActor, "_try_to_write", try_to_write)


def write_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.simulation.simulated_program.HEARTBEAT", 1000.0)


def drop_a_row_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Backlog.add, Counter[int]()

    def add(backlog: Backlog, journal: Journal, record: Record, entries: Any) -> int:
        seen[0] += 1
        return real(backlog, journal, record, entries) if seen[0] % 50 else 0

    monkeypatch.setattr(Backlog, "add", add)


def manager_table(recovery: Recovery) -> RoomTable:
    """The table that the recovery only reads."""
    table = recovery._table
    assert isinstance(table, RoomTable)
    return table


def forget_when_the_run_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Recovery.load_once

    async def load_once(recovery: Recovery) -> None:
        await real(recovery)
        manager_table(recovery)._alive_at = recovery._clock()

    monkeypatch.setattr(Recovery, "load_once", load_once)


def forget_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Journal.record

    def record(journal: Journal, event: RoomEvent) -> None:
        if not isinstance(event, Disconnected):
            real(journal, event)

    monkeypatch.setattr(Journal, "record", record)


def take_over_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IdleSessions, "take_over", lambda _, __: None)


def believe_that_no_room_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(recovery: Recovery) -> None:
        over = frozenset(recovery._table.unwatched)
        recovery._manager.tell(RoomsVanished(recovery._clock(), over))

    monkeypatch.setattr(Recovery, "_check", look)


def lose_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SimulatedDisk.new_run

    def new_run(disk: SimulatedDisk) -> None:
        real(disk)
        for number in disk.numbers:
            if disk.session(number).state.ended:
                del disk._saved[number]

    monkeypatch.setattr(SimulatedDisk, "new_run", new_run)


def keep_half_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SimulatedDisk.append

    def keep(disk: SimulatedDisk, batch: Batch) -> None:
        real(disk, evolve(batch, rows=batch.rows[::2]))

    monkeypatch.setattr(SimulatedDisk, "append", keep)


@pytest.mark.parametrize(
    "mutation, found, faults",
    [
        (say_done_before_it_wrote, "nothing waits: ", ["disk_full"]),
        (drop_a_row_silently, "rows: ", ["second_job"]),
        (forget_when_the_run_before_ended, "coverage: ", ["kill"]),
        (forget_the_gap, "coverage: ", ["kill"]),
        (take_over_nothing, "one session per room instance: ", ["kill"]),
        (take_over_nothing, "one open session per room instance: ", ["kill"]),
        (believe_that_no_room_lives, "end reasons: ", ["kill"]),
        (lose_what_is_over, "every room instance has its session: ", ["kill", "room_closed"]),
        (keep_half_of_a_batch, "durable: RM_", ["kill"]),
    ],
)
def test_a_store_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch,
    mutation: Callable[[pytest.MonkeyPatch], None],
    found: str,
    faults: list[str],
) -> None:
    mutation(monkeypatch)
    assert is_caught(found, faults)


def test_a_store_that_says_seldom_that_it_lives_is_caught_in_a_quiet_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where people do much, each batch of what they did says it too."""
    write_seldom(monkeypatch)
    assert is_caught("durable: nothing was written", ["kill"], rooms=1, actions=6)


def test_an_ask_that_never_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    never_answer(monkeypatch)
    outcome = play(draw(1, rooms=1, actions=5, faults=0, seconds=30.0))
    assert any("question 0 took" in one for one in outcome.violations)


def test_an_ask_that_is_answered_twice_is_told_apart() -> None:
    """The second answer is counted as what it is, and the asker has the first one."""
    late = list[str]()
    reply: ReplyTo[int] = ReplyTo(lambda: None, late.append)
    assert reply.send(1)
    assert not reply.send(2)
    assert (reply.result(), late) == (1, ["second reply"])
