"""The request of a job, and the message about wrong metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.monitoring.monitoring_request import (
    FEATURES,
    MAX_METADATA,
    BadRequest,
    MonitoringRequest,
    parse_request,
    wanted_identity,
)


def of(**metadata: Any) -> str:
    return json.dumps(metadata)


@pytest.mark.parametrize("metadata", ["", "  ", "{}"])
def test_empty_metadata_asks_for_everything_of_everybody(metadata: str) -> None:
    assert parse_request(metadata) == MonitoringRequest(features=frozenset(FEATURES))


def test_each_key_of_the_metadata_is_taken() -> None:
    request = parse_request(
        of(
            participant_identity="user123",
            monitoring_type="custom",
            monitoring_features=["connection_quality"],
            end_on_disconnect=True,
            notification_preferences={"speaking_alerts": False, "quality_alerts": True},
            custom_settings={"inactivity_timeout": 20, "quality_threshold": 0.9},
        )
    )
    assert request == MonitoringRequest(
        features=frozenset({"connection_quality"}),
        participant_identity="user123",
        end_on_disconnect=True,
        speaking_alerts=False,
        quality_alerts=True,
        inactivity_timeout=20.0,
        quality_threshold=0.9,
    )


def test_a_basic_monitor_looks_at_quality_and_activity_only() -> None:
    features = parse_request(of(monitoring_type="basic")).features
    assert features == {"connection_quality", "activity_tracking"}


@pytest.mark.parametrize(
    "metadata, part",
    [
        ("{", "the job's metadata is wrong"),
        ("[]", "Expected `object`"),
        ("\ud800", "the job's metadata is wrong"),
        (of(monitoring_type="all"), "monitoring_type"),
        (of(end_on_disconnect="yes"), "end_on_disconnect"),
        (of(participant="bob"), "unknown field `participant`"),
        (of(monitoring_type="custom"), "needs monitoring_features: connection_quality, "),
        (of(monitoring_features=["connection_quality"]), "needs monitoring_type custom"),
        (
            of(monitoring_type="custom", monitoring_features=["smile"]),
            "smile is none of connection_quality, ",
        ),
        (
            of(monitoring_type="custom", monitoring_features=["voice_activity"]),
            "ask for speaking_detection",
        ),
        (of(custom_settings={"speaking_threshold": 0.01}), "audio.active_level"),
        (of(custom_settings={"quality_threshold": 2}), "quality_threshold"),
        (of(custom_settings={"inactivity_timeout": 0}), "inactivity_timeout"),
        (" " * (MAX_METADATA + 1), "more than 65536 characters"),
        ("[" * 60_000, "the job's metadata is wrong"),
    ],
)
def test_wrong_metadata_is_an_error_of_one_short_line(metadata: str, part: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_request(metadata)
    assert part in str(error.value)
    assert len(str(error.value)) <= 200
    assert str(error.value).isprintable()
    assert wanted_identity(metadata) is None


def test_a_key_of_a_stranger_s_metadata_cannot_bring_control_characters_into_the_error() -> None:
    with pytest.raises(BadRequest) as error:
        parse_request(json.dumps({"\x1b[31m\n": 1}))
    assert str(error.value).isprintable()
