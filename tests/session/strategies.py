"""Strategies for every event that a session can get, in any order, sensible or not."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from actors.session import (
    QUALITIES,
    AttachmentReceived,
    AttributesChanged,
    ClockCompared,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
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
    RecorderDetected,
    RecordingChanged,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    Roster,
    SpeakersChanged,
    Suspended,
    Tick,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TracksMeasured,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from actors.session.agent_reports import (
    AGENT_ACTIVITIES,
    AgentActivityReported,
    AgentCall,
    AgentCallReported,
    AgentDispatchListed,
    AgentErrorReported,
    AgentReport,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
    ModelUsage,
)
from actors.session.recording_reports import (
    EgressListed,
    RecorderSilent,
    RecordingIntended,
    RecordingNotStarted,
    RecordingOutput,
    RecordingReport,
    RecordingRequest,
    RecordingStopIntended,
    StorageTarget,
)
from actors.session.rule_records import (
    ActReported,
    PlannedAct,
    RuleFired,
    RulePending,
    RuleRecord,
    RuleResolved,
)
from actors.session.track_stats import TrackWindow
from tests.session.session_story import T0

quick: Final = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
"""For a law of sessions: the same examples on every run, however slow the machine.

How many they are is the profile's (tests/conftest.py).
"""

identities = st.sampled_from(["alice", "bob", "carol", ""])
sids = st.sampled_from(["PA_1", "PA_2", "PA_3", "PA_4", ""])
track_sids = st.sampled_from(["TR_1", "TR_2", "TR_3"])
times = st.floats(T0 - 10, T0 + 60, allow_nan=False)
seconds = times.map(float.__floor__).map(float)
texts = st.sampled_from(["", "a", "b"])
track_infos = st.builds(
    TrackInfo,
    track_sids,
    st.sampled_from(["audio", "video"]),
    st.sampled_from(["camera", "microphone", "screen", "screen_audio", "unknown"]),
    st.booleans(),
    texts,
    st.booleans(),
)
permissions = st.builds(
    Permissions, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([(), ("camera",)])
)
statuses = st.sampled_from(["", "dialing", "ringing", "active", "hangup"])
attributes = st.one_of(
    st.dictionaries(st.sampled_from(["x", "y"]), texts, max_size=2),
    st.dictionaries(st.just("sip.callStatus"), statuses, max_size=1),
)
infos = st.builds(
    ParticipantInfo,
    identities,
    sids,
    st.one_of(times, st.just(0.0)),
    st.sampled_from(["standard", "agent", "egress", "ingress", "sip"]),
    texts,
    texts,
    attributes,
    st.lists(track_infos, max_size=2).map(tuple),
    st.one_of(st.none(), permissions),
    st.booleans(),
)
rosters = st.builds(
    Roster,
    st.sampled_from(["RM_1", ""]),
    texts,
    st.lists(infos, max_size=3).map(tuple),
    st.none(),
    st.sampled_from([None, False, True]),
)
reasons = st.sampled_from([None, None, "client_initiated", "duplicate_identity"])
webhook_reports: st.SearchStrategy[WebhookReport] = st.one_of(
    st.builds(WebhookRoomStarted, times, seconds, st.one_of(st.none(), times), texts),
    st.builds(WebhookJoined, times, seconds, infos),
    st.builds(WebhookLeft, times, seconds, infos, reasons),
    st.builds(WebhookJoinAborted, times, seconds, infos, reasons),
    st.builds(WebhookTrack, times, seconds, identities, sids, track_infos, st.booleans()),
    st.builds(WebhookRoomFinished, times, seconds),
    st.builds(
        WebhookEgress,
        times,
        seconds,
        st.sampled_from(["EG_1", "EG_2"]),
        st.sampled_from(["track", "room_composite"]),
        st.sampled_from(["starting", "active", "complete", "failed"]),
        st.one_of(st.none(), times),
        st.one_of(st.none(), times),
        st.one_of(st.none(), texts),
        st.one_of(st.none(), texts),
        times,
    ),
)
egress_ids = st.sampled_from(["EG_1", "EG_2"])
intents = st.sampled_from(["i1", "i2"])
recording_reports: st.SearchStrategy[RecordingReport] = st.one_of(
    st.builds(
        RecordingIntended,
        times,
        intents,
        texts,
        st.just(RecordingRequest((RecordingOutput("a", StorageTarget("s3", "b", "SECRET")),))),
    ),
    st.builds(RecordingNotStarted, times, intents, texts),
    st.builds(
        EgressListed,
        times,
        egress_ids,
        st.just("template"),
        st.sampled_from(["starting", "active", "complete"]),
        intents,
        st.one_of(st.none(), times),
        updated_at=times,
    ),
    st.builds(RecordingStopIntended, times, egress_ids, texts),
    st.builds(RecorderSilent, times, egress_ids),
)
counts = st.integers(-5, 200)
track_windows = st.builds(
    TrackWindow, track_sids, st.floats(-1, 30, allow_nan=False), counts, counts, counts,
    st.floats(allow_nan=False), counts, counts, counts, counts, counts, counts,
    st.sampled_from(["", "audio/red", "audio/opus", "video/VP8"]),
)  # fmt: skip
agents = st.sampled_from(["alice", "bob", "carol", "agent-AJ_1"])
item_ids = st.sampled_from(["item_1", "item_2", "call_1", ""])
maybe_times = st.one_of(st.none(), times, st.floats())
agent_turns = st.builds(
    AgentTurn, item_ids, st.sampled_from(["agent", "user"]), maybe_times, maybe_times,
    st.one_of(st.none(), st.floats()), interrupted=st.booleans(),
)  # fmt: skip
agent_calls = st.builds(
    AgentCall, item_ids, st.sampled_from(["call_1", "call_2"]), texts, maybe_times, maybe_times,
    st.sampled_from([None, "ok", "error", "cancelled"]),
)  # fmt: skip
model_usages = st.builds(
    ModelUsage, st.sampled_from(["llm", "tts", "stt"]), texts, texts,
    st.dictionaries(st.just("input_tokens"), st.floats(), max_size=1),
)  # fmt: skip
agent_events: st.SearchStrategy[RoomEvent] = st.one_of(
    st.builds(AgentActivityReported, times, agents, times, st.sampled_from(AGENT_ACTIVITIES)),
    st.builds(AgentActivityReported, times, agents, times, st.just("speaking")),
    st.builds(
        AgentUserReported, times, agents, times, st.sampled_from(["speaking", "listening", "away"])
    ),
    st.builds(AgentTurnReported, times, agents, times, agent_turns),
    st.builds(AgentCallReported, times, agents, times, agent_calls),
    st.builds(AgentErrorReported, times, agents, times, texts, texts, st.booleans()),
    st.builds(
        AgentUsageReported, times, agents, times, st.lists(model_usages, max_size=2).map(tuple)
    ),
    st.builds(AgentVersionReported, times, agents, texts),
    st.builds(
        AgentDispatchListed,
        times,
        st.sampled_from(["AD_1", "AD_2"]),
        texts,
        times,
        st.sampled_from([(), ("AJ_1",)]),
    ),
)
agent_uploads: st.SearchStrategy[AgentReport] = st.builds(
    AgentReport,
    times,
    st.sampled_from(["AJ_1", "AJ_2"]),
    texts,
    texts,
    maybe_times,
    maybe_times,
    turns=st.lists(agent_turns, max_size=2).map(tuple),
    calls=st.lists(agent_calls, max_size=2).map(tuple),
    models=st.lists(model_usages, max_size=2).map(tuple),
    participant_sid=st.one_of(st.just(""), sids),
)
room_events: st.SearchStrategy[RoomEvent] = st.one_of(
    agent_events,
    agent_events,
    st.builds(Watching, times, rosters, st.one_of(st.none(), st.floats(0, 5))),
    st.builds(Suspended, times, times),
    st.builds(ClockCompared, times, st.floats(0, 5)),
    st.builds(Resynced, times, rosters),
    st.builds(Reconnecting, times),
    st.builds(Reconnected, times, rosters),
    st.builds(Disconnected, times, reasons),
    st.builds(ParticipantJoined, times, infos),
    st.builds(ParticipantJoined, times, infos),
    st.builds(ParticipantActive, times, identities, sids),
    st.builds(RecorderDetected, times, identities, sids),
    st.builds(ParticipantLeft, times, identities, sids, reasons),
    st.builds(ParticipantLeft, times, identities, sids, reasons),
    st.builds(NameChanged, times, identities, texts),
    st.builds(MetadataChanged, times, identities, texts),
    st.builds(AttributesChanged, times, identities, attributes),
    st.builds(TrackPublished, times, identities, track_infos),
    st.builds(TrackPublished, times, identities, track_infos),
    st.builds(TrackUnpublished, times, identities, track_sids),
    st.builds(TrackMuted, times, identities, track_sids),
    st.builds(TrackUnmuted, times, identities, track_sids),
    st.builds(TrackSubscribed, times, identities, track_sids),
    st.builds(TrackSubscriptionFailed, times, identities, track_sids, texts),
    st.builds(SpeakersChanged, times, st.lists(identities, max_size=3).map(tuple)),
    st.builds(QualityChanged, times, identities, sids, st.sampled_from(QUALITIES)),
    st.builds(
        DataReceived,
        times,
        st.one_of(st.none(), identities),
        texts,
        st.integers(0, 100),
        st.sampled_from(["json", "text", "binary"]),
    ),
    st.builds(AttachmentReceived, times, st.one_of(st.none(), identities), texts, st.just(7)),
    st.builds(PermissionsChanged, times, identities, permissions),
    st.builds(DataTrackPublished, times, identities, track_sids, texts, st.booleans()),
    st.builds(DataTrackUnpublished, times, track_sids),
    st.builds(RecordingChanged, times, st.booleans()),
    st.builds(TracksMeasured, times, st.lists(track_windows, max_size=2).map(tuple)),
    st.builds(RoomMetadataChanged, times, texts),
    st.builds(Tick, times),
)
rule_names = st.sampled_from(["alone", "silent"])
planned_acts = st.builds(
    PlannedAct,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["remove", "hold", "release", "ban"]),
    st.just(0),
    sids,
    times,
    times,
    st.one_of(st.none(), texts),
    st.booleans(),
)
act_lists = st.lists(planned_acts, max_size=2).map(tuple)
rule_records: st.SearchStrategy[RuleRecord] = st.one_of(
    st.builds(RulePending, times, rule_names, identities),
    st.builds(
        RuleFired, times, rule_names, identities, act_lists, st.booleans(), texts, st.booleans()
    ),
    st.builds(RuleResolved, times, rule_names, identities, act_lists),
    st.builds(ActReported, times, st.sampled_from(["a", "b", "c"]), st.booleans(), texts),
)
any_event: st.SearchStrategy[RoomEvent] = st.one_of(
    room_events, room_events, webhook_reports, rule_records, recording_reports, agent_uploads
)
