"""What people do and how they fare: names, data, speaking, quality, the room's metadata.

Functions take a state and an event and give the next state; what is to be told goes
to `out`.  What is said of somebody who is not in the room is counted as an anomaly,
except messages: those count always.
"""

from __future__ import annotations

from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    DataReceived,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    Permissions,
    PermissionsChanged,
    QualityChanged,
    RoomMetadataChanged,
    SpeakersChanged,
)
from actors.session.pending import anomaly, defer
from actors.session.state import (
    MAX_DEFERRED,
    MAX_TOPIC_LENGTH,
    MAX_TOPICS,
    MAX_UNANNOUNCED_SENDERS,
    OTHER,
    Participant,
    SessionState,
    change,
)
from actors.session.texts import MAX_ENTRY_TEXT, cut_attributes, cut_text
from actors.session.timeline_entry import TimelineEntry


def on_name(state: SessionState, event: NameChanged, out: list[TimelineEntry]) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.name == event.name:
        return anomaly(state)
    told = {"identity": event.identity, "name": event.name}
    out.append(TimelineEntry(event.at, "participant_name", told))
    return _put(state, change(person, name=event.name))


def take_metadata(
    state: SessionState, event: MetadataChanged, out: list[TimelineEntry]
) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.metadata == event.metadata:
        return anomaly(state)
    told = {"identity": event.identity, "metadata": cut_text(event.metadata, MAX_ENTRY_TEXT)}
    out.append(TimelineEntry(event.at, "participant_metadata", told))
    return _put(state, change(person, metadata=event.metadata))


def take_attributes(
    state: SessionState, event: AttributesChanged, out: list[TimelineEntry]
) -> SessionState:
    person = state.present.get(event.identity)
    if person is None:
        return anomaly(state)
    before = person.attributes or {}
    changed = {key: value for key, value in event.changed.items() if before.get(key, "") != value}
    if not changed:
        return anomaly(state)
    told = {"identity": event.identity, "changed": cut_attributes(changed, MAX_ENTRY_TEXT)}
    out.append(TimelineEntry(event.at, "participant_attributes", told))
    attributes = {key: value for key, value in {**before, **changed}.items() if value}
    return _put(state, change(person, attributes=cut_attributes(attributes)))


def on_permissions(
    state: SessionState, event: PermissionsChanged, out: list[TimelineEntry]
) -> SessionState:
    person = state.present.get(event.identity)
    if person is None or person.permissions == event.permissions:
        return anomaly(state)
    out.append(permissions_entry(event.at, event.identity, event.permissions))
    return _put(state, change(person, permissions=event.permissions))


def permissions_entry(at: float, identity: str, permissions: Permissions) -> TimelineEntry:
    told = {
        "identity": identity,
        "can_publish": permissions.can_publish,
        "can_subscribe": permissions.can_subscribe,
        "can_publish_data": permissions.can_publish_data,
        "sources": permissions.sources,
    }
    return TimelineEntry(at, "participant_permissions", told)


def on_room_metadata(
    state: SessionState, event: RoomMetadataChanged, out: list[TimelineEntry]
) -> SessionState:
    if state.reconnecting:
        return defer(state, event)
    if event.metadata == state.metadata:
        return anomaly(state)
    out.append(
        TimelineEntry(
            event.at, "room_metadata", {"metadata": cut_text(event.metadata, MAX_ENTRY_TEXT)}
        )
    )
    return change(state, metadata=event.metadata)


def on_data(state: SessionState, event: DataReceived, out: list[TimelineEntry]) -> SessionState:
    if state.reconnecting and len(state.deferred) < MAX_DEFERRED // 2:
        return defer(state, event)  # others that wait are more worth their place than a flood
    return count_data(state, event, out)


def on_attachment(
    state: SessionState, event: AttachmentReceived, out: list[TimelineEntry]
) -> SessionState:
    if state.reconnecting and len(state.deferred) < MAX_DEFERRED // 2:
        return defer(state, event)
    return count_attachment(state, event, out)


def count_attachment(
    state: SessionState, event: AttachmentReceived, out: list[TimelineEntry]
) -> SessionState:
    told = {"identity": event.identity, "topic": event.topic, "size": event.size}
    out.append(TimelineEntry(event.at, "attachment", told))
    return change(
        state, messages=change(state.messages, attachments=state.messages.attachments + 1)
    )


def count_data(state: SessionState, event: DataReceived, out: list[TimelineEntry]) -> SessionState:
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
    told = {
        "identity": identity,
        "topic": event.topic[:MAX_TOPIC_LENGTH],
        "size": event.size,
        "format": event.format,
        "reliable": event.reliable,
        "stream": event.stream,
        "content": event.content,
    }
    out.append(TimelineEntry(event.at, "data_message", told))
    state = change(state, messages=data)
    return state if identity is None else _count_for_sender(state, identity)


def on_messages_dropped(
    state: SessionState, event: MessagesDropped, out: list[TimelineEntry]
) -> SessionState:
    data, count, truncated = state.messages, event.messages, state.truncated
    if count:
        out.append(TimelineEntry(event.at, "messages_thinned", {"count": count}))
        data = change(
            data,
            total=data.total + count,
            bytes=data.bytes + event.bytes,
            unattributed=data.unattributed + count,
            by_topic={**data.by_topic, OTHER: data.by_topic.get(OTHER, 0) + count},
        )
    if event.attachments:
        out.append(TimelineEntry(event.at, "attachments_thinned", {"count": event.attachments}))
        data = change(data, attachments=data.attachments + event.attachments)
    if event.changes:
        out.append(TimelineEntry(event.at, "changes_overtaken", {"count": event.changes}))
    truncated = change(
        truncated,
        messages=truncated.messages + count,
        changes=truncated.changes + event.changes,
        dropped=truncated.dropped + count + event.changes,
    )
    return change(state, messages=data, truncated=truncated)


def on_quality(
    state: SessionState, event: QualityChanged, out: list[TimelineEntry]
) -> SessionState:
    identity = event.identity
    person = state.present.get(identity)
    if person is None or identity in state.provisional_leaves:
        return anomaly(state)
    sid = person.joins[-1].sid
    if event.sid and sid and event.sid != sid:
        return anomaly(state)
    if event.quality == person.quality.level:
        return state  # the server repeats everybody's when one changes
    told = {"identity": identity, "sid": sid, "quality": event.quality}
    out.append(TimelineEntry(event.at, "quality_changed", told))
    return _put(state, change(person, quality=person.quality.to(event.quality, event.at)))


def on_speakers(
    state: SessionState, event: SpeakersChanged, out: list[TimelineEntry]
) -> SessionState:
    present, leaving = state.present, state.provisional_leaves
    speaking = frozenset(
        identity for identity in event.identities if identity in present and identity not in leaving
    )
    if speaking == state.speaking:
        return state
    people = dict(present)
    for identity in speaking - state.speaking:
        person = people[identity]
        people[identity] = change(person, talk=person.talk.on(event.at), audible=True)
    for identity in state.speaking - speaking:
        person = people[identity]
        people[identity] = change(person, talk=person.talk.off(event.at))
    told = {"identities": tuple(dict.fromkeys(i for i in event.identities if i in speaking))}
    out.append(TimelineEntry(event.at, "speakers_changed", told))
    return change(state, present=people, speaking=speaking)


def clear_speakers(state: SessionState, at: float) -> SessionState:
    """Nobody is known to speak any more."""
    if not state.speaking:
        return state
    people = dict(state.present)
    for identity in state.speaking:
        people[identity] = change(people[identity], talk=people[identity].talk.off(at))
    return change(state, present=people, speaking=frozenset())


def clear_quality(state: SessionState, at: float) -> SessionState:
    """Nobody's quality is known from `at` on."""
    people = {
        identity: change(person, quality=person.quality.to(None, at))
        for identity, person in state.present.items()
    }
    return change(state, present=people)


def pause_quality(state: SessionState, since: float, until: float) -> SessionState:
    """Nobody's quality is known in between; after it what was told last holds again."""
    people = {
        identity: change(
            person, quality=person.quality.to(None, since).to(person.quality.level, until)
        )
        for identity, person in state.present.items()
    }
    return change(state, present=people)


def _count_for_sender(state: SessionState, identity: str) -> SessionState:
    """Count a message for its sender: here, gone, or not announced yet."""
    person = state.present.get(identity)
    if person is not None:
        return _put(state, change(person, data_messages=person.data_messages + 1))
    gone = state.past.get(identity)
    if gone is not None:
        gone = change(gone, data_messages=gone.data_messages + 1)
        return change(state, past=state.past.put(identity, gone))
    early = state.unannounced_senders
    if identity not in early and len(early) >= MAX_UNANNOUNCED_SENDERS:
        return _truncate_message(state)
    return change(state, unannounced_senders={**early, identity: early.get(identity, 0) + 1})


def _truncate_message(state: SessionState) -> SessionState:
    truncated = state.truncated
    return change(state, truncated=change(truncated, messages=truncated.messages + 1))


def _put(state: SessionState, person: Participant) -> SessionState:
    return change(state, present={**state.present, person.identity: person})
