"""The port to LiveKit's egress: one contract over a real server with a stand-in worker, over the
simulated egress, and over a real egress where one is named.

`ROOM_ACTORS_EGRESS_URL` names a LiveKit server with an egress worker, LIVEKIT_API_KEY and
LIVEKIT_API_SECRET its key.  It needs a worker that records a room's audio into a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import trio
from livekit.protocol import egress

from actors.recording.egress_port import EgressPort
from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnsupported,
)
from actors.session.recording_reports import RecordingOutput, RecordingRequest, StorageTarget
from actors.simulation.simulated_egress import SimulatedEgress
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.egress.psrpc import RpcRefused
from bridge.lab.egress.standin_egress import StandinEgress
from bridge.lab.people import People, open_people
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.livekit_egress import LiveKitEgress
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.egress.egress_stages import INBOX, EgressStage

REQUEST = RecordingRequest((RecordingOutput("{room_name}-{time}.ogg"),), audio_only=True)


class EgressContract:
    async def test_a_recording_is_started_listed_and_stopped(self, egress_stage: EgressStage):
        port = egress_stage.egress
        started = await port.start(egress_stage.room, REQUEST, "i1")
        assert (started.intent, started.room_sid) == ("i1", egress_stage.room_sid)
        assert started.status in ("starting", "active")
        active = await egress_stage.until(started.egress_id, "active")
        assert active.intent == "i1"
        assert active.request == REQUEST
        assert active.started_at == pytest.approx(time.time(), abs=60)
        (listed,) = await port.list_room(egress_stage.room)
        assert listed == active
        await port.stop(started.egress_id)
        over = await egress_stage.until(started.egress_id, "complete")
        assert over.is_over
        assert over.file
        assert (over.ended_at or 0) >= (over.started_at or 0)
        (stopped,) = await port.list_room(egress_stage.room)
        assert stopped == over
        with pytest.raises(ControlNotFound):
            await port.stop(started.egress_id)

    async def test_two_starts_make_two_recordings_and_each_says_whose_it_is(
        self, egress_stage: EgressStage
    ):
        port = egress_stage.egress
        ids = [(await port.start(egress_stage.room, REQUEST, key)).egress_id for key in "ab"]
        assert len(set(ids)) == 2
        listed = {one.egress_id: one.intent for one in await port.list_room(egress_stage.room)}
        assert listed == dict(zip(ids, "ab", strict=True))
        for egress_id in ids:
            await egress_stage.until(egress_id, "active")
            await port.stop(egress_id)

    async def test_one_without_a_key_is_known_by_what_it_records(self, egress_stage: EgressStage):
        before = time.time()
        started = await egress_stage.keyless.start(egress_stage.room, REQUEST, "i1")
        await egress_stage.until(started.egress_id, "active")
        (listed,) = await egress_stage.egress.list_room(egress_stage.room)
        assert not listed.intent
        assert listed.is_of("i1", REQUEST, before)
        assert not listed.is_of("i1", RecordingRequest(layout="other"), before)
        assert not listed.is_of("i1", REQUEST, before + 600)
        await egress_stage.egress.stop(started.egress_id)

    async def test_what_is_not_there_is_not_found(self, egress_stage: EgressStage):
        port = egress_stage.egress
        with pytest.raises(ControlNotFound):
            await port.start(egress_stage.no_room, REQUEST, "i1")
        with pytest.raises(ControlNotFound):
            await port.look_up("EG_none")
        with pytest.raises(ControlNotFound):
            await port.stop("EG_none")


class TestSimulated(EgressContract):
    @pytest.fixture
    async def egress_stage(self) -> AsyncIterator[EgressStage]:
        async with trio.open_nursery() as nursery:
            rooms = SimulatedRooms(time.time)
            room = rooms.room("standup")
            room.join("alice")
            port = SimulatedEgress(rooms, nursery, time.time)
            keyless = SimulatedEgress(rooms, nursery, time.time, carries_keys=False)
            keyless.recordings = port.recordings
            yield EgressStage("standup", room.sid, port, keyless)
            nursery.cancel_scope.cancel()


class TestStandin(EgressContract):
    @pytest.fixture
    async def egress_stage(self, egress_api: ServerApi, standin: StandinEgress) -> EgressStage:
        made = await egress_api.create_room(f"standin-{uuid4().hex[:8]}")
        port = LiveKitEgress(egress_api, webhook_url=lambda: INBOX)
        return EgressStage(made.name, made.sid, port, LiveKitEgress(egress_api))


if os.environ.get("ROOM_ACTORS_EGRESS_URL"):

    class TestRealEgress(EgressContract):
        @pytest.fixture
        async def egress_stage(self) -> AsyncIterator[EgressStage]:
            url = os.environ["ROOM_ACTORS_EGRESS_URL"]
            key = ApiKey(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
            room = f"egress-{uuid4().hex[:8]}"
            async with (
                ServerApi(Endpoint.parse(url), key) as api,
                open_people(url, key.key, key.secret) as people,
            ):
                alice = await people.join(room, "alice")
                await alice.publish("microphone")
                port = LiveKitEgress(api, webhook_url=lambda: INBOX)
                yield EgressStage(room, alice.room_sid, port, LiveKitEgress(api))


# ---------------------------------------------------------------- the stand-in's own


async def test_a_worker_that_refuses_says_why(
    egress_api: ServerApi, standin: StandinEgress
) -> None:
    made = await egress_api.create_room(f"refused-{uuid4().hex[:8]}")
    standin.refusal = RpcRefused("invalid_argument", "no such codec")
    with pytest.raises(ControlRefused, match="no such codec"):
        await LiveKitEgress(egress_api).start(made.name, REQUEST, "i1")


async def test_a_worker_that_died_does_not_answer_a_stop_and_its_recording_stays_active(
    egress_api: ServerApi, standin: StandinEgress
) -> None:
    made = await egress_api.create_room(f"dead-{uuid4().hex[:8]}")
    port = LiveKitEgress(egress_api)
    stage = EgressStage(made.name, made.sid, port, port)
    started = await port.start(made.name, REQUEST, "i1")
    await stage.until(started.egress_id, "active")
    standin.kill()
    with pytest.raises(ControlTimedOut):
        await port.stop(started.egress_id)
    assert (await port.look_up(started.egress_id)).status == "active"


async def test_the_secret_of_a_storage_is_in_the_request_and_in_nothing_that_we_show(
    egress_api: ServerApi, standin: StandinEgress
) -> None:
    made = await egress_api.create_room(f"secret-{uuid4().hex[:8]}")
    target = StorageTarget(
        "s3", "calls", "CALLS_SECRET", "AKIA", "eu-central-1", "https://s3.example.org", True
    )
    request = RecordingRequest((RecordingOutput("{room_name}.mp4", target),), "speaker")
    environment = {"CALLS_SECRET": "hush-hush"}
    port = LiveKitEgress(egress_api, webhook_url=lambda: INBOX, environment=environment)
    await port.start(made.name, request, "i1")
    (asked,) = standin.requests
    assert isinstance(asked, egress.StartEgressRequest)
    upload = asked.outputs[0].storage.s3
    assert (upload.bucket, upload.access_key, upload.secret) == ("calls", "AKIA", "hush-hush")
    assert (upload.region, upload.endpoint) == ("eu-central-1", "https://s3.example.org")
    assert upload.force_path_style
    (listed,) = await port.list_room(made.name)
    assert "hush" not in repr(listed)
    assert listed.is_of("i1", request, time.time())
    unset = LiveKitEgress(egress_api, environment={})
    with pytest.raises(ControlRefused, match="CALLS_SECRET"):
        await unset.start(made.name, request, "i2")
    assert len(standin.requests) == 1


async def test_a_server_without_redis_says_so_at_once(
    livekit_server: PrivateServer, people: People
) -> None:
    room = f"no-redis-{uuid4().hex[:8]}"
    await people.join(room, "alice")
    key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
    async with ServerApi(Endpoint.parse(livekit_server.url), key) as api:
        port: EgressPort = LiveKitEgress(api)
        with pytest.raises(ControlUnsupported, match="no Redis"):
            await port.start(room, REQUEST, "i1")
        with pytest.raises(ControlUnsupported):
            await port.list_room(room)
        with pytest.raises(ControlUnsupported):
            await port.look_up("EG_1")
