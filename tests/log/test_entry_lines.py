"""A frequent entry reads the same by the short way as by the chain of processors."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.session.timeline_entry import ENTRY_KEYS, TimelineEntry
from bridge.log import entry_lines
from bridge.log.entry_lines import FREQUENT, EntryLines
from bridge.log.structured_log import processors_for

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6e30.c2lnbmF0dXJl"
SECRETS = ("a-long-secret-word", 'quo"ted\\secret', "secret", "p4")
NOW = 1_700_000_000.25
ROOM = {"room": "standup", "room_sid": "RM_1", "job_id": "AJ_1"}


@frozen
class LogSettings:
    log_format: str = "json"
    log_level: str = "info"
    log_payloads: bool = False
    secrets: tuple[str, ...] = SECRETS


ORDINARY: dict[str, dict[str, Any]] = {
    "data_message": {
        "identity": "alice",
        "topic": "chat, all",
        "size": 7,
        "format": "json",
        "reliable": True,
        "stream": None,
        "content": None,
    },
    "participant_attributes": {"identity": "alice", "changed": {"hand": "up", "raised_at": "9"}},
    "participant_metadata": {"identity": "alice", "metadata": '{ "team":"a" }'},
    "quality_changed": {"identity": "alice", "sid": "PA_1", "quality": "poor"},
    "track_muted": {"identity": "alice", "sid": "TR_1"},
    "track_unmuted": {"identity": "alice", "sid": "TR_1"},
}

PIECES = st.sampled_from(
    (
        *SECRETS, TOKEN, TOKEN[:3], "\x7f", "\x1b[2J", "\n", "\ud800", "\u202e", "é", "李", '"',
        "\\", "\\u0065yJhbGciOi", "=", ",", "{", "}", '{"a_at": 5}', " ", "x" * 300, "y" * 5_000,
    )
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.one_of(PIECES, st.text("abcxyz -_.", max_size=8)), max_size=4).map("".join),
    st.sampled_from(("alice", "", "TR_1")),
)
SCALARS = st.one_of(
    TEXTS, TEXTS, TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=3)
)
OBJECTS = st.dictionaries(st.one_of(TEXTS, st.sampled_from(("left_at", "token"))), SCALARS)


@st.composite
def entries(draw: st.DrawFn) -> TimelineEntry:
    event = draw(st.sampled_from(sorted(FREQUENT)))
    data: dict[str, Any] = {}
    for key in ENTRY_KEYS[event]:
        usual = ORDINARY[event].get(key)
        kind = {dict: OBJECTS, str: TEXTS, int: st.integers(0, 10**6)}.get(type(usual), SCALARS)
        data[key] = draw(st.one_of(st.just(usual), kind, SCALARS))
    return TimelineEntry(draw(st.one_of(st.just(NOW), st.floats(0, 1e18))), event, data)


def both_ways(
    log_settings: LogSettings, entry: TimelineEntry, about: dict[str, Any]
) -> list[str | None]:
    """The line by the short way, None where it is not taken, and by the chain."""
    lines = EntryLines(
        as_text=log_settings.log_format == "text",
        payloads=log_settings.log_payloads,
        secrets=log_settings.secrets,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: NOW)
        short = lines.line(entry, about)
        line: Any = {**entry.data, **about, "at": entry.at, "event": entry.event, "level": "info"}
        for process in processors_for(log_settings):
            line = process(None, "info", line)
    return [None if short is None else short.decode(), line.encode(errors="replace").decode()]


@pytest.mark.parametrize("log_format", ["text", "json"])
@settings(max_examples=400, deadline=None)
@given(entry=entries(), room=TEXTS, payloads=st.booleans())
@example(
    TimelineEntry(NOW, "participant_metadata", {"identity": "a", "metadata": TOKEN}),
    "standup",
    False,
)
@example(
    TimelineEntry(NOW, "track_muted", {"identity": 'quo"ted\\secret', "sid": "TR_1"}),
    "standup",
    False,
)
@example(TimelineEntry(NOW, "track_muted", {"identity": "a\x7f", "sid": "TR_1"}), "standup", False)
@example(
    TimelineEntry(NOW, "track_muted", {"identity": "alice", "sid": "TR_1"}),
    "the secret room",
    False,
)
@example(
    TimelineEntry(NOW, "participant_attributes", {"identity": "a", "changed": {"left_at": 5}}),
    "x",
    False,
)
@example(
    TimelineEntry(NOW, "data_message", {**ORDINARY["data_message"], "content": "hello"}),
    "standup",
    True,
)
def test_both_ways_give_the_same_line(
    log_format: str, entry: TimelineEntry, room: str, payloads: bool
) -> None:
    chosen = LogSettings(log_format=log_format, log_payloads=payloads)
    short, chain = both_ways(chosen, entry, {**ROOM, "room": room})
    assert short is None or short == chain


@pytest.mark.parametrize("job_id", ["AJ_1", None])
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("event", sorted(FREQUENT))
def test_an_ordinary_entry_takes_the_short_way(
    event: str, log_format: str, job_id: str | None
) -> None:
    entry = TimelineEntry(NOW, event, ORDINARY[event])
    short, chain = both_ways(LogSettings(log_format=log_format), entry, {**ROOM, "job_id": job_id})
    assert short == chain
    assert short is not None
    if log_format == "text":
        assert short.endswith(" room=standup")


def test_every_frequent_entry_has_an_ordinary_one_here_and_no_key_of_a_time() -> None:
    assert FREQUENT == ORDINARY.keys() <= ENTRY_KEYS.keys()
    assert not [key for event in FREQUENT for key in ENTRY_KEYS[event] if key.endswith("_at")]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_other_entries_take_the_chain(log_format: str) -> None:
    lines = EntryLines(as_text=log_format == "text", payloads=False, secrets=())
    assert lines.line(TimelineEntry(NOW, "reconnecting"), ROOM) is None


def test_a_line_of_the_longest_length_cuts_no_string(monkeypatch: pytest.MonkeyPatch) -> None:
    """A looser bound would let the short way show a string that the chain cuts."""
    entry = TimelineEntry(NOW, "participant_metadata", {"identity": "a", "metadata": "x" * 5_000})
    short, _ = both_ways(LogSettings(), entry, ROOM)
    assert short is None
    monkeypatch.setattr(entry_lines, "JSON_LONGEST", 10_000)
    short, chain = both_ways(LogSettings(), entry, ROOM)
    assert short != chain
