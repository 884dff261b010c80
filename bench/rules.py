"""Rules: what they cost an event, beside the session's own work.

    bench/run rules [--rooms 200] [--events 40] [--rounds 7] [--json FILE] [--help]

So many session actors take the same events: messages, speakers, qualities, mutes, and people who
come and go, in the mix of a meeting.  Each is recorded, encoded and published to the counters, as
in a worker.  In turn, round by round,

1. *without the code*: entries are published as if there were no rules.  This is the floor;
2. *nothing configured*: the program as it is, without rules;
3. *other rooms*: ten rules that watch none of these rooms;
4. *ten rules*, which watch all of them;
5. *with a rate*: the same, and one rule of the rate of messages, which reads each message.

Microseconds of CPU an event.  The goals are shares of what an event costs a whole worker, with
LiveKit's SDK (`WORKER`, from `bench/run scale`): an event here is the smaller part of that.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio
from attrs import frozen

from actors.acting.acting import Acting
from actors.acting.ban_list import BanList
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.rooms import session_actor
from actors.rooms.room_rules import StartRules
from actors.rooms.run_counters import RunCounters
from actors.rooms.session_actor import MAILBOX, SessionActor
from actors.rooms.subscriber import SubscriberFanOut
from actors.rules.rule_config import read_rules
from actors.runtime import Actor, ChildSpec, GroupSpec, Ref, open_system, receives
from actors.session import (
    AttachmentReceived,
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Quality,
    QualityChanged,
    RoomEvent,
    Roster,
    SessionBegan,
    SpeakersChanged,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    Watching,
)
from bench.entry import bench_parser, run_bench
from bench.measure import conclude, load, markdown
from bridge.output.progress import ProgressLine

T0: Final = 1.7e9
WORKER: Final = 440.0
"""Microseconds of CPU that an event costs a worker at 200 rooms, the lower of two figures."""
MOST: Final = 0.02
"""Share of `WORKER`, for each of `GOALS`."""
GOALS: Final = ("none", "elsewhere", "rules")
PEOPLE: Final = 6
RULES: Final[list[Mapping[str, Any]]] = [
    {"name": "full", "when": {"people": "> 50"}, "then": ["alert"]},
    {"name": "busy", "when": {"joins": "> 1000"}, "then": ["alert"]},
    {"name": "old", "when": {"age": "> 12h"}, "then": ["alert"]},
    {"name": "alone", "when": {"people": "== 1", "age": "> 10m"}, "for": "5m", "then": ["alert"]},
    {"name": "left", "when": {"empty_for": "> 10m"}, "then": ["alert"]},
    {"name": "silent", "when": {"silence_for": "> 10m"}, "then": ["alert"]},
    {
        "name": "bad",
        "when": {"quality": {"at_most": "poor", "share": ">= 80%"}},
        "for": "1m",
        "then": ["alert"],
    },
    {"name": "tracks", "when": {"tracks": {"screen": ">= 3"}}, "then": ["alert"]},
    {"name": "guests", "person": {"attribute": {"role": "guest"}}, "then": ["alert"]},
    {"name": "long", "person": {"present_for": "> 4h"}, "then": ["alert"]},
]
RATE: Final[Mapping[str, Any]] = {
    "name": "flood",
    "when": {"message_rate": "> 1000/s"},
    "then": ["alert"],
}


@frozen
class Options:
    rooms: int
    events: int
    rounds: int
    json: Path | None


def events(number: int) -> list[RoomEvent]:
    """`number` events of one room: of 100, half are messages, a quarter changes of who speaks, and
    one is a join and one a leave."""
    return [_event(T0 + 1 + n * 0.1, n) for n in range(number)]


def _event(at: float, n: int) -> RoomEvent:
    who, place = n % PEOPLE, n % 100
    if place == 40:
        return ParticipantJoined(at, ParticipantInfo(f"v{n}", f"PA_v{n}", at))
    if place == 90:
        return ParticipantLeft(at, f"v{n - 50}", f"PA_v{n - 50}", "client_initiated")
    if place % 4 == 1:
        return SpeakersChanged(at, (f"p{who}",) if place % 8 == 1 else ())
    if place % 8 == 3:
        level: Quality = "good" if place % 16 == 3 else "excellent"
        return QualityChanged(at, f"p{who}", f"PA_{who}", level)
    if place % 8 == 7:
        muted = TrackMuted if place % 16 == 7 else TrackUnmuted
        return muted(at, f"p{who}", f"TR_{who}")
    return DataReceived(at, f"p{who}", "chat", 40, "json")


def beginning() -> list[RoomEvent]:
    people = tuple(ParticipantInfo(f"p{n}", f"PA_{n}", T0) for n in range(PEOPLE))
    tracks = [
        TrackPublished(T0 + 0.5, f"p{n}", TrackInfo(f"TR_{n}", "audio", "microphone"))
        for n in range(PEOPLE)
    ]
    return [Watching(T0, Roster("", "", people, T0)), *tracks]


class Connection(Actor[Any]):
    """Takes what a session wants of its connection."""

    @receives(object)
    def take(self, _: object) -> None: ...


class BareSession(SessionActor):  # pyright: ignore[reportGeneralTypeIssues]
    """A session actor without the code of rules."""

    def _publish(self) -> None:
        entries, state = self._journal.unpublished, self._journal.state
        offer = self._subscriber.offer
        while entries:
            offer(state, entries.popleft())

    @receives(*session_actor.EVENTS)
    def on_event(self, event: RoomEvent) -> None:
        dropped_messages = self.context.take_dropped(DataReceived)
        files = self.context.take_dropped(AttachmentReceived)
        if dropped_messages or files:
            raise RuntimeError("the bench is too fast for its mailboxes")
        self._journal.record(event)
        self._observe_lag(self._clock() - event.at)
        self._publish()
        self._set_timer()


async def one_round(options: Options, kind: Any, start_rules: StartRules) -> float:
    """Microseconds of CPU an event."""
    backlog, counters = Backlog(most_bytes=1 << 40, most_rows=1 << 40), RunCounters()
    fan_out = SubscriberFanOut({"counters": counters}, report_failure=lambda *_: None)
    journals = list[Journal]()
    story, opening = events(options.events), beginning()
    async with open_system() as system:
        sessions = list[Ref[Any]]()
        for number in range(options.rooms):
            began = SessionBegan(T0, f"room-{number}", f"RM_{number}", (), "w", "a", T0)
            journal = Journal.begin(began, backlog)
            journals.append(journal)

            def make(journal: Journal = journal) -> Any:
                return kind(
                    "",
                    journal,
                    clock=lambda: T0 + 1.0,
                    subscriber=fan_out,
                    observe_lag=counters.observe_lag,
                    announce_ready=lambda _: None,
                    next_instance=lambda _: None,
                    give_back=lambda _: None,
                    start_rules=start_rules,
                )

            group = system.supervisor.start_group(
                GroupSpec(
                    f"room-{number}",
                    children=(
                        ChildSpec("connection", Connection),
                        ChildSpec("session", make, mailbox=MAILBOX),
                    ),
                )
            )
            await group.running()
            sessions.append(group.ref("session"))
        await _take_in(sessions, journals, opening)
        began_at = time.process_time()
        await _take_in(sessions, journals, story)
        seconds = time.process_time() - began_at
    return seconds * 1e6 / (len(story) * options.rooms)


async def _take_in(
    sessions: Sequence[Ref[Any]], journals: Sequence[Journal], story: Sequence[RoomEvent]
) -> None:
    """Every session takes each event before the next one comes."""
    for event in story:
        before = [journal.seq for journal in journals]
        for session in sessions:
            session.tell(event)
        while any(one.seq == seq for one, seq in zip(journals, before, strict=True)):
            await trio.lowlevel.checkpoint()


def start_of(rules: Sequence[Mapping[str, Any]]) -> StartRules:
    compiled = read_rules(list(rules))

    def report(_: str, error: Exception) -> None:
        raise error

    return Acting(compiled, BanList(), clock=lambda: T0, report_fault=report).start_rules


def main() -> int:
    parser = bench_parser("rules", __doc__)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--events", type=int, default=100, help="of each room and round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    elsewhere = [{**rule, "rooms": ["other-*"]} for rule in RULES]
    kinds: list[tuple[str, str, Any, StartRules]] = [
        ("without the code", "floor", BareSession, start_of([])),
        ("nothing configured", "none", SessionActor, start_of([])),
        ("ten rules of other rooms", "elsewhere", SessionActor, start_of(elsewhere)),
        ("ten rules", "rules", SessionActor, start_of(RULES)),
        ("and one of a rate", "rate", SessionActor, start_of([*RULES, RATE])),
    ]
    taken: dict[str, list[float]] = {key: [] for _, key, _, _ in kinds}
    with ProgressLine(sys.stderr) as progress:
        for number in range(options.rounds + 1):
            progress(f"round {number} of {options.rounds}")
            for _, key, kind, start_rules in kinds:
                cost = trio.run(one_round, options, kind, start_rules)
                if number:  # The first one warms up.
                    taken[key].append(cost)
    median = {key: statistics.median(costs) for key, costs in taken.items()}
    more = {
        key: statistics.median(
            one - floor for one, floor in zip(costs, taken["floor"], strict=True)
        )
        for key, costs in taken.items()
    }
    rows = [
        (
            title,
            f"{median[key]:.1f}",
            f"{more[key]:+.2f}",
            f"{more[key] / WORKER:+.2%}",
            f"at most {MOST:.0%}" if key in GOALS else "",
        )
        for title, key, _, _ in kinds
    ]
    print(markdown(("an event costs, us", "median", "more", "of a worker's event", "goal"), rows))
    print()
    unmet = [
        f"{key}: {more[key]:.2f} us more an event, at most {MOST * WORKER:.1f}"
        for key in GOALS
        if more[key] > MOST * WORKER
    ]
    result: dict[str, Any] = {"us": taken, "more_us": more, "worker_us": WORKER}
    return conclude(options.json, before, result, unmet)


if __name__ == "__main__":
    run_bench(main)
