"""LiveKit's `EgressInfo` in our own words.  Pure.

An egress that we started says so: the webhook that its request names has the key of the intent in
its query (`INTENT_QUERY`).  A request is shown without its secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import Message
from livekit.protocol import egress

from actors.recording.egress_port import EgressState
from actors.session.recording_reports import (
    RecordingOutput,
    RecordingRequest,
    StorageService,
    StorageTarget,
)

STATUS_PREFIX: Final = "EGRESS_"
MAX_TEXT_LENGTH: Final = 2_000
"""Characters of an egress's error and of its file; the rest is cut off."""
INTENT_QUERY: Final = "intent"
MAX_INTENT_LENGTH: Final = 100


def egress_state(info: egress.EgressInfo) -> EgressState:
    """What LiveKit says of one egress."""
    return EgressState(
        egress_id=info.egress_id,
        room_sid=info.room_id,
        kind=egress_kind(info),
        status=egress_status(info.status),
        intent=egress_intent(info),
        request=_request(info),
        started_at=seconds_of(info.started_at),
        ended_at=seconds_of(info.ended_at),
        error=info.error[:MAX_TEXT_LENGTH] or None,
        file=egress_file(info),
        updated_at=seconds_of(info.updated_at) or 0.0,
    )


def egress_kind(info: egress.EgressInfo) -> str:
    """The name of LiveKit's request: ``room_composite``, ``track``, ``web``, ...; for the unified
    request the name of its source: ``template``, ``web`` or ``media``."""
    name = info.WhichOneof("request") or ""
    if name not in ("egress", "replay"):
        return name
    unified: Message = getattr(info, name)
    return unified.WhichOneof("source") or name


def egress_status(number: int) -> str:
    try:
        return egress.EgressStatus.Name(number).removeprefix(STATUS_PREFIX).lower()
    except ValueError:
        return f"status_{number}"


def egress_file(info: egress.EgressInfo) -> str | None:
    """The address of the recording, without the query that a signed address has after its `?`.

    The address of a live stream is left out: it is not a file, and it has the key to the stream.
    """
    files = [
        *(one.location or one.filename for one in info.file_results),
        *(one.playlist_location or one.playlist_name for one in info.segment_results),
        info.file.location or info.file.filename,
        info.segments.playlist_location or info.segments.playlist_name,
        info.manifest_location,
    ]
    file = next((one for one in files if one), "")
    return file.partition("?")[0][:MAX_TEXT_LENGTH] or None


def egress_intent(info: egress.EgressInfo) -> str:
    """The key of the intent that started it; empty where it is not ours or does not say."""
    name = info.WhichOneof("request") or ""
    request: Any = getattr(info, name, None)
    for webhook in getattr(request, "webhooks", ()):
        try:
            query = parse_qs(urlsplit(webhook.url).query)
        except ValueError:
            continue
        for intent in query.get(INTENT_QUERY, ()):
            return intent[:MAX_INTENT_LENGTH]
    return ""


def seconds_of(nanoseconds: int) -> float | None:
    return nanoseconds / 1e9 if nanoseconds else None


# ---------------------------------------------------------------- the request


def _request(info: egress.EgressInfo) -> RecordingRequest | None:
    """What was asked for, as far as we ask for such things; secrets and their names are not in
    it, so compare it with `without_secrets`."""
    if info.HasField("egress") and info.egress.HasField("template"):
        template = info.egress.template
        outputs = [_output(one.file.filepath, one.storage) for one in info.egress.outputs]
        return RecordingRequest(tuple(outputs), template.layout, template.audio_only)
    if info.HasField("room_composite"):
        composite = info.room_composite
        outputs = [_output(one.filepath, one) for one in composite.file_outputs]
        return RecordingRequest(tuple(outputs), composite.layout, composite.audio_only)
    return None


def _output(file: str, storage: Any) -> RecordingOutput:
    for service, bucket in _BUCKETS:
        if storage.HasField(_FIELDS[service]):
            target = getattr(storage, _FIELDS[service])
            return RecordingOutput(file, StorageTarget(service, getattr(target, bucket), ""))
    return RecordingOutput(file)


_FIELDS: Final[dict[StorageService, str]] = {"s3": "s3", "gcs": "gcp", "azure": "azure"}
_BUCKETS: Final[Sequence[tuple[StorageService, str]]] = (
    ("s3", "bucket"),
    ("gcs", "bucket"),
    ("azure", "container_name"),
)
