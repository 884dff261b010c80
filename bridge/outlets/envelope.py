"""The body of a delivery in each of the three formats.  Pure.

``standard``      Standard Webhooks 1.0.0: `type`, `timestamp`, `data`, and ours beside them.
``livekit``       LiveKit's own `WebhookEvent` as JSON, so that a receiver that was written with
                  LiveKit's SDKs reads it; the whole of ours is under `roomActors`, which these pass
                  over.
``cloudevents``   CloudEvents 1.0, structured mode: `specversion`, `id`, `source`, `type`, `time`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from actors.outlets.outlet_port import Delivery
from actors.session.time_text import rfc3339
from bridge.outlets.formats import Format

CONTENT_TYPES: Final[dict[Format, str]] = {
    "standard": "application/json",
    "livekit": "application/webhook+json",
    "cloudevents": "application/cloudevents+json",
}

MOST_BYTES: Final = 1 << 20
"""Of a body.  A summary that is longer goes without its lists (`trimmed`)."""

_encode: Final = msgspec.json.Encoder().encode


def whole(value: Any) -> Any:
    """`value` with every lone surrogate replaced: JSON parsers refuse the whole body for one."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return value


def body_of(delivery: Delivery, form: Format) -> bytes:
    """The JSON text, `MOST_BYTES` at most where the lists of its data may go."""
    body = _body(delivery, form, dict(delivery.data))
    if len(body) > MOST_BYTES:
        short = {key: value for key, value in delivery.data.items() if not _is_list(value)}
        body = _body(delivery, form, {**short, "trimmed": True})
    return body


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _body(delivery: Delivery, form: Format, data: dict[str, Any]) -> bytes:
    return _encode(_MAKE[form](delivery, whole(data)))


def _standard(delivery: Delivery, data: Any) -> dict[str, Any]:
    return {
        "type": delivery.event,
        "id": delivery.id,
        "timestamp": rfc3339(delivery.at),
        "sequence": delivery.sequence,
        "room": whole(delivery.room),
        "session": delivery.session,
        "data": data,
    }


def _livekit(delivery: Delivery, data: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "event": _LIVEKIT_NAMES.get(delivery.event, delivery.event),
        "id": delivery.id,
        "createdAt": str(int(delivery.at)),
        "room": {"sid": delivery.room_sid, "name": whole(delivery.room)},
    }
    is_track = delivery.event.startswith("track_")
    identity, sid, kind = data.get("identity"), data.get("sid"), data.get("kind")
    if isinstance(identity, str):
        who: dict[str, Any] = {"identity": identity}
        if delivery.event.startswith("participant_"):
            who |= _known(sid=sid, name=data.get("name"), kind=_LIVEKIT_KINDS.get(kind))
        event["participant"] = who
    if is_track:
        event["track"] = _known(
            sid=sid,
            type=_LIVEKIT_TYPES.get(kind),
            source=_LIVEKIT_SOURCES.get(data.get("source")),
            muted=data.get("muted"),
        )
    if delivery.event.startswith("recording_"):
        event["egressInfo"] = _known(
            egressId=data.get("id"),
            roomId=delivery.room_sid,
            roomName=event["room"]["name"],
            error=data.get("error"),
        )
    event["roomActors"] = _standard(delivery, data)
    return event


def _known(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


_LIVEKIT_KINDS: Final[dict[Any, str]] = {
    kind.lower(): kind for kind in ("STANDARD", "AGENT", "EGRESS", "INGRESS", "SIP")
}
_LIVEKIT_TYPES: Final[dict[Any, str]] = {"audio": "AUDIO", "video": "VIDEO"}
_LIVEKIT_SOURCES: Final[dict[Any, str]] = {
    "camera": "CAMERA",
    "microphone": "MICROPHONE",
    "screen": "SCREEN_SHARE",
    "screen_audio": "SCREEN_SHARE_AUDIO",
}

_LIVEKIT_NAMES: Final = {
    "participant_connected": "participant_joined",
    "participant_disconnected": "participant_left",
    "recording_started": "egress_started",
    "recording_ended": "egress_ended",
    "room_ended": "room_finished",
}
"""LiveKit's name where it has the same event; the others keep ours."""


def _cloud_event(delivery: Delivery, data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": delivery.id,
        "source": f"/room-actors/sessions/{delivery.session}",
        "type": f"room-actors.{delivery.event}",
        "time": rfc3339(delivery.at),
        "subject": whole(delivery.room),
        "sequence": str(delivery.sequence).zfill(12),
        "datacontenttype": "application/json",
        "data": data,
    }


_MAKE: Final = {"standard": _standard, "livekit": _livekit, "cloudevents": _cloud_event}
