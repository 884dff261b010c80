"""`rules try`: how many stored events a second it looks at, beside what the reading alone costs.

    bench/run trial [--sessions 40] [--events 2000] [--json FILE] [--help]

A store is written with `--sessions` of `--events` each, as `bench/run store` has them, and people
who come and go besides.  Then, in turn, the same journals are

1. *folded*: read from their chunks, decoded and folded.  This is the floor: a trial must do it;
2. *tried* with ten rules and a limit that watch every room;
3. *tried* with a rule of the rate of messages besides, which is looked at after each message;
4. *tried* with the limit alone.

Events a second are of CPU time of the one thread.  The ratio to the floor holds on any machine;
the figures alone need an idle one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from attrs import frozen

from actors.acting.rule_trial import RuleTrial
from actors.journal.backlog import Backlog
from actors.journal.session_filters import ALL
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule, read_rules
from actors.session import fold
from actors.session.events import ParticipantJoined, ParticipantLeft
from actors.session.room_info import ParticipantInfo
from bench.entry import bench_parser, run_bench
from bench.measure import Spread, conclude, load, markdown
from bench.store import BATCH_ROWS, begin, nth_event
from bridge.output.progress import ProgressLine
from bridge.store.journal_reader import JournalReader, open_journal_reader
from bridge.store.sqlite_archive import open_store

RATE: Final = 10.8
"""Events a second in each session."""
MOVES: Final = 50
"""Events between two in which somebody comes or goes."""
RUNS: Final = 5
GOAL: Final = 60_000
"""Events a second and core."""

RULES: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "nobody is left alone",
        "when": {"people": "== 1", "age": "> 10m"},
        "for": "5m",
        "then": [{"end_room": {"warn": "1m"}}],
    },
    {"name": "empty", "when": {"empty_for": "> 5m"}, "then": ["end_room"]},
    {"name": "silent", "when": {"silence_for": "> 30m"}, "then": [{"send": "Still there?"}]},
    {"name": "crowd", "when": {"people": "> 50"}, "then": ["alert"]},
    {"name": "talk", "when": {"talk": "> 2h"}, "then": ["alert"]},
    {"name": "bad line", "person": {"quality": "poor"}, "for": "30s", "then": ["alert"]},
    {"name": "much coming", "when": {"joins": "> 500"}, "then": ["alert"]},
    {"name": "long", "person": {"present_for": "> 8h"}, "then": ["alert"]},
    {"name": "cameras", "when": {"tracks": {"camera": "> 10"}}, "then": ["alert"]},
    {"name": "recorded", "when": {"recording": True}, "then": [{"log": "recording"}]},
)
FLOOD: Final = {"name": "flood", "when": {"message_rate": "> 100/s"}, "then": ["alert"]}
"""Looked at after each message: six of ten events are messages."""
LIMIT: Final = Limit("ten", ("*",), people=10, person_duration=8 * 3600.0)


async def write(data_dir: Path, sessions: int, events: int) -> None:
    backlog, now = Backlog(), time.time()
    async with open_store(data_dir, instance="bench") as archive:
        for number in range(sessions):
            at = now - 86_400 + number
            journal = begin(f"room-{number}", at, backlog)
            for event in range(events - 3):
                moment = at + event / RATE
                if event % MOVES:
                    journal.record(nth_event(event, moment))
                elif event % (2 * MOVES):
                    journal.record(ParticipantLeft(moment, "guest", "PA_guest", "left"))
                else:
                    guest = ParticipantInfo("guest", "PA_guest", moment)
                    journal.record(ParticipantJoined(moment, guest))
                journal.unpublished.clear()
                if backlog.waiting >= BATCH_ROWS:
                    await archive.write(backlog.take(moment))
                    backlog.done()
            journal.end(at + events / RATE, "room_closed")
            await archive.write(backlog.take(time.time()))
            backlog.done()


def fold_all(reader: JournalReader) -> int:
    events = 0
    for journal in reader.journals(ALL):
        state = None
        for record in reader.records(journal):
            state, _ = fold(state, record)
            events += 1
    return events


def try_all(reader: JournalReader, rules: tuple[Rule, ...], limits: tuple[Limit, ...]) -> int:
    """The number of acts."""
    acts, trial = 0, RuleTrial(rules, limits)
    for journal in reader.journals(ALL):
        acts += sum(1 for _ in trial.session(reader.records(journal)))
    return acts


@frozen
class Options:
    sessions: int
    events: int
    json: Path | None


def run(options: Options) -> dict[str, Any]:
    rules = read_rules([dict(rule) for rule in RULES])
    (flood,) = read_rules([FLOOD])
    with ProgressLine(sys.stderr) as progress, tempfile.TemporaryDirectory() as folder:
        progress("writing a store")
        trio.run(write, Path(folder), options.sessions, options.events)
        with open_journal_reader(Path(folder)) as reader:
            events = fold_all(reader)
            seconds: dict[str, list[float]] = {key: [] for _, key in ROWS}
            for turn in range(RUNS):
                progress(f"run {turn + 1} of {RUNS}")
                seconds["fold"].append(_cpu(lambda: fold_all(reader)))
                seconds["rules"].append(_cpu(lambda: try_all(reader, rules, (LIMIT,))))
                seconds["flood"].append(_cpu(lambda: try_all(reader, (*rules, flood), (LIMIT,))))
                seconds["limit"].append(_cpu(lambda: try_all(reader, (), (LIMIT,))))
    result: dict[str, Any] = {"events": events}
    for name, taken in seconds.items():
        result[f"{name}_events_a_second"] = attrs.asdict(Spread.of(events / one for one in taken))
        ratios = (floor / one for floor, one in zip(seconds["fold"], taken, strict=True))
        result[f"{name}_of_floor"] = attrs.asdict(Spread.of(ratios))
    return result


def _cpu(function: Callable[[], object]) -> float:
    """Seconds of CPU of this thread."""
    before = time.thread_time()
    function()
    return time.thread_time() - before


ROWS: Final = (
    ("folded", "fold"),
    ("tried, ten rules and a limit", "rules"),
    ("tried, a rule of message rates besides", "flood"),
    ("tried, a limit alone", "limit"),
)


def table(result: dict[str, Any]) -> str:
    rows = [
        (
            title,
            Spread(**result[f"{key}_events_a_second"]).text(0),
            Spread(**result[f"{key}_of_floor"]).text(2),
            f"at least {GOAL}" if key == "rules" else "",
        )
        for title, key in ROWS
    ]
    return markdown(("stored events", "a second and core", "of folding alone", "goal"), rows)


def unmet(result: dict[str, Any]) -> list[str]:
    median = result["rules_events_a_second"]["median"]
    return [] if median >= GOAL else [f"tried: {median:.0f} events/s, at least {GOAL}"]


def main() -> int:
    parser = bench_parser("trial", __doc__)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--events", type=int, default=2_000, help="in each session")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    result = run(options)
    print(table(result))
    print()
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
