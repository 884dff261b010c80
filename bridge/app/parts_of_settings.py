"""The settings, as the parts of a worker want them."""

from __future__ import annotations

from bridge import __version__
from bridge.app.worker_id import WorkerId
from bridge.config.settings import Settings
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.track_measurer import MeasurePlan
from bridge.livekit.server_api import ServerApi
from bridge.livekit.worker.jobs import Reserve
from bridge.livekit.worker.worker import WorkerConfig
from bridge.store.retention import Retention


def retention_of(settings: Settings) -> Retention:
    """How long sessions are kept."""
    return Retention(settings.keep, settings.keep_events, settings.keep_size)


def sdk_options(settings: Settings) -> SdkOptions:
    """How LiveKit's SDK is used."""
    return SdkOptions(
        demux=settings.sdk_demux,
        native_logs=settings.sdk_native_logs,
        gather_once=settings.sdk_gather_once,
        dual_peer_connection=settings.sdk_dual_connection,
        pause_microphones=settings.sdk_pause_microphones,
        renew_paused=settings.sdk_renew_paused,
        max_tracks=settings.sdk_tracks,
        measure=_measure_plan(settings),
    )


def _measure_plan(settings: Settings) -> MeasurePlan | None:
    match settings.measure_tracks:
        case "sampled" | "all" as tracks:
            return MeasurePlan(tracks, settings.measure_budget)
        case _:
            return None


def worker_config(settings: Settings, own_id: WorkerId, api: ServerApi) -> WorkerConfig:
    """The worker's registration at LiveKit, and its places."""
    return WorkerConfig(
        endpoint=api.endpoint,
        api_key=api.api_key,
        agent_name=settings.agent_name,
        max_rooms=settings.max_rooms,
        version=__version__,
        instance=own_id.name,
        visible=settings.visible,
        reserve=Reserve(settings.reserve, settings.watch[0] if settings.watch else ""),
    )
