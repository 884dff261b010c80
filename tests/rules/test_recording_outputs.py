"""The act `record` in the config file: what it takes, and what each mistake says."""

from __future__ import annotations

from typing import Any

import pytest

from actors.rules.acts import BadAct, StartRecording, read_acts
from actors.rules.recording_outputs import secret_names
from actors.session.recording_reports import RecordingOutput, RecordingRequest, StorageTarget

S3 = {
    "bucket": "calls", "region": "eu-central-1", "access_key": "AKIA", "secret_env": "CALLS_SECRET",
    "endpoint": "https://s3.test", "path_style": True,
}  # fmt: skip


@pytest.mark.parametrize(
    "value, request_",
    [
        (True, RecordingRequest()),
        ("{room_name}.mp4", RecordingRequest((RecordingOutput("{room_name}.mp4"),))),
        (
            {"audio_only": True, "file": "a.ogg", "layout": "speaker"},
            RecordingRequest((RecordingOutput("a.ogg"),), "speaker", audio_only=True),
        ),
        (
            {"outputs": [{"file": "a.mp4", "s3": S3}, {"file": "b.mp4"}]},
            RecordingRequest(
                (
                    RecordingOutput(
                        "a.mp4",
                        StorageTarget(
                            "s3", "calls", "CALLS_SECRET", "AKIA", "eu-central-1",
                            "https://s3.test", True,
                        ),
                    ),
                    RecordingOutput("b.mp4"),
                )
            ),
        ),
        (
            {"outputs": [{"gcs": {"bucket": "calls", "credentials_env": "GOOGLE"}}]},
            RecordingRequest((RecordingOutput("", StorageTarget("gcs", "calls", "GOOGLE")),)),
        ),
        (
            {"outputs": [{"azure": {"container": "c", "account": "a", "key_env": "KEY"}}]},
            RecordingRequest((RecordingOutput("", StorageTarget("azure", "c", "KEY", "a")),)),
        ),
    ],
)  # fmt: skip
def test_what_the_act_takes(value: Any, request_: RecordingRequest) -> None:
    (act,) = read_acts([{"record": value}])
    assert act == StartRecording(request_)


def test_the_environment_variables_that_it_needs() -> None:
    (act,) = read_acts([{"record": {"outputs": [{"s3": S3}, {"file": "b"}]}}])
    assert isinstance(act, StartRecording)
    assert secret_names(act.request) == ("CALLS_SECRET",)


@pytest.mark.parametrize(
    "value, part",
    [
        ({"file": "a", "outputs": [{}]}, "not both"),
        ({"outputs": []}, "list of 1 to 4"),
        ({"outputs": ["a.mp4"]}, "outputs[0] must be a table"),
        ({"outputs": [{"path": "a"}]}, "no key 'path'"),
        ({"outputs": [{"s3": S3, "gcs": {}}]}, "one of s3, gcs, azure"),
        ({"outputs": [{"s3": {**S3, "secret": "hush"}}]}, "no key 'secret'"),
        ({"outputs": [{"s3": {**S3, "secret_env": "wJalrXUtnFEMI/K7MD"}}]}, "not a secret"),
        ({"outputs": [{"s3": {"bucket": "calls"}}]}, "outputs[0].s3.secret_env must be a text"),
        ({"outputs": [{"gcs": {"credentials_env": "G"}}]}, "outputs[0].gcs.bucket"),
        ({"audio_only": "yes"}, "audio_only must be true or false"),
        ({"layout": 5}, "layout must be a text"),
    ],
)
def test_each_mistake_says_what_is_allowed_and_shows_no_secret(value: Any, part: str) -> None:
    with pytest.raises(BadAct) as caught:
        read_acts([{"record": value}])
    assert part in str(caught.value)
    assert caught.value.key.startswith("then[0].record")
    assert "hush" not in str(caught.value)
    assert "wJalr" not in str(caught.value)
