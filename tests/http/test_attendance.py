"""`/api/v1/attendance`, `people/IDENTITY`, `days`, and the index of the API."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from actors.journal.attendance import days_of, exactly, read_attendance, read_visits, totals_of
from actors.journal.session_filters import Filters, regex_of
from actors.journal.session_reader import SessionReader
from actors.session import ParticipantInfo, ParticipantJoined, ParticipantLeft
from bridge.http.api.openapi import PATHS, near_address
from tests.http.stored_sessions import HOSTILE, StoredSessions, open_stored
from tests.store.memory_sessions import MemorySessions
from tests.store.stored_history import T0, History

HOUR = 3_600.0


async def rows_of(stored: StoredSessions, path: str) -> list[dict[str, str]]:
    answer = await stored.site.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(answer.text)))


@contextmanager
def visits_of_alice() -> Iterator[SessionReader]:
    """Three sessions of alice: over midnight, with a rejoin, under another identity."""
    memory, history = MemorySessions(), History(T0)
    for number, who in enumerate(("alice", "alice", "*")):
        journal = history.begin("daily" if number < 2 else "other", f"RM_{number}", who, "bob")
        history.now += 2 * HOUR
        journal.record(ParticipantLeft(history.now, who, f"PA_{who}", "client_initiated"))
        if number == 1:
            again = ParticipantInfo(who, "PA_again", history.now + 60, name="Alice")
            journal.record(ParticipantJoined(history.now + 60, again))
            history.now += 120
        journal.end(history.now, "room_closed")
        history.now += 24 * HOUR
    memory.add(history.batch())
    with memory.open() as reader:
        yield reader


def test_attendance_has_a_row_for_each_person_in_each_session() -> None:
    with visits_of_alice() as reader:
        page = read_attendance(reader, 50, None, Filters(room="daily"))
        assert [(r.session, r.identity, r.joins) for r in page.rows] == [
            ("RM_1", "alice", 2), ("RM_1", "bob", 1), ("RM_0", "alice", 1), ("RM_0", "bob", 1),
        ]  # fmt: skip
        assert {row.leave_reason for row in page.rows if row.session == "RM_0"} == {
            "client_initiated", None,
        }  # fmt: skip
        only = read_attendance(reader, 50, None, Filters(person="Bo?"))
        assert {row.identity for row in only.rows} == {"bob"}


def test_visits_are_those_of_the_identity_and_not_of_a_pattern() -> None:
    with visits_of_alice() as reader:
        assert [row.session for row in read_visits(reader, "alice", 50).rows] == ["RM_1", "RM_0"]
        assert [row.session for row in read_visits(reader, "*", 50).rows] == ["RM_2"]
        # A display name is nobody: who may be called so?
        assert read_visits(reader, "Alice", 50).rows == []
        first = read_visits(reader, "alice", 1)
        assert [row.session for row in first.rows] == ["RM_1"]
        assert [r.session for r in read_visits(reader, "alice", 1, first.next).rows] == ["RM_0"]


def test_days_are_split_at_midnight_and_add_up_to_the_totals() -> None:
    with visits_of_alice() as reader:
        page = read_visits(reader, "alice", 50)
    days, totals = days_of(page.spans), totals_of(page.rows)
    # Each visit begins half a second before ours; T0 is 14:13:20.
    assert [(day.date, day.sessions) for day in days] == [("2026-09-22", 1), ("2026-09-21", 1)]
    assert sum(day.seconds for day in days) == totals.seconds
    assert (totals.sessions, totals.joins) == (2, 3)
    midnight = T0 - T0 % 86_400 + 86_400
    split = days_of(
        [("RM_1", midnight - 90, midnight + 30), ("RM_1", midnight + 40, midnight + 50)]
    )
    assert [(day.date, day.sessions, day.seconds) for day in split] == [
        ("2026-09-22", 1, 40.0), ("2026-09-21", 1, 90.0),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["*", "a?[b]", "\\", "[^x]", "plain", "]a["])
def test_a_text_as_a_pattern_matches_itself_alone(text: str) -> None:
    pattern = regex_of(exactly(text))
    assert pattern.match(text)
    assert not pattern.match(f"{text}x")


async def test_the_api_gives_people_attendance_and_days(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        person = await stored.get("/api/v1/people/person-0")
        assert [visit["session"] for visit in person["visits"]] == [
            "RM_4", "RM_3", "RM_2", "RM_1",
        ]  # fmt: skip
        assert person["totals"]["sessions"] == 4
        assert (person["person"], person["next"]) == ("person-0", None)
        assert sum(day["sessions"] for day in person["days"]) == 4
        answer = await stored.site.http.get("/api/v1/people/nobody")
        assert answer.status_code == 404

        page = await stored.get("/api/v1/attendance", room="team-*", limit=1)
        assert {row["session"] for row in page["attendance"]} == {"RM_4"}
        more = await stored.get("/api/v1/attendance", room="team-*", cursor=page["next"])
        assert {row["session"] for row in more["attendance"]} == {"RM_3", "RM_2", "RM_1"}
        whole = await rows_of(stored, "/api/v1/attendance?format=csv")
        assert len(whole) == 1 + 2 + 3 + 4 + 5 + 2
        assert len(await rows_of(stored, "/api/v1/people/person-0?format=csv")) == 4
        assert whole[-1]["identity"].startswith("'=HYPERLINK")
        assert not {"\x1b", "\u202e"} & set(whole[-1]["identity"])

        span = {"since": "2026-09-20", "until": "2026-09-24"}
        days = await stored.get("/api/v1/days", room="team-*", **span)
        assert [day["sessions"] for day in days["days"]] == [0, 4, 0, 0]
        rows = await rows_of(
            stored, "/api/v1/days?format=csv&room=team-*&since=2026-09-21&until=2026-09-22"
        )
        assert [(row["date"], row["room"], row["sessions"]) for row in rows] == [
            ("2026-09-21", "team-*", "4")
        ]
        assert float(rows[0]["people_minutes"]) == days["days"][1]["people_minutes"] > 0
        assert len((await stored.get("/api/v1/days", since="1970-01-01"))["days"]) == 3_660
        hostile = await stored.site.http.get("/api/v1/people/" + quote(HOSTILE, safe=""))
        assert hostile.status_code == 200


async def test_the_index_names_every_address_and_an_unknown_one_is_helped(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        stored.history.begin("another", "RM_another")
        await stored.write()
        assert len((await stored.get("/api/v1/rooms"))["rooms"]) == 2
        (newest,) = (await stored.get("/api/v1/rooms", limit=1))["rooms"]
        assert newest["id"] == "RM_another"
        index = await stored.get("/api/v1")
        assert list(dict.fromkeys(one["path"] for one in index["addresses"])) == list(PATHS)
        sessions = next(o for o in index["addresses"] if o["path"] == "/api/v1/sessions")
        assert {"room", "person", "since", "until", "status", "people", "quality", "limit",
                "cursor", "format"} == set(sessions["parameters"])  # fmt: skip
    assert near_address("/api/v1/sesions") == "no such address; did you mean /api/v1/sessions?"
    assert near_address("/api/v1/rooms/") == "no such address; did you mean /api/v1/rooms?"
    assert near_address("/<script>") == "no such address; see /api/v1 for all"
