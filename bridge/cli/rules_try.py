"""`rules try`: what the rules and limits of a file would have done in the stored sessions."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, TextIO, final

from attrs import define, field

from actors.acting.rule_trial import RuleTrial, TrialAct, watched
from actors.journal.session_filters import FILTERS, Filters, WrongFilter, read_filters
from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from actors.session.record import Record
from actors.session.time_text import rfc3339
from bridge.cli.command import Flags
from bridge.cli.reading_tables import local_time
from bridge.cli.store_access import open_journals_of
from bridge.cli.time_flags import with_times, wrong_flag
from bridge.output.ascii_json import spaced_json
from bridge.output.harmless import harmless
from bridge.output.progress import ProgressLine
from bridge.store.journal_reader import JournalIncomplete, StoredJournal

FILTER_NAMES: Final = ("room", "since", "until")
FILTERS_TAKEN: Final = tuple(row for row in FILTERS if row.name in FILTER_NAMES)
"""The filters of lists that a trial has: the others need a session's state."""
SINCE: Final = 7 * 86_400.0
"""Seconds before now from which on sessions are tried, without --since."""
REPORT_EVERY: Final = 10_000
"""Events between two looks at the clock for the progress."""
AT_ONCE: Final = 500
"""Acts in one table: a long result costs no memory."""


def filters_of(flags: Flags, now: float) -> Filters:
    """The filters that the flags name; without --since those of the last days."""
    texts = {"since": rfc3339(now - SINCE)} | {
        name: flags[name] for name in FILTER_NAMES if name in flags
    }
    try:
        return read_filters(with_times(texts, now))
    except WrongFilter as error:
        raise wrong_flag(error) from None


@final
@define
class Trial:
    """The counts of one trial over many sessions, and what could not be tried."""

    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    sessions: int = 0
    events: int = 0
    acts: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]])
    """By rule and act."""
    incomplete: list[tuple[StoredJournal, str]] = field(factory=list[tuple[StoredJournal, str]])
    """Sessions of which not all was stored, with the reason."""

    def run(self, flags: Flags, filters: Filters) -> Iterator[tuple[StoredJournal, TrialAct]]:
        """Each act with its session: the sessions in the order of their begin."""
        with open_journals_of(flags) as reader, ProgressLine(sys.stderr) as progress:
            alive_at = reader.alive_at() or 0.0
            journals = [
                one
                for one in reader.journals(filters)
                if watched(self.rules, self.limits, one.room)
            ]
            rule_trial = RuleTrial(self.rules, self.limits)
            for number, journal in enumerate(journals, 1):
                self.sessions += 1
                records = self._counted(reader.records(journal), progress, number, len(journals))
                try:
                    for act in rule_trial.session(records, alive_at):
                        self.acts[act.rule, act.act] += 1
                        yield journal, act
                except JournalIncomplete as error:
                    self.incomplete.append((journal, str(error)))

    def _counted(
        self, records: Iterable[Record], progress: ProgressLine, number: int, of: int
    ) -> Iterator[Record]:
        for record in records:
            if not self.events % REPORT_EVERY:
                progress(f"session {number} of {of}, {self.events:,} events")
            self.events += 1
            yield record


def print_trial(trial: Trial, flags: Flags) -> None:
    """Run it and print what it finds."""
    now = time.time()
    acts = trial.run(flags, filters_of(flags, now))
    (_print_json if "json" in flags else _print_table)(trial, acts)


def _print_json(trial: Trial, acts: Iterator[tuple[StoredJournal, TrialAct]]) -> None:
    """An act a line: the result may be longer than memory."""
    sys.stdout.write('{"acts": [')
    separator = "\n"
    for journal, act in acts:
        row = {
            "at": rfc3339(act.at),
            "session": journal.room_sid,
            "room": journal.room,
            "rule": act.rule,
            "act": act.act,
            "on": act.on or None,
            "detail": act.detail or None,
        }
        sys.stdout.write(separator + spaced_json(row))
        separator = ",\n"
    rest = {
        "sessions": trial.sessions,
        "events": trial.events,
        "incomplete": [
            {"session": one.room_sid, "room": one.room, "reason": reason}
            for one, reason in trial.incomplete
        ],
    }
    sys.stdout.write(f"\n], {spaced_json(rest)[1:]}\n")


def _print_table(trial: Trial, acts: Iterator[tuple[StoredJournal, TrialAct]]) -> None:
    from bridge.output.table import print_table

    rows = list[tuple[str, ...]]()
    printed = False
    for journal, act in acts:
        rows.append(
            (local_time(act.at), journal.room, act.rule, act.act, act.on or "-", act.detail)
        )
        if len(rows) == AT_ONCE:
            print_table(HEADINGS, rows)
            rows, printed = [], True
    if rows or not printed:
        print_table(HEADINGS, rows)
    _print_totals(trial, sys.stdout)


HEADINGS: Final = ("time", "room", "rule", "act", "on", "detail")


def _print_totals(trial: Trial, out: TextIO) -> None:
    from bridge.output.table import print_table

    if trial.acts:
        out.write("\n")
        print_table(
            ("rule", "act", "times"),
            [(rule, act, str(times)) for (rule, act), times in sorted(trial.acts.items())],
        )
    sessions = f"{trial.sessions} session{'' if trial.sessions == 1 else 's'}"
    total = sum(trial.acts.values())
    acts = f"{total:,} act{'' if total == 1 else 's'}"
    out.write(f"\n{acts} in {sessions} with {trial.events:,} events\n")
    for journal, reason in trial.incomplete:
        session, room = harmless(journal.room_sid), harmless(journal.room)
        print(f"not whole: {session} of room {room}: {reason}", file=out)
