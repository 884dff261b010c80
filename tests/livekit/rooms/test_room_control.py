"""Acting on rooms: one contract over the real server and the simulated rooms."""

from __future__ import annotations

import pytest
import trio

from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    RoomControl,
)
from actors.session import Permissions
from actors.session.events import (
    DataReceived,
    Disconnected,
    ParticipantLeft,
    PermissionsChanged,
    RoomMetadataChanged,
    TrackMuted,
    TrackUnpublished,
)
from actors.simulation.simulated_room_control import SimulatedRoomControl
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.livekit_room_control import LiveKitRoomControl
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.rooms.room_stage import RealStage, Recorder, SimulatedStage, Stage


class Contract:
    async def test_somebody_is_removed_and_then_not_there(
        self, stage: Stage, control: RoomControl
    ) -> None:
        await stage.join("alice")
        bob = await stage.join("bob")
        await bob.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            await control.remove(stage.room, "bob")
            left = await recorder.wait(ParticipantLeft, identity="bob")
            assert (left.sid, left.reason) == (bob.sid, "participant_removed")
            with pytest.raises(ControlNotFound):
                await control.remove(stage.room, "bob")

    async def test_a_track_is_muted_once_or_again(self, stage: Stage, control: RoomControl) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            for _ in range(2):
                await control.mute(stage.room, "alice", microphone)
            muted = await recorder.wait(TrackMuted)
            assert (muted.identity, muted.track_sid) == ("alice", microphone)

    async def test_permissions_are_taken_with_the_tracks_and_given_back(
        self, stage: Stage, control: RoomControl
    ) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        log = Recorder()
        async with stage.open(log):
            none = Permissions(can_publish=False, can_publish_data=False)
            await control.set_permissions(stage.room, "alice", none)
            unpublished = await log.wait(TrackUnpublished, identity="alice")
            assert unpublished.track_sid == microphone
            taken = await log.wait(PermissionsChanged, identity="alice")
            assert taken.permissions == none
            only_camera = Permissions(sources=("camera",))
            await control.set_permissions(stage.room, "alice", only_camera)
            changed = await log.wait(PermissionsChanged, permissions=only_camera)
            assert changed.identity == "alice"
            with pytest.raises(ControlNotFound):
                await control.set_permissions(stage.room, "nobody", none)

    async def test_a_track_or_a_person_that_is_not_there_is_not_found(
        self, stage: Stage, control: RoomControl
    ) -> None:
        await stage.join("alice")
        with pytest.raises(ControlNotFound):
            await control.mute(stage.room, "alice", "TR_none")
        with pytest.raises(ControlNotFound):
            await control.mute(stage.room, "nobody", "TR_none")

    async def test_a_message_reaches_the_room_and_has_no_sender(
        self, stage: Stage, control: RoomControl
    ) -> None:
        await stage.join("alice")
        recorder = Recorder()
        async with stage.open(recorder):
            with trio.fail_after(60):
                # Our data channel opens a moment after the entry; until then nothing arrives.
                while not recorder.all(DataReceived):
                    await control.send(stage.room, b"lost", identities=["nobody"])
                    await control.send(stage.room, b"soon over", topic="notice")
                    await trio.sleep(0.1)
        for message in recorder.all(DataReceived):
            assert (message.identity, message.topic, message.size) == (None, "notice", 9)

    async def test_the_list_of_people_has_the_silent_ones_at_once_by_the_order_of_their_joins(
        self, stage: Stage, control: RoomControl
    ) -> None:
        assert list(await control.people(stage.room)) == []
        alice, bob = await stage.join("alice"), await stage.join("bob")
        people = await control.people(stage.room)
        assert [(one.identity, one.sid) for one in people] == [
            ("alice", alice.sid),
            ("bob", bob.sid),
        ]
        assert 0 < people[0].joined_at < people[1].joined_at
        assert not any(one.restricted for one in people)

    async def test_metadata_is_replaced(self, stage: Stage, control: RoomControl) -> None:
        await stage.join("alice")
        recorder = Recorder()
        async with stage.open(recorder):
            await control.set_metadata(stage.room, "after")
            assert (await recorder.wait(RoomMetadataChanged)).metadata == "after"

    async def test_a_room_is_ended_but_no_other_instance_of_its_name(
        self, stage: Stage, control: RoomControl
    ) -> None:
        alice = await stage.join("alice")
        recorder = Recorder()
        async with stage.open(recorder) as room:
            with pytest.raises(ControlNotFound):
                await control.end(stage.room, "RM_another")
            assert not recorder.all(Disconnected)
            await control.end(stage.room, alice.room_sid)
            assert await room.closed() == "room_deleted"
        with pytest.raises(ControlNotFound):
            await control.end(stage.room, alice.room_sid)

    async def test_every_act_on_a_room_that_is_not_there_is_not_found(
        self, stage: Stage, control: RoomControl
    ) -> None:
        room = stage.room
        raised: list[str] = []

        async def fails(act: str) -> None:
            acts = {
                "remove": lambda: control.remove(room, "alice"),
                "mute": lambda: control.mute(room, "alice", "TR_1"),
                "send": lambda: control.send(room, b"hello"),
                "metadata": lambda: control.set_metadata(room, "m"),
                "end": lambda: control.end(room, "RM_1"),
            }
            with pytest.raises(ControlNotFound):
                await acts[act]()
            raised.append(act)

        async with trio.open_nursery() as nursery:
            for act in ("remove", "mute", "send", "metadata", "end"):
                nursery.start_soon(fails, act)
        assert len(raised) == 5


class TestLiveKit(Contract):
    @pytest.fixture
    def stage(self, real: RealStage) -> Stage:
        return real

    @pytest.fixture
    def control(self, real: RealStage) -> RoomControl:
        return LiveKitRoomControl(real.api)


class TestSimulated(Contract):
    @pytest.fixture
    def stage(self, simulated: SimulatedStage) -> Stage:
        return simulated

    @pytest.fixture
    def control(self, simulated: SimulatedStage) -> RoomControl:
        return SimulatedRoomControl(simulated.rooms)


# ---------------------------------------------------------------- what LiveKit answers


async def test_a_key_that_may_not_is_refused(livekit_server: PrivateServer) -> None:
    wrong = ApiKey(livekit_server.api_key, "another-secret-that-is-long-enough")
    async with ServerApi(Endpoint.parse(livekit_server.url), wrong) as api:
        with pytest.raises(ControlRefused) as caught:
            await LiveKitRoomControl(api).remove("standup", "alice")
    assert "eyJ" not in str(caught.value)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with ServerApi(Endpoint.parse("ws://127.0.0.1:9"), ApiKey("key", "s" * 40)) as api:
        control = LiveKitRoomControl(api)
        for act in (control.remove("a", "b"), control.mute("a", "b", "c"), control.end("a", "b")):
            with pytest.raises(ControlUnavailable):
                await act


async def test_simulated_acts_fail_as_a_test_wants(simulated: SimulatedStage) -> None:
    control = SimulatedRoomControl(simulated.rooms)
    alice = await simulated.join("alice")
    control.fault = lambda act, room: ControlTimedOut(f"{act} {room}")
    with pytest.raises(ControlTimedOut, match="remove standup"):
        await control.remove(simulated.room, "alice")
    assert alice.present


async def test_a_simulated_message_reaches_those_it_is_for(simulated: SimulatedStage) -> None:
    control = SimulatedRoomControl(simulated.rooms)
    alice, bob = await simulated.join("alice"), await simulated.join("bob")
    await control.send(simulated.room, b"for you", topic="t", identities=["bob"])
    await control.send(simulated.room, b"for all", topic="t")
    assert alice.received == [("t", b"for all")]
    assert bob.received == [("t", b"for you"), ("t", b"for all")]
