"""LiveKit's webhooks in our words."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models
from livekit.protocol.webhook import WebhookEvent

from actors.session.events import (
    JoinAborted,
    JoinTold,
    LeaveTold,
    ParticipantInfo,
    RoomEndTold,
    RoomTold,
    ServerSaid,
    TrackInfo,
    TrackTold,
)
from bridge.http.translate import KINDS, REASONS, SOURCES, TRACK_KINDS, WebhookSaid, translate
from bridge.livekit import translate as sdk
from bridge.livekit.decisions import CHECK_PREFIX
from tests.http.forger import event

Kind = models.ParticipantInfo.Kind
AT, SAID_AT = 1_000_000_000.5, 1_000_000_000

ANNA = models.ParticipantInfo(
    sid="PA_1",
    identity="anna",
    name="Anna",
    metadata="m",
    attributes={"k": "v"},
    joined_at=999_999_999,
    joined_at_ms=999_999_999_250,
    tracks=[models.TrackInfo(sid="TR_1", source="CAMERA", type="VIDEO", muted=True)],
    disconnect_reason=models.DisconnectReason.PARTICIPANT_REMOVED,
)
ANNA_IN_OUR_WORDS = ParticipantInfo(
    identity="anna",
    sid="PA_1",
    joined_at=999_999_999.25,
    name="Anna",
    metadata="m",
    attributes={"k": "v"},
    tracks=(TrackInfo("TR_1", "video", "camera", muted=True),),
)
MICROPHONE = models.TrackInfo(sid="TR_2", name="mic", source=models.TrackSource.MICROPHONE)
MICROPHONE_IN_OUR_WORDS = TrackInfo("TR_2", "audio", "microphone", name="mic")


def said(webhook: WebhookEvent) -> WebhookSaid | None:
    return translate(webhook, "watcher", AT)


@pytest.mark.parametrize(
    "name, words",
    [
        ("participant_joined", JoinTold(AT, SAID_AT, ANNA_IN_OUR_WORDS)),
        ("participant_left", LeaveTold(AT, SAID_AT, ANNA_IN_OUR_WORDS, "participant_removed")),
        (
            "participant_connection_aborted",
            JoinAborted(AT, SAID_AT, ANNA_IN_OUR_WORDS, "participant_removed"),
        ),
        (
            "track_published",
            TrackTold(AT, SAID_AT, "anna", "PA_1", MICROPHONE_IN_OUR_WORDS, True),
        ),
        (
            "track_unpublished",
            TrackTold(AT, SAID_AT, "anna", "PA_1", MICROPHONE_IN_OUR_WORDS, False),
        ),
        ("room_finished", RoomEndTold(AT, SAID_AT)),
    ],
)
def test_each_webhook_says_what_happened_when_and_in_which_room(name: str, words: ServerSaid):
    webhook = event(name, created_at=SAID_AT, participant=ANNA, track=MICROPHONE)
    assert said(webhook) == WebhookSaid("lobby", "RM_1", words)


def test_a_room_tells_when_it_was_created_to_the_millisecond_if_the_server_does():
    def room(**fields: Any) -> WebhookEvent:
        room = models.Room(sid="RM_1", name="lobby", metadata="m", **fields)
        return event("room_started", created_at=SAID_AT, room=room)

    def told(created_at: float | None) -> WebhookSaid:
        return WebhookSaid("lobby", "RM_1", RoomTold(AT, SAID_AT, created_at, "m"))

    assert said(room(creation_time=9, creation_time_ms=9250)) == told(9.25)
    assert said(room(creation_time=9)) == told(9.0)
    assert said(room()) == told(None)


def test_who_has_no_join_time_joined_when_it_was_said():
    found = said(
        event("participant_joined", created_at=SAID_AT, participant=models.ParticipantInfo())
    )
    assert found is not None
    assert isinstance(found.event, JoinTold)
    assert found.event.participant.joined_at == SAID_AT


def test_a_leave_without_a_reason_has_none_and_a_reason_of_tomorrow_its_number():
    def reason(number: int) -> str | None:
        who = models.ParticipantInfo(sid="PA_1", disconnect_reason=number)  # pyright: ignore[reportArgumentType]
        found = said(event("participant_left", participant=who))
        assert found is not None
        assert isinstance(found.event, LeaveTold)
        return found.event.reason

    assert reason(0) is None
    assert reason(999) == "reason_999"


@pytest.mark.parametrize(
    "participant",
    [
        models.ParticipantInfo(
            kind=Kind.AGENT,
            attributes={"lk.agent_name": "watcher"},
            permission=models.ParticipantPermission(hidden=True),
        ),
        models.ParticipantInfo(kind=Kind.AGENT, attributes={"lk.agent_name": "watcher"}),
        models.ParticipantInfo(permission=models.ParticipantPermission(hidden=True)),
        models.ParticipantInfo(
            kind=Kind.EGRESS, permission=models.ParticipantPermission(hidden=True, recorder=True)
        ),
    ],
    ids=["we", "we, visible", "a hidden person", "a hidden recorder"],
)
@pytest.mark.parametrize("name", ["participant_joined", "participant_left"])
def test_whom_the_room_view_does_not_show_nobody_tells_of(
    name: str, participant: models.ParticipantInfo
):
    assert said(event(name, participant=participant)) is None


@pytest.mark.parametrize(
    "participant",
    [
        models.ParticipantInfo(kind=Kind.AGENT, attributes={"lk.agent_name": "another"}),
        models.ParticipantInfo(kind=Kind.STANDARD, attributes={"lk.agent_name": "watcher"}),
    ],
    ids=["another agent", "a person who claims our name"],
)
def test_others_are_told_of_with_their_kind(participant: models.ParticipantInfo):
    found = said(event("participant_joined", participant=participant))
    assert found is not None
    assert isinstance(found.event, JoinTold)
    assert found.event.participant.kind == KINDS[participant.kind]


@pytest.mark.parametrize("name", ["egress_started", "ingress_ended", "of_tomorrow"])
def test_other_webhooks_say_nothing(name: str):
    assert said(event(name, participant=ANNA)) is None
    assert said(event("room_finished", room=models.Room(sid="RM_1"))) is None


def test_rooms_of_check_are_nobodys():
    room = models.Room(sid="RM_1", name=f"{CHECK_PREFIX}1a2b")
    assert said(event("room_started", room=room)) is None


def test_both_translations_speak_the_same_words():
    """The SDK numbers kinds and sources in its own way; the words are the same."""
    assert set(KINDS.values()) == set(sdk.KINDS.values())
    assert set(SOURCES.values()) == set(sdk.SOURCES.values())
    assert set(TRACK_KINDS.values()) == set(sdk.TRACK_KINDS.values())
    assert set(sdk.REASONS.values()) <= set(REASONS.values())


def test_every_kind_the_server_knows_has_a_word():
    assert set(KINDS) == set(Kind.values())
