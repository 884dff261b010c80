"""Records are read as they were written, and nothing else is read."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.session import (
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    Record,
    RoomEvent,
    RoomInstanceChanged,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    SessionState,
    TimelineEntry,
    apply,
    fold,
    session_view,
)
from actors.session.codec import (
    TAGS,
    Unreadable,
    decode_entries,
    decode_record,
    decode_state,
    encode_entries,
    encode_record,
    encode_state,
)
from actors.session.stored_names import VERSION_1_TAGS
from tests.session.session_story import T0, Story, microphone, person
from tests.session.strategies import any_event, quick, texts, times
from tests.session.test_properties import folded, started

HOSTILE: Final = "'; DROP TABLE x --\x00\x1b[31m\u202e\U0001f600\u2028<script>\ufffe\r\n\t\\"

names = st.one_of(texts, st.just(HOSTILE), st.text(st.characters(codec="utf-8")))
any_record: st.SearchStrategy[Record] = st.one_of(
    any_event,
    st.builds(
        SessionBegan,
        times,
        names,
        names,
        st.lists(names, max_size=2).map(tuple),
        names,
        names,
        st.one_of(st.none(), times),
    ),
    st.builds(SessionContinued, times, st.one_of(st.none(), names), st.one_of(st.none(), names)),
    st.builds(SessionEnded, times, names),
    st.builds(DataReceived, times, st.one_of(st.none(), names), names, st.just(1), st.just("json")),
    st.builds(
        ParticipantJoined,
        times,
        st.builds(
            ParticipantInfo,
            names,
            names,
            times,
            st.just("sip"),
            names,
            names,
            st.dictionaries(names, names, max_size=2),
        ),
    ),
)


@quick
@given(any_record)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    kind, body = encode_record(record)
    assert decode_record(kind, body) == record


@quick
@given(st.booleans(), st.lists(any_event, max_size=30), st.lists(any_event, max_size=10))
def test_a_state_is_read_as_it_was_written_and_folds_on_as_it_would_have(
    watching: bool, events: list[RoomEvent], more: list[RoomEvent]
) -> None:
    state = started() if watching else fold(None, SessionBegan(T0, "r", "", (), "w", "a", None))[0]
    timeline: list[TimelineEntry] = []
    for event in events:
        state, entries = apply(state, event)
        timeline.extend(entries)
    read = decode_state(encode_state(state))
    assert read == state
    assert session_view(read, T0) == session_view(state, T0)
    assert folded(read, more) == folded(state, more)
    assert decode_entries(encode_entries(timeline)) == tuple(timeline)


def test_a_state_with_everything_in_it_is_read_as_it_was_written() -> None:
    state = full()
    assert state.deferred
    assert state.provisional_leaves["bob"].due == float("inf")
    assert len(state.past)
    read = decode_state(encode_state(state))
    assert read == state
    assert type(read) is SessionState


def full() -> SessionState:
    """People who stayed, left and are in doubt, and events that wait for a reconnect."""
    story = Story(person("alice", "PA_1", 0.0, microphone("TR_1")), created=None)
    story.joined(1, person("bob", "PA_2", 1.0, name=HOSTILE, attributes={HOSTILE: HOSTILE}))
    story.joined(2, person("carol", "PA_3", 2.0))
    story.quality(3, "alice", "PA_1", "good")
    story.speaking(4, "alice")
    story.data(5, "bob", HOSTILE)
    story.data(5, None)
    story.left(6, "carol", "PA_3")
    story.left(7, "bob", "PA_2", None)
    story.reconnecting(8)
    story.joined(9, person("dave", "PA_4", 9.0))
    return story.state


@quick
@given(st.data())
def test_torn_bytes_are_unreadable_and_never_anything_else(data: st.DataObject) -> None:
    """Cut off anywhere, and with any byte changed: read as something, or `Unreadable`."""
    kind, body = encode_record(data.draw(any_record))
    for read, whole in (
        (lambda torn: decode_record(kind, torn), body),
        (decode_state, encode_state(full())),
        (
            decode_entries,
            encode_entries([TimelineEntry(T0, "speakers_changed", {"identities": ("a",)})]),
        ),
    ):
        cut = data.draw(st.integers(0, len(whole) - 1))
        with pytest.raises(Unreadable):
            read(whole[:cut])
        with pytest.raises(Unreadable):
            read(whole + b"\x00")
        with suppress(Unreadable):
            read(whole[:cut] + bytes([data.draw(st.integers(0, 255))]) + whole[cut + 1 :])


@quick
@given(st.sampled_from(["Tick", "Watching", "Began"]), st.binary())
@example("Tick", b"\x91" * 100_000)
@example("Tick", b"\x81\xa1x" * 100_000)
def test_any_bytes_at_all_are_a_record_or_unreadable(kind: str, body: bytes) -> None:
    for read in (lambda: decode_record(kind, body), lambda: decode_state(body)):
        with suppress(Unreadable):
            read()


def test_a_kind_that_nobody_knows_is_unreadable_and_named() -> None:
    with pytest.raises(Unreadable, match="Teleported"):
        decode_record("Teleported", b"\x80")


def test_what_is_unreadable_is_not_shown() -> None:
    with pytest.raises(Unreadable) as caught:
        decode_record("tick", msgspec.msgpack.encode({"at": "a secret"}))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_body_older_than_a_field_has_the_fields_default() -> None:
    old = msgspec.msgpack.encode(
        {"at": T0, "identity": "a", "topic": "", "size": 1, "format": "json"}
    )
    read = decode_record("data_received", old)
    assert read == DataReceived(T0, "a", "", 1, "json", reliable=True, stream=False, content=None)


def test_a_state_older_than_its_newest_fields_has_their_defaults() -> None:
    version, stored = msgspec.msgpack.decode(encode_state(full()))
    for newer in ("anomalies", "truncated", "unannounced_senders", "roster_complete_at"):
        del stored[newer]
    del stored["present"]["bob"]["pending_leave_since"]
    read = decode_state(msgspec.msgpack.encode((version, stored)))
    assert (read.anomalies, read.unannounced_senders, read.roster_complete_at) == (
        0,
        {},
        float("-inf"),
    )
    assert read.present["bob"].pending_leave_since is None


def test_a_field_that_is_gone_is_passed_over() -> None:
    assert decode_record("tick", msgspec.msgpack.encode({"at": T0, "mood": "good"})).at == T0


STORED: Final = {
    "Attached": "session_continued",
    "AttachmentReceived": "attachment_received",
    "AttributesChanged": "attributes_changed",
    "Began": "session_began",
    "ClockCompared": "clock_compared",
    "DataReceived": "data_received",
    "DataTrackPublished": "data_track_published",
    "DataTrackUnpublished": "data_track_unpublished",
    "Disconnected": "disconnected",
    "EgressTold": "webhook_egress",
    "Ended": "session_ended",
    "JoinAborted": "webhook_join_aborted",
    "JoinTold": "webhook_participant_joined",
    "LeaveTold": "webhook_participant_left",
    "MessagesThinned": "messages_dropped",
    "MetadataChanged": "metadata_changed",
    "NameChanged": "name_changed",
    "ParticipantActive": "participant_active",
    "ParticipantJoined": "participant_joined",
    "ParticipantLeft": "participant_left",
    "PermissionsChanged": "permissions_changed",
    "QualityChanged": "quality_changed",
    "Reconnected": "reconnected",
    "Reconnecting": "reconnecting",
    "RecorderFound": "recorder_detected",
    "RecordingChanged": "recording_changed",
    "Resynced": "resynced",
    "RoomEndTold": "webhook_room_finished",
    "RoomMetadataChanged": "room_metadata_changed",
    "RoomTold": "webhook_room_started",
    "SpeakersChanged": "speakers_changed",
    "Suspended": "suspended",
    "Tick": "tick",
    "TrackMuted": "track_muted",
    "TrackPublished": "track_published",
    "TrackSubscribed": "track_subscribed",
    "TrackSubscriptionFailed": "track_subscription_failed",
    "TrackTold": "webhook_track",
    "TrackUnmuted": "track_unmuted",
    "TrackUnpublished": "track_unpublished",
    "Watching": "watching",
}
"""The tag of each kind by what the first version stored: the name that its class had then."""


def test_the_tags_of_the_kinds_are_those_that_stores_have() -> None:
    """A class may be renamed.  A tag never is; a new kind gets a line in `TAGS` only."""
    assert dict(VERSION_1_TAGS) == STORED
    assert set(TAGS.values()) == set(get_args(Record))
    assert set(STORED.values()) <= set(TAGS)


@quick
@given(any_record.filter(lambda record: encode_record(record)[0] in STORED.values()))
def test_a_record_of_the_first_version_is_read_by_the_name_that_its_class_had(
    record: Record,
) -> None:
    tag, body = encode_record(record)
    name = next(name for name, of in STORED.items() if of == tag)
    assert decode_record(name, body) == record


# -- the fold of a journal


def test_a_journal_folds_to_the_session_that_was() -> None:
    began = SessionBegan(T0, "room", "RM_1", ("AJ_1",), "worker", "agent", T0)
    story = Story(created=0.0)
    state, _ = fold(None, began)
    assert (state.room, state.job_ids, state.created_at) == ("room", ("AJ_1",), T0)
    for record in (
        SessionContinued(T0 + 1, "AJ_2", "other"),
        SessionEnded(T0 + 2, "worker_stopped"),
        SessionContinued(T0 + 3, None, None),
    ):
        state, _ = fold(state, record)
    assert (state.job_ids, state.worker, state.ended) == (("AJ_1", "AJ_2"), "other", False)
    assert story.state.job_ids == ("AJ_1",)


def test_what_is_no_journal_is_refused() -> None:
    began = SessionBegan(T0, "room", "RM_1", (), "worker", "agent", None)
    with pytest.raises(ValueError, match="begins with SessionBegan"):
        fold(None, SessionEnded(T0, "removed"))
    with pytest.raises(ValueError, match="began already"):
        fold(fold(None, began)[0], began)


def test_another_life_of_the_room_is_told_by_the_journal_too() -> None:
    story = Story()
    before = story.state
    with pytest.raises(RoomInstanceChanged):
        story.reconnected(5, sid="RM_2")
    assert story.state is before
