"""Every decoder of bytes that somebody else wrote, as one table.

A decoder may refuse with the exceptions of its row.  Anything else that it raises is a fault.
`python -m tests.attack NAME --seconds 3600` tries one for hours; a run of the tests takes some
thousand inputs for each.  An input that once showed a fault is kept in `seeds/NAME/`.
"""

from __future__ import annotations

import itertools
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog.testing
from attrs import frozen
from google.protobuf.message import Message
from livekit.protocol import models, room
from livekit.protocol.webhook import WebhookEvent
from starlette.exceptions import HTTPException

from actors.journal.session_filters import NAME_LENGTH, regex_of
from actors.journal.session_reader import BadCursor
from actors.session import (
    DataReceived,
    ParticipantInfo,
    Record,
    Roster,
    SessionBegan,
    SessionState,
    TimelineEntry,
    TrackInfo,
    Watching,
    fold,
    session_view,
)
from actors.session.agent_reports import AgentReport
from actors.session.codec import (
    Unreadable,
    decode_entries,
    decode_record,
    decode_state,
    encode_entries,
    encode_record,
    encode_state,
)
from bridge.config.setting_files import read_env_file, read_key_file
from bridge.config.settings import SettingsError, read_settings
from bridge.config.values import BadValue
from bridge.http.api import event_stream
from bridge.http.server import sign_in
from bridge.livekit import api_errors
from bridge.livekit.rooms.data_messages import format_of
from bridge.livekit.watching.room_candidates import ListedRoom
from bridge.livekit.webhooks.verify import ClaimedDigest, read_event, read_token
from bridge.livekit.webhooks.webhook_events import translate as translate_webhook
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.registration import Registration
from bridge.livekit.worker.worker_protocol import WorkerProtocol
from bridge.livekit.worker.worker_rejection import clock_skew, rejection_of
from bridge.store import session_queries
from bridge.store.journal_rows import unpack, unpack_chunk
from bridge.uploads.bounded_gzip import BadUpload, unpacked
from bridge.uploads.report_form import ReportForm, UploadTooLarge
from bridge.uploads.report_reader import audio_run, audio_start
from bridge.uploads.session_words import calls_of, models_of, texts_of, turns_of
from bridge.uploads.upload_desk import Upload
from bridge.uploads.upload_reader import UploadReader
from bridge.uploads.upload_token import refusal_of
from tests.livekit.webhooks import webhook_sender
from tests.livekit.worker import server_messages as m
from tests.uploads import agent_uploads

NOW: Final = 1_790_000_000.0
SEEDS: Final = Path(__file__).parent / "seeds"


@frozen
class Decoder:
    name: str
    decode: Callable[[bytes], object]
    samples: Sequence[bytes]
    """Right inputs, to begin with."""
    refusals: tuple[type[Exception], ...] = ()
    """The exceptions that it may raise."""
    in_a_file: bool = False
    """It reads a file, not bytes."""

    def try_on(self, data: bytes) -> None:
        """Raises what is no refusal."""
        with structlog.testing.capture_logs():
            try:
                self.decode(data)
            except self.refusals:
                return

    def seeds(self) -> list[bytes]:
        """Inputs that showed a fault once."""
        return [path.read_bytes() for path in sorted((SEEDS / self.name).glob("*"))]


# ---------------------------------------------------------------- LiveKit


def _worker_socket(data: bytes) -> None:
    """A frame after the registration, and all that the worker answers to it."""
    connection = WorkerProtocol(
        registration=Registration("agent", "1", "ws://server", False, {}),
        book=JobBook(8),
        now=0.0,
        seq=itertools.count(),
    )
    connection.receive(m.registered(), 0.1)
    connection.receive(data, 0.2)
    connection.tick(5.0)
    connection.data_to_send()


def _api_answer(data: bytes) -> None:
    for kind in (room.ListRoomsResponse, room.ListParticipantsResponse):
        try:
            answer: Any = kind.FromString(data)
        except Exception:  # noqa: BLE001  `ServerApi` takes any for a malformed answer
            continue
        for one in getattr(answer, "rooms", ()):
            ListedRoom.of(one)


def _api_error(data: bytes) -> None:
    for status in (200, 401, 404, 500):
        error = api_errors.error_of_response("RoomService/ListRooms", status, data)
        assert isinstance(error, api_errors.ApiError)
        assert str(error).isprintable()
        assert len(str(error)) < 3_000


def _refused_upgrade(data: bytes) -> None:
    for status in (301, 401, 404, 503):
        rejection_of(status, ((b"date", data),), data, NOW)
    clock_skew(((b"Date", data[:64]),), NOW)


def _webhook(data: bytes) -> None:
    """A signed body, through the fold to the JSON of the session."""
    read_token(data.decode("latin-1"), webhook_sender.KEY, NOW)
    promise = read_token(webhook_sender.token_for(data, at=NOW), webhook_sender.KEY, NOW)
    assert isinstance(promise, ClaimedDigest)
    event = read_event(data, promise, NOW)
    if not isinstance(event, WebhookEvent):
        return
    decoded = translate_webhook(event, "agent", NOW)
    if decoded is not None:
        _through_the_session(decoded.event)


_ITEMS: Final[Sequence[dict[str, dict[str, Any]]]] = (
    {
        "message": {
            "id": "item_1", "role": "assistant", "content": ["words"], "created_at": NOW,
            "metrics": {"e2e_latency": 0.5, "started_speaking_at": NOW},
        }
    },
    {"function_call": {"id": "item_2", "call_id": "call_1", "name": "weather", "arguments": "{}"}},
    {"function_call_output": {"id": "item_3", "call_id": "call_1", "output": "grey"}},
)  # fmt: skip
"""Chat items of an agent, by kind."""


def _agent_traces(data: bytes) -> None:
    """Spans, through the fold to the JSON of the session."""
    _deliver(Upload("traces", data))


def _agent_logs(data: bytes) -> None:
    _deliver(Upload("logs", data))


def _agent_gzip(data: bytes) -> None:
    assert len(unpacked(data, 1 << 20)) <= 1 << 20


def _agent_report_header(data: bytes) -> None:
    audio_run(data)
    _deliver(Upload("report", data, chat_history=b'{"items":[]}'))
    audio_start(data)


def _agent_chat_history(data: bytes) -> None:
    _deliver(Upload("report", agent_uploads.captured_report()[0], chat_history=data))


def _agent_report_form(data: bytes) -> None:
    form = ReportForm(agent_uploads.BOUNDARY.encode())
    form.write(data)
    form.finish()


def _agent_token(data: bytes) -> None:
    """Only the right token is taken."""
    right = f"Bearer {agent_uploads.token(at=NOW)}"
    authorization = data.decode("latin-1")
    if refusal_of(authorization, agent_uploads.KEY, NOW) is None:
        assert authorization.split()[1].rpartition(".")[0] == right.split()[1].rpartition(".")[0]


def _deliver(upload: Upload) -> None:
    """Every run of an upload, as its session would get it."""
    for run_facts in UploadReader(texts=True)(upload):
        calls, turns = calls_of(run_facts), turns_of(run_facts)
        list(texts_of(run_facts, "room", "", "agent", "person"))
        report = AgentReport(
            NOW, run_facts.run.job_id, run_facts.agent_name, run_facts.sdk_version,
            run_facts.started_at, run_facts.ended_at, run_facts.close_reason, tuple(turns[:50]),
            tuple(calls[:50]), models_of(run_facts),
        )  # fmt: skip
        _through_the_session(decode_record("agent_report", encode_record(report)[1]))


def _through_the_session(record: Record) -> None:
    kind, body = encode_record(record)
    state, entries = fold(_session(), decode_record(kind, body))
    msgspec.json.encode(session_view(state, NOW + 60.0, entries))
    decode_state(encode_state(state))
    decode_entries(encode_entries(entries))


def _message(data: bytes) -> None:
    format_of(data)
    format_of(data, whole=False)


# ---------------------------------------------------------------- the store


def _session() -> SessionState:
    began = SessionBegan(NOW, "atlas", "RM_1", ("AJ_1",), "w", "agent", NOW - 1.0)
    alice = ParticipantInfo(
        "alice", "PA_1", NOW - 1.0, name="Alice", metadata="{}",
        tracks=(TrackInfo("TR_1", "audio", "microphone"),),
    )  # fmt: skip
    state, _ = fold(None, began)
    state, _ = fold(state, Watching(NOW, Roster("RM_1", "", (alice,), NOW - 1.0)))
    return fold(state, DataReceived(NOW + 1.0, "alice", "chat", 5, "text"))[0]


_KINDS: Final = ("session_began", "watching", "participant_joined", "data_received", "Ended", "no")


def _journal(data: bytes) -> None:
    """A record, named by its first byte, and what a reader makes of it."""
    kind = _KINDS[data[0] % len(_KINDS)] if data else "session_began"
    record = decode_record(kind, data[1:])
    state = None if kind == "session_began" else _session()
    after, entries = fold(state, record)
    msgspec.json.encode(session_view(after, NOW + 60.0, entries))


def _state(data: bytes) -> None:
    msgspec.json.encode(session_view(decode_state(data), NOW))


def _records() -> list[bytes]:
    alice = ParticipantInfo("alice", "PA_1", NOW)
    records: list[Record] = [
        SessionBegan(NOW, "atlas", "RM_1", (), "w", "agent", None),
        Watching(NOW, Roster("RM_1", "", (alice,), None)),
        DataReceived(NOW, "alice", "chat", 5, "text"),
    ]
    encoded = [encode_record(record) for record in records]
    return [bytes((_KINDS.index(kind),)) + body for kind, body in encoded]


def _positions(data: bytes) -> None:
    session_queries.read_list_cursor(data.decode("latin-1"))


def _event_id(data: bytes) -> None:
    event_stream._position(data.decode("latin-1"))


# ---------------------------------------------------------------- HTTP and the command line


def _cookie(data: bytes) -> None:
    scope: Any = {"headers": [(b"cookie", data)], "server": ("localhost", 8088)}
    for name in (b"room_actors_8088", data[:20]):
        list(sign_in._cookies(scope, name))


def _pattern(data: bytes) -> None:
    regex_of(data.decode("utf-8", "replace")[:NAME_LENGTH]).match("team-1" * 40)


def _in_a_file(read: Callable[[Path], object]) -> Callable[[bytes], None]:
    folder = tempfile.TemporaryDirectory(prefix="room-actors-fuzz-")

    def decode(data: bytes) -> None:
        path = Path(folder.name) / "file"
        path.write_bytes(data)
        read(path)

    return decode


def _protobufs(*messages: Message) -> list[bytes]:
    return [one.SerializeToString() for one in messages]


_TOML: Final = b"""url = "ws://localhost:7880"
api-key = "key"
watch = ["team-*"]
keep = "90d"
status-every = 30
visible = false
"""

DECODERS: Final = {
    row.name: row
    for row in (
        Decoder(
            "worker-socket",
            _worker_socket,
            [m.registered(), m.offer(m.job()), m.assignment(m.job()), m.termination("AJ_1"),
             m.pong(), m.go_away("restart")],
        ),
        Decoder(
            "api-answer",
            _api_answer,
            _protobufs(
                room.ListRoomsResponse(rooms=[models.Room(sid="RM_1", name="atlas")]),
                room.ListParticipantsResponse(
                    participants=[models.ParticipantInfo(sid="PA_1", attributes={"a": "b"})]
                ),
            ),
        ),
        Decoder(
            "api-error",
            _api_error,
            [b'{"code":"not_found","msg":"no such room","meta":{"a":"b"}}', b"invalid token: x"],
        ),
        Decoder(
            "refused-upgrade",
            _refused_upgrade,
            [b"Sat, 01 Aug 2026 10:00:00 GMT", b"token is expired"],
        ),
        Decoder(
            "agent-traces",
            _agent_traces,
            [
                agent_uploads.traces_of(
                    agent_uploads.RUN,
                    agent_uploads.MadeSpan(name, attributes={"lk.function_tool.id": "call_1"}),
                )
                for name in ("agent_speaking", "user_turn", "function_tool", "job_entrypoint")
            ],
            (BadUpload,),
        ),
        Decoder(
            "agent-logs",
            _agent_logs,
            [
                agent_uploads.logs_of(
                    agent_uploads.RUN, "chat_history", "chat item", attributes={"chat.item": item}
                )
                for item in _ITEMS
            ],
            (BadUpload,),
        ),
        Decoder(
            "agent-upload-gzip", _agent_gzip, agent_uploads.captured("traces")[:1], (BadUpload,)
        ),
        Decoder(
            "agent-report-header",
            _agent_report_header,
            [agent_uploads.captured_report()[0]],
            (BadUpload,),
        ),
        Decoder(
            "agent-chat-history",
            _agent_chat_history,
            [
                agent_uploads.history_of([{"type": kind, **fields}])
                for item in _ITEMS
                for kind, fields in item.items()
            ],
            (BadUpload,),
        ),
        Decoder(
            "agent-report-form",
            _agent_report_form,
            [agent_uploads.form(("header", b"h"), ("chat_history", b"{}"), ("audio", b"OggS"))],
            (BadUpload, UploadTooLarge),
        ),
        Decoder(
            "agent-token",
            _agent_token,
            [f"Bearer {agent_uploads.token(at=NOW)}".encode()],
        ),
        Decoder(
            "webhook",
            _webhook,
            [
                webhook_sender.body_of(
                    webhook_sender.event(
                        name, created_at=int(NOW), participant=who,
                        track=models.TrackInfo(sid="TR_1"),
                    )
                )
                for who in (models.ParticipantInfo(sid="PA_1", identity="alice", joined_at=1),)
                for name in ("room_started", "participant_joined", "participant_left",
                             "participant_connection_aborted", "track_published",
                             "track_unpublished", "room_finished", "egress_started",
                             "egress_ended")
            ],
        ),
        Decoder("message", _message, [b'{"message":"hello","ignoreLegacy":true}', b"hi", b"\0"]),
        Decoder("journal-record", _journal, _records(), (Unreadable, ValueError)),
        Decoder("journal-state", _state, [encode_state(_session())], (Unreadable,)),
        Decoder(
            "journal-entries",
            decode_entries,
            [encode_entries([TimelineEntry(NOW, "data_message", {"size": 5, "topic": None})])],
            (Unreadable,),
        ),
        Decoder("journal-lines", unpack, [bytes.fromhex("dd00000000")], (Unreadable,)),
        Decoder(
            "journal-chunk",
            unpack_chunk,
            [zlib.compress(bytes.fromhex("dd00000000"))],
            (Unreadable,),
        ),
        Decoder("cursor", _positions, [b"1790000000000000"], (BadCursor,)),
        Decoder("event-id", _event_id, [b"1790000000000000-1"], (HTTPException,)),
        Decoder("pattern", _pattern, [b"team-*", b"\\[team]", b"[^a-z]?"]),
        Decoder("cookie", _cookie, [b"room_actors_8088=1790000000.abc; other=1", b'a="b\\"c"']),
        Decoder(
            "config",
            _in_a_file(lambda path: read_settings({"config": str(path)}, {})),
            [_TOML],
            (SettingsError,),
            in_a_file=True,
        ),
        Decoder(
            "env-file",
            _in_a_file(read_env_file),
            [b"LIVEKIT_URL=ws://localhost\nexport A='b c' # d\nB=\"x\\n\""],
            (BadValue,),
            in_a_file=True,
        ),
        Decoder("key-file", _in_a_file(read_key_file), [b"key: secret\n'a': \"b\"\n"],
                (BadValue,), in_a_file=True),
    )
}  # fmt: skip
"""By name."""
