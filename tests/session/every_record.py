"""One session with a record of every kind, whose last state has a value in every renamed field.

Stores that earlier versions wrote have this session (`tests/session/stores`).  It never changes:
a new kind of record gets a test of its own.
"""

from __future__ import annotations

from typing import Final

from actors.session import (
    AttachmentReceived,
    AttributesChanged,
    ClockCompared,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Permissions,
    PermissionsChanged,
    QualityChanged,
    Reconnected,
    Reconnecting,
    Record,
    RecorderDetected,
    RecordingChanged,
    Resynced,
    RoomMetadataChanged,
    Roster,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    SpeakersChanged,
    Suspended,
    Tick,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)

T: Final = 1_790_000_000.0

MICROPHONE: Final = TrackInfo("TR_1", "audio", "microphone", name="mic")
CAMERA: Final = TrackInfo("TR_2", "video", "camera", encrypted=True)
ALICE: Final = ParticipantInfo(
    "alice", "PA_1", T - 5, "standard", "Alice", "hello", {"user": "a"}, (MICROPHONE,),
    Permissions(sources=("microphone",)),
)  # fmt: skip
BOB: Final = ParticipantInfo("bob", "PA_2", T + 1, name="Bob", attributes={"user": "b"})
CAROL: Final = ParticipantInfo("carol", "PA_3", T + 2)
DAVE: Final = ParticipantInfo("dave", "PA_4", T + 60, active=False)
ERIN: Final = ParticipantInfo("erin", "PA_5", T + 61)
FRANK: Final = ParticipantInfo("frank", "PA_6", T + 110)
BOB_AGAIN: Final = ParticipantInfo("bob", "PA_7", T + 75, attributes={"user": "b"})
CALLER: Final = ParticipantInfo(
    "caller", "PA_8", T + 3, "sip", attributes={"sip.callStatus": "ringing"}
)

RECORDS: Final[tuple[Record, ...]] = (
    SessionBegan(T, "atlas", "RM_1", ("AJ_1",), "worker", "agent", T - 10, "attributes.user"),
    Watching(T, Roster("RM_1", "topic", (ALICE,), T - 10, False), 0.25),
    WebhookRoomStarted(T + 0.5, T - 10, T - 10, "topic"),
    ParticipantJoined(T + 1, BOB),
    ParticipantJoined(T + 2, CAROL),
    ParticipantJoined(T + 3, CALLER),
    AttributesChanged(T + 4, "caller", {"sip.callStatus": "active"}),
    NameChanged(T + 4, "alice", "Alice A."),
    MetadataChanged(T + 5, "alice", "busy"),
    PermissionsChanged(T + 5, "alice", Permissions(can_publish=False)),
    TrackSubscribed(T + 6, "alice", "TR_1"),
    TrackSubscriptionFailed(T + 6, "alice", "TR_1", "codec"),
    TrackMuted(T + 7, "alice", "TR_1"),
    TrackUnmuted(T + 8, "alice", "TR_1"),
    TrackPublished(T + 9, "alice", CAMERA),
    TrackUnpublished(T + 19, "alice", "TR_2"),
    DataTrackPublished(T + 20, "alice", "TR_3", "lidar"),
    DataTrackUnpublished(T + 21, "TR_3"),
    DataTrackPublished(T + 22, "alice", "TR_4", "lidar"),
    SpeakersChanged(T + 23, ("alice", "bob")),
    QualityChanged(T + 24, "alice", "PA_1", "good"),
    QualityChanged(T + 25, "bob", "PA_2", "poor"),
    DataReceived(T + 26, "bob", "chat", 5, "text", content="hello"),
    DataReceived(T + 27, None, "", 7, "binary", reliable=False),
    AttachmentReceived(T + 28, "bob", "files", 1_000),
    MessagesDropped(T + 29, 10, 3, 100, 1),
    RoomMetadataChanged(T + 30, "another topic"),
    RecordingChanged(T + 31, True),
    RecordingChanged(T + 41, False),
    RecordingChanged(T + 42, True),
    ClockCompared(T + 43, 0.5),
    WebhookEgress(
        T + 44, T + 44, "EG_1", "room_composite", "complete", T + 31, T + 41, None, "a.mp4", T + 41
    ),
    RecorderDetected(T + 45, "carol", "PA_3"),
    ParticipantLeft(T + 50, "carol", "PA_3", "client_initiated"),
    WebhookLeft(T + 51, T + 49, CAROL, "client_initiated"),
    ParticipantJoined(T + 60, DAVE),
    ParticipantLeft(T + 60.5, "dave", "PA_4", "client_initiated"),
    WebhookJoinAborted(T + 60.6, T + 60, DAVE, "join_failure"),
    ParticipantJoined(T + 61, ERIN),
    ParticipantActive(T + 62, "erin", "PA_5"),
    WebhookTrack(T + 62, T - 1, "alice", "PA_1", MICROPHONE, True),
    Suspended(T + 66, T + 63),
    Tick(T + 71),
    Reconnecting(T + 72),
    Reconnected(T + 74, Roster("RM_1", "another topic", (ALICE, BOB, CALLER, ERIN))),
    ParticipantJoined(T + 75, BOB_AGAIN),
    Resynced(T + 80, Roster("RM_1", "another topic", (ALICE, BOB_AGAIN, CALLER, ERIN))),
    Disconnected(T + 90, None, "connection_lost"),
    SessionEnded(T + 91, "server_lost"),
    WebhookRoomFinished(T + 92, T + 91),
    SessionContinued(T + 100, "AJ_2", "another worker"),
    Watching(T + 101, Roster("RM_1", "another topic", (ALICE, BOB_AGAIN, CALLER, ERIN))),
    ParticipantJoined(T + 105, ParticipantInfo("bob", "PA_9", T + 105, attributes={"user": "b"})),
    TrackPublished(T + 106, "alice", CAMERA),
    SpeakersChanged(T + 107, ("alice",)),
    DataReceived(T + 108, "stranger", "chat", 1, "json"),
    WebhookJoined(T + 110.1, T + 110, FRANK),
    Suspended(T + 111, T + 110.2),
    ParticipantLeft(T + 111.5, "erin", "PA_5", None),
    Reconnecting(T + 112),
    TrackUnpublished(T + 112.1, "alice", "TR_2"),
    DataReceived(T + 112.5, "alice", "chat", 3, "text"),
    ParticipantJoined(T + 113, ParticipantInfo("gina", "PA_10", T + 113)),
    TrackMuted(T + 113.5, "alice", "TR_1"),
)
