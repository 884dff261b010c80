"""LiveKit's webhooks in our words."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import egress, models
from livekit.protocol.webhook import WebhookEvent

from actors.session.room_info import ParticipantInfo, Permissions, TrackInfo
from actors.session.webhook_reports import (
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from bridge.livekit.egress_infos import MAX_TEXT_LENGTH
from bridge.livekit.rooms import sdk_values as sdk
from bridge.livekit.tokens import CHECK_PREFIX
from bridge.livekit.webhooks.webhook_events import (
    KINDS,
    REASONS,
    SOURCES,
    TRACK_KINDS,
    TranslatedWebhook,
    translate,
)
from tests.livekit.webhooks.webhook_sender import event

Kind = models.ParticipantInfo.Kind
AT, CREATED_AT = 1_000_000_000.5, 1_000_000_000

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
    permission=models.ParticipantPermission(
        can_subscribe=True, can_publish=True, can_publish_sources=["MICROPHONE", "CAMERA"]
    ),
)
ANNA_IN_OUR_WORDS = ParticipantInfo(
    identity="anna",
    sid="PA_1",
    joined_at=999_999_999.25,
    name="Anna",
    metadata="m",
    attributes={"k": "v"},
    tracks=(TrackInfo("TR_1", "video", "camera", muted=True),),
    permissions=Permissions(can_publish_data=False, sources=("camera", "microphone")),
)
MICROPHONE = models.TrackInfo(
    sid="TR_2",
    name="mic",
    source=models.TrackSource.MICROPHONE,
    encryption=models.Encryption.GCM,
)
MICROPHONE_IN_OUR_WORDS = TrackInfo("TR_2", "audio", "microphone", name="mic", encrypted=True)


def translated(webhook: WebhookEvent) -> TranslatedWebhook | None:
    return translate(webhook, "watcher", AT)


@pytest.mark.parametrize(
    "name, words",
    [
        ("participant_joined", WebhookJoined(AT, CREATED_AT, ANNA_IN_OUR_WORDS)),
        ("participant_left", WebhookLeft(AT, CREATED_AT, ANNA_IN_OUR_WORDS, "participant_removed")),
        (
            "participant_connection_aborted",
            WebhookJoinAborted(AT, CREATED_AT, ANNA_IN_OUR_WORDS, "participant_removed"),
        ),
        (
            "track_published",
            WebhookTrack(AT, CREATED_AT, "anna", "PA_1", MICROPHONE_IN_OUR_WORDS, True),
        ),
        (
            "track_unpublished",
            WebhookTrack(AT, CREATED_AT, "anna", "PA_1", MICROPHONE_IN_OUR_WORDS, False),
        ),
        ("room_finished", WebhookRoomFinished(AT, CREATED_AT)),
    ],
)
def test_each_webhook_says_what_happened_when_and_in_which_room(name: str, words: WebhookReport):
    webhook = event(name, created_at=CREATED_AT, participant=ANNA, track=MICROPHONE)
    assert translated(webhook) == TranslatedWebhook("lobby", "RM_1", words, webhook.id)


def test_a_room_tells_when_it_was_created_to_the_millisecond_if_the_server_does():
    def room(**fields: Any) -> WebhookEvent:
        room = models.Room(sid="RM_1", name="lobby", metadata="m", **fields)
        return event("room_started", id="EV_1", created_at=CREATED_AT, room=room)

    def report(created_at: float | None) -> TranslatedWebhook:
        return TranslatedWebhook(
            "lobby", "RM_1", WebhookRoomStarted(AT, CREATED_AT, created_at, "m"), "EV_1"
        )

    assert translated(room(creation_time=9, creation_time_ms=9250)) == report(9.25)
    assert translated(room(creation_time=9)) == report(9.0)
    assert translated(room()) == report(None)


def test_a_recorder_by_its_old_grant_is_no_person():
    recorder = models.ParticipantInfo(
        sid="PA_1", identity="bot", permission=models.ParticipantPermission(recorder=True)
    )
    translated = translate(event("participant_joined", participant=recorder), "agent", AT)
    assert translated is not None
    assert isinstance(translated.event, WebhookJoined)
    assert translated.event.participant.kind == "egress"


def test_who_has_no_join_time_joined_when_it_was_said():
    result = translated(
        event("participant_joined", created_at=CREATED_AT, participant=models.ParticipantInfo())
    )
    assert result is not None
    assert isinstance(result.event, WebhookJoined)
    assert result.event.participant.joined_at == CREATED_AT


def test_a_leave_without_a_reason_has_none_and_a_reason_of_tomorrow_its_number():
    def reason(number: int) -> str | None:
        who = models.ParticipantInfo(sid="PA_1", disconnect_reason=number)  # pyright: ignore[reportArgumentType]
        result = translated(event("participant_left", participant=who))
        assert result is not None
        assert isinstance(result.event, WebhookLeft)
        return result.event.reason

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
    assert translated(event(name, participant=participant)) is None


@pytest.mark.parametrize(
    "participant",
    [
        models.ParticipantInfo(kind=Kind.AGENT, attributes={"lk.agent_name": "another"}),
        models.ParticipantInfo(kind=Kind.STANDARD, attributes={"lk.agent_name": "watcher"}),
    ],
    ids=["another agent", "a person who claims our name"],
)
def test_others_are_told_of_with_their_kind(participant: models.ParticipantInfo):
    result = translated(event("participant_joined", participant=participant))
    assert result is not None
    assert isinstance(result.event, WebhookJoined)
    assert result.event.participant.kind == KINDS[participant.kind]


def egress_event(name: str = "egress_updated", **fields: Any) -> WebhookEgress:
    """The report of an egress, from a webhook that names its room as LiveKit's do."""
    info = egress.EgressInfo(egress_id="EG_1", room_name="lobby", room_id="RM_1", **fields)
    result = translated(event(name, created_at=CREATED_AT, room=models.Room(), egress_info=info))
    assert result is not None
    assert (result.room, result.room_sid) == ("lobby", "RM_1")
    assert isinstance(result.event, WebhookEgress)
    return result.event


@pytest.mark.parametrize("name", ["egress_started", "egress_updated", "egress_ended"])
def test_an_egress_is_told_with_its_room_its_times_and_its_file(name: str):
    report = egress_event(
        name,
        status=egress.EGRESS_COMPLETE,
        started_at=999_999_990_500_000_000,
        ended_at=999_999_999_250_000_000,
        updated_at=999_999_999_500_000_000,
        room_composite=egress.RoomCompositeEgressRequest(room_name="lobby"),
        file_results=[egress.FileInfo(filename="a.mp4", location="https://s3/a.mp4?signature=x")],
    )
    assert report == WebhookEgress(
        AT,
        CREATED_AT,
        "EG_1",
        "room_composite",
        "complete",
        999_999_990.5,
        999_999_999.25,
        None,
        "https://s3/a.mp4",
        999_999_999.5,
    )


@pytest.mark.parametrize(
    "fields, kind",
    [
        ({"track": egress.TrackEgressRequest()}, "track"),
        ({"web": egress.WebEgressRequest()}, "web"),
        ({"egress": egress.StartEgressRequest(media=egress.MediaSource())}, "media"),
        ({"egress": egress.StartEgressRequest()}, "egress"),
        ({}, ""),
    ],
)
def test_the_kind_of_an_egress_is_the_name_of_its_request(fields: dict[str, Any], kind: str):
    assert egress_event(**fields).kind == kind


def test_an_egress_that_has_not_begun_or_streams_has_neither_times_nor_a_file():
    report = egress_event(
        status=egress.EGRESS_STARTING,
        stream_results=[egress.StreamInfo(url="rtmp://host/a-secret-key")],
    )
    assert (report.status, report.started_at, report.ended_at, report.file) == (
        "starting",
        None,
        None,
        None,
    )
    assert report.updated_at == CREATED_AT


def test_an_egress_that_failed_says_why_within_bounds_and_a_new_status_has_its_number():
    report = egress_event(status=99, error="x" * 10_000)
    assert report.status == "status_99"
    assert report.error == "x" * MAX_TEXT_LENGTH
    segments = egress.SegmentsInfo(playlist_name="p.m3u8")
    assert egress_event(segment_results=[segments]).file == "p.m3u8"


@pytest.mark.parametrize(
    "url, intent",
    [
        ("http://rooms.example.org/livekit/webhook?intent=i1", "i1"),
        ("http://rooms.example.org/livekit/webhook", ""),
        ("http://[rooms/livekit/webhook?intent=i1", ""),
        (f"http://rooms.example.org/?intent={'i' * 5_000}", "i" * 100),
    ],
)
def test_an_egress_that_is_ours_has_the_key_of_its_intent(url: str, intent: str):
    request = egress.StartEgressRequest(webhooks=[models.WebhookConfig(url=url)])
    assert egress_event(egress=request).intent == intent
    older = egress.RoomCompositeEgressRequest(webhooks=[models.WebhookConfig(url=url)])
    assert egress_event(room_composite=older).intent == intent


def test_an_egress_of_no_room_says_nothing():
    info = egress.EgressInfo(egress_id="EG_1")
    assert translated(event("egress_started", room=models.Room(), egress_info=info)) is None


@pytest.mark.parametrize("name", ["ingress_started", "ingress_ended", "of_tomorrow"])
def test_other_webhooks_say_nothing(name: str):
    assert translated(event(name, participant=ANNA)) is None
    assert translated(event("room_finished", room=models.Room(sid="RM_1"))) is None


def test_rooms_of_check_are_nobodys():
    room = models.Room(sid="RM_1", name=f"{CHECK_PREFIX}1a2b")
    assert translated(event("room_started", room=room)) is None


def test_both_translations_speak_the_same_words():
    """The SDK numbers kinds and sources in its own way; the words are the same."""
    assert set(KINDS.values()) == set(sdk.KINDS.values())
    assert set(SOURCES.values()) == set(sdk.SOURCES.values())
    assert set(TRACK_KINDS.values()) == set(sdk.TRACK_KINDS.values())
    assert set(sdk.REASONS.values()) <= set(REASONS.values())


def test_every_kind_the_server_knows_has_a_word():
    assert set(KINDS) == set(Kind.values())


def test_texts_of_strangers_are_cut_where_they_enter():
    long = "x" * 100_000
    who = models.ParticipantInfo(
        sid="PA_1", identity=long, name=long, metadata=long, attributes={"a": "1", "b": long}
    )
    translated = translate(event("participant_joined", participant=who), "agent", AT)
    assert translated is not None
    assert isinstance(translated.event, WebhookJoined)
    report = translated.event.participant
    assert report.metadata is not None
    assert (len(report.identity), len(report.name)) == (256, 256)
    assert report.metadata.endswith("…[100000 bytes]")
    assert len(report.metadata.encode()) == 64 * 1024
    assert report.attributes == {"a": "1", "…": "[1 more, 100001 bytes]"}
