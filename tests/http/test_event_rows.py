"""The rows of events on a session's page."""

from __future__ import annotations

import pytest

from actors.session import EntryView
from actors.session.time_text import rfc3339
from actors.session.timeline_entry import ENTRY_KEYS
from bridge.http.pages.event_rows import (
    KINDS,
    OTHER,
    EventChoice,
    EventRow,
    WantedEvents,
    event_page,
    kind_of,
    wanted_events,
)


def entry(at: int, event: str, **data: object) -> EntryView:
    return EntryView(at=rfc3339(float(at)), event=event, **data)  # pyright: ignore[reportArgumentType]


def message(at: int, who: str | None = "bob", topic: str = "chat") -> EntryView:
    return entry(at, "data_message", identity=who, topic=topic, size=10, format="text")


def rows(entries: list[EntryView], choice: EventChoice | None = None) -> list[EventRow]:
    """`entries` are in the order of time."""
    return event_page(entries[::-1], choice or EventChoice(), 1, 100).rows


def test_a_run_of_messages_is_one_row_and_a_short_one_is_not() -> None:
    story = [message(n) for n in range(3)]
    story.append(entry(5, "track_muted", identity="bob", sid="TR_1"))
    story += [message(10 + n, ("bob", "alice", None)[n % 3], f"t{n % 2}") for n in range(7)]
    shown = rows(story)
    assert [(row.event, row.count) for row in shown] == [
        ("messages", 7), ("track_muted", 1), *[("data_message", 1)] * 3,
    ]  # fmt: skip
    assert shown[0].who == "bob 3, (unknown) 2, alice 2"
    assert shown[0].what == [("bytes", "70"), ("topics", "t0 4, t1 3")]
    assert (shown[0].since, shown[0].at) == (story[4].at, story[-1].at)
    assert len(rows(story, EventChoice(fold=False))) == 11


def test_of_many_senders_some_are_named() -> None:
    (row,) = rows([message(n, f"p{n % 5}", "") for n in range(50)])
    assert row.who == "p4 10, p3 10, p2 10 and 2 more"
    assert row.what == [("bytes", "500")]


def test_events_are_chosen_by_kind_and_by_person() -> None:
    story = [
        entry(1, "participant_connected", identity="bob"),
        entry(2, "speakers_changed", identities=("alice", "bob")),
        message(3, "alice"),
        entry(4, "alert_firing", rule="alone", on="bob", text="alone"),
    ]
    assert [row.event for row in rows(story, EventChoice("rules"))] == ["alert_firing"]
    assert [row.event for row in rows(story, EventChoice(person="bob"))] == [
        "alert_firing", "speakers_changed", "participant_connected",
    ]  # fmt: skip
    assert rows(story, EventChoice("tracks", "bob")) == []


def test_an_event_is_of_one_kind_at_most_and_else_of_the_room() -> None:
    for event in ENTRY_KEYS:
        assert len([kind for kind, begins in KINDS.items() if event.startswith(begins)]) <= 1
    rest = [event for event in ENTRY_KEYS if kind_of(event) == OTHER]
    assert {"session_started", "room_metadata", "reconnecting"} <= set(rest)


@pytest.mark.parametrize("at, first, shown_at", [(1, 24, 1), (2, 14, 2), (3, 4, 3), (9, 4, 3)])
def test_pages_count_rows_and_a_page_beyond_the_last_is_the_last(
    at: int, first: int, shown_at: int
) -> None:
    story = [entry(n, "track_muted", identity="bob", sid=f"TR_{n}") for n in range(25)]
    page = event_page(story[::-1], EventChoice(), at, 10)
    assert (page.rows[0].at, page.at, page.pages) == (story[first].at, shown_at, 3)
    assert page.entries == 25
    assert event_page([], EventChoice(), at, 10).pages == 1


def test_a_form_with_wrong_values_chooses_everything() -> None:
    query = {"kind": "<script>", "person": "-1", "page": "x", "fold": "maybe"}
    assert wanted_events(query) == WantedEvents()
    wanted = wanted_events({"kind": "room", "person": "2", "page": "3", "fold": "no"})
    assert wanted == WantedEvents("room", 2, fold=False, at=3)
    assert wanted.query == {"kind": "room", "person": "2", "fold": "no"}
