"""One person taken out of states, records and entries."""

from __future__ import annotations

import pytest

from actors.session import Record, SessionState, TimelineEntry, fold
from actors.session.changes import change
from actors.session.codec import encode_entries, encode_record, encode_state
from actors.session.erasure import Erasure
from actors.session.record import SessionBegan
from actors.session.view import session_row
from tests.session.every_record import RECORDS

PSEUDONYM = "erased-1"


def erasure(*names: str) -> Erasure:
    return Erasure(dict.fromkeys(names, PSEUDONYM))


def folded(records: tuple[Record, ...]) -> tuple[SessionState, list[TimelineEntry]]:
    state, entries = None, list[TimelineEntry]()
    for record in records:
        if state is None:
            assert isinstance(record, SessionBegan)
        state, new = fold(state, record)
        entries += new
    assert state is not None
    return state, entries


@pytest.mark.parametrize("who, key", [("alice", "a"), ("bob", "b"), ("erin", "-"), ("dave", "-")])
def test_a_journal_without_somebody_folds_to_the_state_without_them(who: str, key: str) -> None:
    erase = erasure(who, key)
    state, entries = folded(RECORDS)
    records = tuple(map(erase.record, RECORDS))
    without, entries_without = folded(records)
    # A change of a name to the same name is none.
    assert change(without, anomalies=0) == change(erase.state(state), anomalies=0)
    changes = ("participant_name", "participant_metadata", "participant_attributes")
    of_others = [one for one in entries if one.event not in changes]
    assert [one for one in entries_without if one.event not in changes] == list(
        map(erase.entry, of_others)
    )


def test_nothing_is_left_of_what_they_said_of_themselves() -> None:
    erase = erasure("alice", "a")
    state, entries = folded(RECORDS)
    stored = [encode_state(erase.state(state))]
    stored += [encode_record(erase.record(record))[1] for record in RECORDS]
    stored.append(encode_entries(map(erase.entry, entries)))
    for text in (b"alice", b"Alice", b"busy", b"lidar", b"user\xa1a"):
        assert not [body for body in stored if text in body], text
    assert any(b"hello" in body for body in stored)  # Bob said it too.


def test_counts_and_times_stay() -> None:
    state, _ = folded(RECORDS)
    before, after = session_row(state, state.last_at), None
    after = session_row(erasure("alice", "a").state(state), state.last_at)
    assert after.people == before.people
    assert (after.people_seconds, after.track_counts) == (
        before.people_seconds,
        before.track_counts,
    )
    assert (after.data_messages, after.quality) == (before.data_messages, before.quality)
    assert after.talk.seconds == before.talk.seconds
    assert set(after.talk.by_identity) == set(before.talk.by_identity) - {"alice"} | {PSEUDONYM}


def test_an_identity_is_replaced_in_texts_of_others_where_it_is_a_word() -> None:
    erase = erasure("alice", "@al:example.org", "x")
    assert erase.text("alice left, malice and alice2 did not: alice.") == (
        f"{PSEUDONYM} left, malice and alice2 did not: {PSEUDONYM}."
    )
    assert erase.text("ask @al:example.org") == f"ask {PSEUDONYM}"
    assert (erase.text("x"), erase.text("x marks it")) == (PSEUDONYM, "x marks it")


def test_names_of_fields_are_no_identities() -> None:
    """Somebody may call themselves like a key of ours."""
    entry = TimelineEntry(1.0, "participant_name", {"identity": "name", "name": "N"})
    after = erasure("name", "identity").entry(entry)
    assert after.data == {"identity": PSEUDONYM, "name": ""}


def test_the_text_of_an_alert_on_them_goes_and_one_on_others_stays() -> None:
    erase = erasure("alice")
    mine = {"rule": "r", "on": "alice", "text": "Alice is alone"}
    assert erase.tree(mine) == {"rule": "r", "on": PSEUDONYM, "text": ""}
    other = {"rule": "r", "on": "bob", "text": "bob waits for alice"}
    assert erase.tree(other) == {"rule": "r", "on": "bob", "text": f"bob waits for {PSEUDONYM}"}


def test_a_summary_is_without_them_too() -> None:
    summary = {
        "participants": [
            {"identity": "alice", "name": "A", "metadata": "m", "attributes": {"k": "v"}},
            {"identity": "bob", "name": "B", "metadata": "m", "attributes": {"k": "v"}},
        ],
        "talk": {"seconds": 1.0, "by_identity": {"alice": 1.0}},
    }
    assert erasure("alice").tree(summary) == {
        "participants": [
            {"identity": PSEUDONYM, "name": "", "metadata": "", "attributes": {}},
            {"identity": "bob", "name": "B", "metadata": "m", "attributes": {"k": "v"}},
        ],
        "talk": {"seconds": 1.0, "by_identity": {PSEUDONYM: 1.0}},
    }
