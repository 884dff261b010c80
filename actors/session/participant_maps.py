"""Where a session has its participants: find one, put one back, archive one who left.

`SessionState.present` has everybody who is in the room, `SessionState.past` everybody who left.
Somebody who came back is in both; `present` is right then.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from actors.session.bounds import MAX_PAST_PARTICIPANTS, MAX_PAST_TEXT
from actors.session.changes import change
from actors.session.intervals import add
from actors.session.participant import Join, Participant
from actors.session.people_counts import recounted, with_key
from actors.session.room_info import ParticipantInfo
from actors.session.state import SessionState
from actors.session.texts import MAX_ENTRY_TEXT, cut_text
from actors.session.timeline_entry import EntryList


@frozen
class KnownJoin:
    """A join that the session has, and its participant."""

    person: Participant
    index: int

    @property
    def join(self) -> Join:
        return self.person.joins[self.index]


def find_participant(state: SessionState, identity: str) -> Participant | None:
    """Present or past."""
    return state.present.get(identity) or state.past.get(identity)


def find_join(person: Participant, sid: str) -> int | None:
    """Index of the join with this SID, None if there is none.  The empty SID is nobody's."""
    if sid:
        for index in range(len(person.joins) - 1, -1, -1):
            if person.joins[index].sid == sid:
                return index
    return None


def find_known_join(state: SessionState, identity: str, sid: str) -> KnownJoin | None:
    person = find_participant(state, identity)
    index = None if person is None else find_join(person, sid)
    return None if person is None or index is None else KnownJoin(person, index)


def new_participant(state: SessionState, info: ParticipantInfo) -> tuple[SessionState, Participant]:
    """A participant of an unknown identity, with the messages that came before them."""
    identity = info.identity
    messages = state.unannounced_senders.get(identity, 0)
    if messages:
        others = {name: n for name, n in state.unannounced_senders.items() if name != identity}
        state = change(state, unannounced_senders=others)
    person = Participant(
        state.next_number,
        identity,
        info.kind,
        info.name,
        info.metadata,
        info.attributes,
        data_messages=messages,
    )
    return change(state, next_number=state.next_number + 1), with_key(state, person)


def put_present(state: SessionState, person: Participant) -> SessionState:
    return change(state, present={**state.present, person.identity: person})


def replace_participant(state: SessionState, person: Participant) -> SessionState:
    """Put another version of a known participant where they are, present or past."""
    if person.identity in state.present:
        return put_present(state, person)
    return change(state, past=state.past.put(person.identity, person))


def update_key(state: SessionState, identity: str) -> SessionState:
    """Metadata or attributes of somebody present changed: they may say which person it is."""
    was = state.present.get(identity)
    if was is None:
        return state
    person = with_key(state, was)
    return state if person is was else put_present(recounted(state, was, person), person)


def move_to_past(state: SessionState, person: Participant) -> SessionState:
    """Put somebody who left to the past, within `MAX_PAST_PARTICIPANTS` and `MAX_PAST_TEXT`."""
    past, truncated = state.past, state.truncated
    before = past.get(person.identity)
    if before is None and len(past) >= MAX_PAST_PARTICIPANTS:
        truncated = change(truncated, people=truncated.people + 1)
        if person.counted:
            talk = truncated.talk
            if person.audible:
                talk = (talk or 0.0) + person.talk.seconds
            truncated = change(
                truncated,
                seconds=truncated.seconds + person.seconds(0.0),
                quality=add(truncated.quality, person.quality.totals(0.0)),
                talk=talk,
            )
        return change(state, truncated=truncated)
    room_for_text = MAX_PAST_TEXT - state.past_text_size + (text_size(before) if before else 0)
    size = text_size(person)
    if size > room_for_text:
        person, size = change(person, metadata=None, attributes=None), 0
        truncated = change(truncated, texts=truncated.texts + 1)
    return change(
        state,
        past=past.put(person.identity, person),
        past_text_size=MAX_PAST_TEXT - room_for_text + size,
        truncated=truncated,
    )


def text_size(person: Participant) -> int:
    """Characters of metadata and attributes."""
    attributes = person.attributes or {}
    return len(person.metadata or "") + sum(
        len(key) + len(value) for key, value in attributes.items()
    )


def join_data(person: Participant, join: Join) -> dict[str, Any]:
    """Data of the entry of a join."""
    return {
        "identity": person.identity,
        "sid": join.sid,
        "kind": join.kind or person.kind,
        "name": person.name,
        "joined_at": join.joined_at,
    }


def add_metadata_entry(at: float, identity: str, metadata: str, entries: EntryList) -> None:
    text = cut_text(metadata, MAX_ENTRY_TEXT)
    entries.add(at, "participant_metadata", identity=identity, metadata=text)
