"""The request of a job about a participant: the metadata of its dispatch.

The metadata is a JSON object, or empty for a job that asks for everything.  Everybody who may
dispatch writes it, so a wrong one fails its job with a sentence that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import msgspec
from attrs import frozen
from msgspec import Meta, Struct

Feature: TypeAlias = Literal[
    "connection_quality", "speaking_detection", "activity_tracking", "video_activity"
]

FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)

_OF_TYPE: Final[Mapping[str, frozenset[Feature]]] = {
    "basic": frozenset(("connection_quality", "activity_tracking")),
    "full": frozenset(FEATURES),
}
"""The features of each monitoring type; `custom` lists its own."""

NOT_AVAILABLE: Final[Mapping[str, str]] = {
    "voice_activity": (
        "speech is taken from LiveKit's speakers, and no voice detector is installed; "
        "ask for speaking_detection"
    ),
    "speaking_threshold": (
        "speech is taken from LiveKit's speakers, whose level is set at the server "
        "(audio.active_level)"
    ),
}
"""Keys of the metadata that are not supported here, each with the reason."""

MAX_METADATA: Final = 64 << 10
"""Characters."""
MAX_ERROR: Final = 200
"""Characters of an error's text."""


class BadRequest(ValueError):
    """The metadata of a job is wrong.  The text says what, and holds no control character."""


@frozen
class MonitoringRequest:
    """The request of one job."""

    features: frozenset[Feature] = frozenset(FEATURES)
    participant_identity: str | None = None
    """Only this participant is to be monitored; None for everybody."""
    end_on_disconnect: bool = False
    """The job ends when the person leaves.  Else it waits for their return."""
    speaking_alerts: bool = True
    """Others in the room get a message when the person begins or stops to speak."""
    quality_alerts: bool = True
    """The person gets a message when their connection is poor."""
    inactivity_timeout: float | None = None
    """Seconds; None for that in the settings."""
    quality_threshold: float | None = None
    """0 to 1; None for that in the settings."""


class _Preferences(Struct, frozen=True, forbid_unknown_fields=True):
    speaking_alerts: bool = True
    quality_alerts: bool = True


class _CustomSettings(Struct, frozen=True, forbid_unknown_fields=True):
    inactivity_timeout: Annotated[float, Meta(gt=0)] | None = None
    quality_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    speaking_threshold: Any = None


class _Metadata(Struct, frozen=True, forbid_unknown_fields=True):
    participant_identity: str = ""
    monitoring_type: Literal["basic", "full", "custom"] = "full"
    end_on_disconnect: bool = False
    notification_preferences: _Preferences = _Preferences()
    custom_settings: _CustomSettings = _CustomSettings()
    monitoring_features: tuple[str, ...] = ()


_decode: Final = msgspec.json.Decoder(_Metadata).decode


def parse_request(metadata: str) -> MonitoringRequest:
    """The request in a job's metadata.  Raises `BadRequest`."""
    if len(metadata) > MAX_METADATA:
        raise BadRequest(f"the job's metadata has more than {MAX_METADATA} characters")
    if not metadata.strip():
        return MonitoringRequest()
    try:
        parsed = _decode(metadata)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(_harmless(f"the job's metadata is wrong: {error}")) from None
    if parsed.custom_settings.speaking_threshold is not None:
        raise BadRequest(f"speaking_threshold cannot be set: {NOT_AVAILABLE['speaking_threshold']}")
    return MonitoringRequest(
        features=_features_of(parsed),
        participant_identity=parsed.participant_identity or None,
        end_on_disconnect=parsed.end_on_disconnect,
        speaking_alerts=parsed.notification_preferences.speaking_alerts,
        quality_alerts=parsed.notification_preferences.quality_alerts,
        inactivity_timeout=parsed.custom_settings.inactivity_timeout,
        quality_threshold=parsed.custom_settings.quality_threshold,
    )


def wanted_identity(metadata: str) -> str | None:
    """Whom a job's metadata asks for; None for anybody, and where it is wrong.  Never raises."""
    try:
        return parse_request(metadata).participant_identity
    except BadRequest:
        return None


def _features_of(parsed: _Metadata) -> frozenset[Feature]:
    names = parsed.monitoring_features
    if parsed.monitoring_type != "custom":
        if names:
            raise BadRequest("monitoring_features needs monitoring_type custom")
        return _OF_TYPE[parsed.monitoring_type]
    for name in names:
        if name in NOT_AVAILABLE:
            raise BadRequest(f"{name} is not available: {NOT_AVAILABLE[name]}")
        if name not in FEATURES:
            known = ", ".join(FEATURES)
            raise BadRequest(_harmless(f"monitoring_features: {name[:40]} is none of {known}"))
    if not names:
        raise BadRequest(f"monitoring_type custom needs monitoring_features: {', '.join(FEATURES)}")
    return frozenset(one for one in FEATURES if one in names)


def _harmless(text: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable[:MAX_ERROR]
