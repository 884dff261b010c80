"""The uploads of voice agents, put together: the desk, what it delivers to, forwarding, recordings.

Imported where `--http` is on and `--agent-uploads` is not off.  Services are started with the first
upload: a program without agents runs none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, final

from attrs import frozen

from actors.runtime import ActorSystem, ChildSpec, Intensity, Restart, Service
from actors.session import SessionState
from actors.session.agent_reports import AgentReport
from bridge.app.room_actors import RoomActors
from bridge.config.settings import Settings
from bridge.livekit.watching.room_candidates import watches
from bridge.uploads.upload_desk import Upload, UploadDesk
from bridge.uploads.upload_reader import UploadReader

if TYPE_CHECKING:
    from actors.rooms.agent_texts import AgentTexts
    from bridge.uploads.audio_files import AudioFiles, AudioUpload
    from bridge.uploads.run_delivery import RunDelivery
    from bridge.uploads.span_files import SpanFiles
    from bridge.uploads.trace_forwarder import TraceForwarder
    from bridge.uploads.upload_facts import RunFacts

RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of one of these services restarts it for ever: rooms must not notice."""


@final
class AgentUploads:
    """The place where agents upload, as the HTTP side needs it."""

    def __init__(
        self,
        settings: Settings,
        system: ActorSystem,
        rooms: RoomActors,
        texts: AgentTexts | None,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is that of the sessions."""
        self._settings = settings
        self._system = system
        self._rooms = rooms
        self._texts = texts
        self._clock = clock
        self._delivery: RunDelivery | None = None
        self._forwarder: TraceForwarder | None = None
        self.spans: Final = self._start_spans()
        """None where no spans are kept."""
        self.desk: Final = UploadDesk(
            UploadReader(texts=texts is not None, spans=self.spans),
            self._deliver,
            None if settings.otlp_forward is None else self._forward,
            on_first=lambda: self._start("uploads", self.desk.run),
        )
        self.audio: Final = self._start_audio()
        """None where no recordings are kept."""

    @property
    def open_sink(self) -> Callable[[], AudioUpload] | None:
        """Makes what gets the recording of a report."""
        return None if self.audio is None else partial(_audio_upload, self.audio)

    def runs_dropped(self) -> int:
        """Runs whose waiting uploads were dropped for lack of memory."""
        return 0 if self._delivery is None else self._delivery.counts["waiting_dropped"]

    def _start_audio(self) -> AudioFiles | None:
        keep = self._settings.keep_recordings
        if keep is None:
            return None
        from bridge.uploads.audio_files import AudioFiles, prune_for_ever

        audio = AudioFiles(self._settings.data_dir, keep=keep, most_bytes=self._settings.keep_size)
        self._start("agent-audio", partial(prune_for_ever, audio.prune, self._clock))
        return audio

    def _start_spans(self) -> SpanFiles | None:
        keep = self._settings.keep_spans
        if keep is None:
            return None
        from bridge.uploads.audio_files import prune_for_ever
        from bridge.uploads.span_files import SpanFiles

        spans = SpanFiles(self._settings.data_dir, keep, self._settings.keep_size)
        self._start("agent-spans", partial(prune_for_ever, spans.prune, self._clock))
        return spans

    def _deliver(self, run_facts: RunFacts) -> None:
        if self._delivery is None:
            from bridge.uploads.run_delivery import RunDelivery

            sessions = _WatchedRooms(self._rooms, self._settings.watch)
            self._delivery = RunDelivery(sessions, self._texts, clock=self._clock)
            self._start("uploaded-runs", self._delivery.run)
        self._delivery.take(run_facts)

    def _forward(self, upload: Upload) -> None:
        if self._forwarder is None:
            from bridge.uploads.trace_forwarder import TraceForwarder

            assert self._settings.otlp_forward is not None
            self._forwarder = TraceForwarder(self._settings.otlp_forward)
            self._start("otlp-forward", self._forwarder.run)
        self._forwarder.take(upload)

    def _start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._system.supervisor.start_child(
            ChildSpec(name, partial(Service, run), restart=Restart.PERMANENT, intensity=RESTARTS)
        )


def _audio_upload(audio: AudioFiles) -> AudioUpload:
    from bridge.uploads.audio_files import AudioUpload
    from bridge.uploads.report_reader import audio_run

    return AudioUpload(audio, audio_run)


@frozen
class _WatchedRooms:
    """Fills `UploadedSessions`."""

    rooms: RoomActors
    patterns: tuple[str, ...]

    def find(self, room_sid: str) -> SessionState | None:
        return self.rooms.find_session(room_sid)

    def wanted(self, room: str) -> bool:
        return watches(self.patterns, room)

    def report(self, room: str, room_sid: str, report: AgentReport) -> None:
        self.rooms.take_upload(room, room_sid, report)
