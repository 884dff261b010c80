"""Answers of servers to calls of egress, and their translation."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from google.protobuf.message import Message
from livekit.protocol import egress

from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    ControlUnsupported,
    RoomControlError,
)
from actors.session.recording_reports import RecordingOutput, RecordingRequest, StorageTarget
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.livekit_egress import LiveKitEgress
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.worker.raw_server import http_answer, raw_server, read_request

REQUEST = RecordingRequest((RecordingOutput("/out/{room_name}.mp4"),), "speaker", audio_only=True)
INBOX = "https://rooms.example.org/livekit/webhook"


def twirp(code: str, text: str, status: int) -> bytes:
    body = f'{{"code": "{code}", "msg": "{text}"}}'.encode()
    return http_answer(f"{status} Error", body, "Content-Type: application/json")


def protobuf(message: Message) -> bytes:
    return http_answer("200 OK", message.SerializeToString(), "Content-Type: application/protobuf")


class FakeEgress:
    """Answers each egress call as LiveKit was measured to, and remembers the requests."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers
        self.requests: list[tuple[str, bytes]] = []

    async def handle(self, stream: trio.SocketStream) -> None:
        request = await read_request(stream)
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += await stream.receive_some(65536)
        method = head.split(b" ")[1].decode().rsplit("/", 1)[1]
        self.requests.append((method, body))
        await stream.send_all(self._answers[method])


STARTING = protobuf(egress.EgressInfo(egress_id="EG_1", status=egress.EGRESS_STARTING))
NONE = protobuf(egress.ListEgressResponse())
NO_SUCH_CALL = twirp("bad_route", "no handler for path", 404)


async def test_a_server_that_does_not_know_the_newer_call_gets_the_older_one() -> None:
    server = FakeEgress(
        {
            "ListEgress": NONE,
            "StartEgress": NO_SUCH_CALL,
            "StartRoomCompositeEgress": STARTING,
        }
    )
    async with raw_server(server.handle) as address:
        key = ApiKey("key", "s" * 40)
        async with ServerApi(Endpoint.parse(f"ws://{address}"), key) as api:
            port = LiveKitEgress(api, webhook_url=lambda: INBOX)
            for intent in ("i1", "i2"):
                assert (await port.start("standup", REQUEST, intent)).egress_id == "EG_1"
    asked = [method for method, _ in server.requests]
    assert asked.count("StartEgress") == 1, "it is asked for the newer call once"
    older = [body for method, body in server.requests if method == "StartRoomCompositeEgress"]
    request = egress.RoomCompositeEgressRequest.FromString(older[0])
    assert (request.room_name, request.layout, request.audio_only) == ("standup", "speaker", True)
    assert [output.filepath for output in request.file_outputs] == ["/out/{room_name}.mp4"]
    (webhook,) = request.webhooks
    assert (webhook.url, webhook.signing_key) == (f"{INBOX}?intent=i1", "key")


@pytest.mark.parametrize(
    "target, field, expected",
    [
        (
            StorageTarget("s3", "calls", "SECRET", "AKIA", "eu-central-1", "https://s3.test", True),
            "s3",
            egress.S3Upload(
                bucket="calls",
                secret="hush",
                access_key="AKIA",
                region="eu-central-1",
                endpoint="https://s3.test",
                force_path_style=True,
            ),
        ),
        (
            StorageTarget("gcs", "calls", "SECRET"),
            "gcp",
            egress.GCPUpload(bucket="calls", credentials="hush"),
        ),
        (
            StorageTarget("azure", "calls", "SECRET", "account"),
            "azure",
            egress.AzureBlobUpload(
                container_name="calls", account_key="hush", account_name="account"
            ),
        ),
    ],
    ids=["s3", "gcs", "azure"],
)
async def test_a_storage_is_in_either_call(
    target: StorageTarget, field: str, expected: Message
) -> None:
    server = FakeEgress({"ListEgress": NONE, "StartEgress": STARTING})
    older = FakeEgress(
        {"ListEgress": NONE, "StartEgress": NO_SUCH_CALL, "StartRoomCompositeEgress": STARTING}
    )
    request = RecordingRequest((RecordingOutput("a.mp4", target), RecordingOutput("b.mp4")))
    for one in (server, older):
        async with (
            raw_server(one.handle) as address,
            ServerApi(Endpoint.parse(f"ws://{address}"), ApiKey("key", "s" * 40)) as api,
        ):
            port = LiveKitEgress(api, environment={"SECRET": "hush"})
            await port.start("standup", request, "i1")
    new = egress.StartEgressRequest.FromString(dict(server.requests)["StartEgress"])
    assert getattr(new.outputs[0].storage, field) == expected
    assert not new.outputs[1].HasField("storage")
    assert not new.webhooks
    old = egress.RoomCompositeEgressRequest.FromString(
        dict(older.requests)["StartRoomCompositeEgress"]
    )
    assert getattr(old.file_outputs[0], field) == expected


async def test_an_error_that_quotes_the_request_shows_no_secret() -> None:
    answers = {
        "ListEgress": NONE,
        "StartEgress": twirp("invalid_argument", "bad storage: key hush-hush at calls", 400),
    }
    target = StorageTarget("s3", "calls", "SECRET")
    request = RecordingRequest((RecordingOutput("a.mp4", target),))
    async with (
        raw_server(FakeEgress(answers).handle) as address,
        ServerApi(Endpoint.parse(f"ws://{address}"), ApiKey("key", "s" * 40)) as api,
    ):
        port = LiveKitEgress(api, environment={"SECRET": "hush-hush"})
        with pytest.raises(ControlRefused, match="at calls") as caught:
            await port.start("standup", request, "i1")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "method, answer, error",
    [
        (
            "ListEgress",
            twirp("internal", "egress not connected (redis required)", 500),
            ControlUnsupported,
        ),
        ("StartEgress", twirp("unavailable", "no response from servers", 503), ControlUnavailable),
        ("StartEgress", twirp("invalid_argument", "bad output", 400), ControlRefused),
        ("StartEgress", twirp("not_found", "requested room does not exist", 404), ControlNotFound),
        ("StopEgress", twirp("failed_precondition", "egress ended", 412), ControlNotFound),
        ("StopEgress", twirp("not_found", "egress does not exist", 404), ControlNotFound),
        ("StopEgress", twirp("deadline_exceeded", "request timed out", 408), ControlTimedOut),
        ("StopEgress", twirp("permission_denied", "permissions denied", 403), ControlRefused),
        ("StopEgress", http_answer("200 OK", b"\xff"), ControlUnavailable),
    ],
)
async def test_what_a_server_answers_has_its_error(
    method: str, answer: bytes, error: type[RoomControlError]
) -> None:
    answers = {"ListEgress": NONE, method: answer}
    async with (
        raw_server(FakeEgress(answers).handle) as address,
        ServerApi(Endpoint.parse(f"ws://{address}"), ApiKey("key", "s" * 40)) as api,
    ):
        port = LiveKitEgress(api)
        stops = method == "StopEgress"
        act = port.stop("EG_1") if stops else port.start("standup", REQUEST, "i1")
        with pytest.raises(RoomControlError) as caught:
            await act
    assert type(caught.value) is error
