"""Names, metadata, messages, speaking and quality of the participants, and the room's metadata.

Functions take a state and an event and return the next state.  They add entries to `entries`.  An
event about somebody who is not in the room is counted as an anomaly; a message always counts.
"""

from __future__ import annotations

from typing import Any

from actors.session.bounds import (
    MAX_DEFERRED,
    MAX_TOPIC_LENGTH,
    MAX_TOPICS,
    MAX_UNANNOUNCED_SENDERS,
    OTHER,
)
from actors.session.changes import change
from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    DataReceived,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    PermissionsChanged,
    QualityChanged,
    RoomMetadataChanged,
    SpeakersChanged,
)
from actors.session.participant import Participant
from actors.session.pending import anomaly, defer
from actors.session.room_info import Permissions
from actors.session.state import SessionState
from actors.session.texts import MAX_ENTRY_TEXT, cut_attributes, cut_text
from actors.session.timeline_entry import EntryList


def on_name(state: SessionState, event: NameChanged, entries: EntryList) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.name == event.name:
        return anomaly(state)
    entries.add(event.at, "participant_name", identity=event.identity, name=event.name)
    return _put(state, change(person, name=event.name))


def take_metadata(state: SessionState, event: MetadataChanged, entries: EntryList) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.metadata == event.metadata:
        return anomaly(state)
    entries.add(
        event.at,
        "participant_metadata",
        identity=event.identity,
        metadata=cut_text(event.metadata, MAX_ENTRY_TEXT),
    )
    return _put(state, change(person, metadata=event.metadata))


def take_attributes(
    state: SessionState, event: AttributesChanged, entries: EntryList
) -> SessionState:
    person = state.present.get(event.identity)
    if person is None:
        return anomaly(state)
    before = person.attributes or {}
    changed = {key: value for key, value in event.changed.items() if before.get(key, "") != value}
    if not changed:
        return anomaly(state)
    entries.add(
        event.at,
        "participant_attributes",
        identity=event.identity,
        changed=cut_attributes(changed, MAX_ENTRY_TEXT),
    )
    attributes = {key: value for key, value in {**before, **changed}.items() if value}
    return _put(state, change(person, attributes=cut_attributes(attributes)))


def on_permissions(
    state: SessionState, event: PermissionsChanged, entries: EntryList
) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.permissions == event.permissions:
        return anomaly(state)
    data = permissions_data(event.identity, event.permissions)
    entries.add(event.at, "participant_permissions", **data)
    return _put(state, change(person, permissions=event.permissions))


def permissions_data(identity: str, permissions: Permissions) -> dict[str, Any]:
    """Data of the entry ``participant_permissions``."""
    return {
        "identity": identity,
        "can_publish": permissions.can_publish,
        "can_subscribe": permissions.can_subscribe,
        "can_publish_data": permissions.can_publish_data,
        "sources": permissions.sources,
    }


def on_room_metadata(
    state: SessionState, event: RoomMetadataChanged, entries: EntryList
) -> SessionState:
    if state.reconnecting:
        return defer(state, event)
    if event.metadata == state.metadata:
        return anomaly(state)
    entries.add(event.at, "room_metadata", metadata=cut_text(event.metadata, MAX_ENTRY_TEXT))
    return change(state, metadata=event.metadata)


def on_data(state: SessionState, event: DataReceived, entries: EntryList) -> SessionState:
    if state.reconnecting and len(state.deferred) < MAX_DEFERRED // 2:
        return defer(state, event)  # the other half is for events that matter more than a flood
    return count_data(state, event, entries)


def on_attachment(
    state: SessionState, event: AttachmentReceived, entries: EntryList
) -> SessionState:
    if state.reconnecting and len(state.deferred) < MAX_DEFERRED // 2:
        return defer(state, event)
    return count_attachment(state, event, entries)


def count_attachment(
    state: SessionState, event: AttachmentReceived, entries: EntryList
) -> SessionState:
    entries.add(event.at, "attachment", identity=event.identity, topic=event.topic, size=event.size)
    return change(
        state, messages=change(state.messages, attachments=state.messages.attachments + 1)
    )


def count_data(state: SessionState, event: DataReceived, entries: EntryList) -> SessionState:
    identity, data = event.identity, state.messages
    topic = event.topic[:MAX_TOPIC_LENGTH]
    if topic not in data.by_topic and len(data.by_topic) >= MAX_TOPICS:
        topic = OTHER
        state = _truncate_message(state)
    data = change(
        data,
        total=data.total + 1,
        bytes=data.bytes + event.size,
        unattributed=data.unattributed + (identity is None),
        by_topic={**data.by_topic, topic: data.by_topic.get(topic, 0) + 1},
    )
    entries.add(
        event.at,
        "data_message",
        identity=identity,
        topic=event.topic[:MAX_TOPIC_LENGTH],
        size=event.size,
        format=event.format,
        reliable=event.reliable,
        stream=event.stream,
        content=event.content,
    )
    state = change(state, messages=data)
    return state if identity is None else _count_for_sender(state, identity)


def on_messages_dropped(
    state: SessionState, event: MessagesDropped, entries: EntryList
) -> SessionState:
    data, count, truncated = state.messages, event.messages, state.truncated
    if count:
        entries.add(event.at, "messages_thinned", count=count)
        data = change(
            data,
            total=data.total + count,
            bytes=data.bytes + event.bytes,
            unattributed=data.unattributed + count,
            by_topic={**data.by_topic, OTHER: data.by_topic.get(OTHER, 0) + count},
        )
    if event.attachments:
        entries.add(event.at, "attachments_thinned", count=event.attachments)
        data = change(data, attachments=data.attachments + event.attachments)
    if event.changes:
        entries.add(event.at, "changes_overtaken", count=event.changes)
    truncated = change(
        truncated,
        messages=truncated.messages + count,
        changes=truncated.changes + event.changes,
        dropped=truncated.dropped + count + event.changes,
    )
    return change(state, messages=data, truncated=truncated)


def on_quality(state: SessionState, event: QualityChanged, entries: EntryList) -> SessionState:
    identity = event.identity
    person = state.present.get(identity)
    if person is None or identity in state.provisional_leaves:
        return anomaly(state)
    sid = person.joins[-1].sid
    if event.sid and sid and event.sid != sid:
        return anomaly(state)
    if event.quality == person.quality.level:
        return state  # The server repeats the quality of everybody when one changes.
    entries.add(event.at, "quality_changed", identity=identity, sid=sid, quality=event.quality)
    return _put(state, change(person, quality=person.quality.to(event.quality, event.at)))


def on_speakers(state: SessionState, event: SpeakersChanged, entries: EntryList) -> SessionState:
    present, leaving = state.present, state.provisional_leaves
    speaking = frozenset(
        identity for identity in event.identities if identity in present and identity not in leaving
    )
    if speaking == state.speaking:
        return state
    people, at = dict(present), event.at
    new, silent, go_on = speaking - state.speaking, state.speaking - speaking, ()
    if len(speaking) > len(new):
        go_on = [one for one in speaking if one not in new and present[one].takes_part]
    for identity in new:
        person = people[identity]
        people[identity] = person.talks(at, others_talk=bool(go_on) and person.takes_part)
    for identity in silent:
        people[identity] = people[identity].stops_talking(at)
    if silent and len(go_on) == 1 and not any(people[one].takes_part for one in new):
        people[go_on[0]] = people[go_on[0]].talks_alone(at)
    entries.add(
        event.at,
        "speakers_changed",
        identities=tuple(dict.fromkeys(i for i in event.identities if i in speaking)),
    )
    return change(state, present=people, speaking=speaking)


def clear_speakers(state: SessionState, at: float) -> SessionState:
    """Clear the speakers: they are not known any more."""
    if not state.speaking:
        return state
    people = dict(state.present)
    for identity in state.speaking:
        people[identity] = people[identity].stops_talking(at)
    return change(state, present=people, speaking=frozenset())


def clear_quality(state: SessionState, at: float) -> SessionState:
    """Nobody's quality is known from `at` on."""
    people = {
        identity: change(person, quality=person.quality.to(None, at))
        for identity, person in state.present.items()
    }
    return change(state, present=people)


def pause_quality(state: SessionState, since: float, until: float) -> SessionState:
    """Nobody's quality is known in between.  After it the last known quality continues."""
    people = {
        identity: change(
            person, quality=person.quality.to(None, since).to(person.quality.level, until)
        )
        for identity, person in state.present.items()
    }
    return change(state, present=people)


def _count_for_sender(state: SessionState, identity: str) -> SessionState:
    """Count a message for its sender: present, past, or not announced yet."""
    person = state.present.get(identity)
    if person is not None:
        return _put(state, change(person, data_messages=person.data_messages + 1))
    past = state.past.get(identity)
    if past is not None:
        past = change(past, data_messages=past.data_messages + 1)
        return change(state, past=state.past.put(identity, past))
    unannounced = state.unannounced_senders
    if identity not in unannounced and len(unannounced) >= MAX_UNANNOUNCED_SENDERS:
        return _truncate_message(state)
    return change(
        state, unannounced_senders={**unannounced, identity: unannounced.get(identity, 0) + 1}
    )


def _truncate_message(state: SessionState) -> SessionState:
    truncated = state.truncated
    return change(state, truncated=change(truncated, messages=truncated.messages + 1))


def _put(state: SessionState, person: Participant) -> SessionState:
    return change(state, present={**state.present, person.identity: person})
