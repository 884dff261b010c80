"""A room in which more is said and changed than can be taken in."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
import trio

from actors.session.events import (
    AttributesChanged,
    DataReceived,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    ParticipantLeft,
    TrackMuted,
    TrackSubscribed,
    TrackUnmuted,
)
from bridge.livekit.rooms import intake, seams
from tests.livekit.rooms.room_stage import PATIENCE, RealStage, Recorder

LIMIT = 8
SENT = 3 * LIMIT


class Jam:
    """Stops the intake of a room, as if its turn were long in coming."""

    def __init__(self, room: object, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(intake, "QUEUE_LIMIT", LIMIT)
        inside = cast("Any", room)
        self.came: list[Any] = []
        """Native messages."""
        self.queue = inside.intake.queue
        self.queue._scheduled = True
        handle = inside._room._ffi_handle.handle
        route = seams._routes[handle]

        def note(event: Any) -> None:
            route(event)
            self.came.append(event.room_event)

        patch.setitem(seams._routes, handle, note)

    @property
    def counts(self) -> Counter[str]:
        return Counter(event.WhichOneof("message") for event in tuple(self.came))

    async def until(self, name: str, count: int = 1) -> None:
        """Native threads put, and tell nobody."""
        with trio.fail_after(PATIENCE):
            while self.counts[name] < count:  # noqa: ASYNC110
                await trio.sleep(0.01)

    async def until_metadata(self, text: str) -> None:
        """Wait for this text: LiveKit may send several changes of one moment as one."""
        with trio.fail_after(PATIENCE):
            while True:
                came = tuple(self.came)
                places = [
                    n
                    for n, one in enumerate(came)
                    if one.participant_metadata_changed.metadata == text
                ]
                if places and any(
                    one.HasField("participants_updated") for one in came[places[0] :]
                ):
                    return
                await trio.sleep(0.01)

    def end(self) -> None:
        while len(self.queue):
            self.queue.take_turn()


async def test_messages_that_nobody_has_time_for_are_counted_and_nothing_else_is_lost(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await real.join("alice"), await real.join("bob")
    await alice.publish("microphone")
    await bob.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, count=2)
        jam = Jam(room, monkeypatch)
        for number in range(SENT):
            await alice.send_data(bytes(number + 1))
        await jam.until("data_packet_received", SENT)
        for _ in range(LIMIT):
            await alice.send_text("too much")
        await bob.leave()
        await jam.until("text_stream_opened", LIMIT)
        await jam.until("participant_disconnected")
        assert recorder.all(DataReceived) == []
        jam.end()
        await recorder.wait(ParticipantLeft, identity="bob")
        received, thinned = recorder.all(DataReceived), recorder.all(MessagesDropped)
        assert [event.size for event in received] == list(range(1, len(received) + 1))
        assert 0 < len(received) <= LIMIT
        assert len(received) + sum(event.messages for event in thinned) == SENT + LIMIT
        await alice.send_data(bytes(1000))
        await recorder.wait(DataReceived, size=1000)
    assert recorder.all(MessagesDropped) == thinned
    recorder.check_frame()


CHANGES = {
    "participant_metadata_changed": MetadataChanged,
    "participant_name_changed": NameChanged,
    "participant_attributes_changed": AttributesChanged,
    "track_muted": TrackMuted,
    "track_unmuted": TrackUnmuted,
}


async def test_of_what_changes_faster_than_it_can_be_taken_in_the_newest_is_told(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await real.join("alice", attributes={"gone": "soon", "kept": "yes"})
    bob = await real.join("bob")
    microphone = await alice.publish("microphone")
    await bob.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, count=2)
        jam = Jam(room, monkeypatch)
        for _ in range(LIMIT):
            await alice.send_data(b"{}")
        await jam.until("data_packet_received", LIMIT)
        for number in range(LIMIT):
            await alice.set_metadata(f"step {number}")
            await alice.set_name(f"Alice {number}")
            await alice.set_attributes({"gone": "", f"key {number % 3}": f"{number}"})
            await alice.mute(microphone)
            await alice.unmute(microphone)
        await alice.set_metadata("the end")
        await jam.until_metadata("the end")
        await bob.leave()
        await jam.until("participant_disconnected")
        assert len(jam.queue) < 3 * LIMIT < LIMIT * len(CHANGES)
        jam.end()
        await recorder.wait(ParticipantLeft, identity="bob")
        (after,) = [one for one in recorder.folded().participants if one.identity == "alice"]
        assert (after.metadata, after.name) == ("the end", f"Alice {LIMIT - 1}")
        assert after.attributes == {"kept": "yes", "key 0": "6", "key 1": "7", "key 2": "5"}
        assert [track.muted for track in after.tracks] == [False]
        assert room.roster().participants == recorder.folded().participants
        overtaken = sum(event.changes for event in recorder.all(MessagesDropped))
        observed = sum(len(recorder.all(kind)) for kind in CHANGES.values())
        assert observed < 2 * len(CHANGES)
        assert observed + overtaken >= sum(jam.counts[name] for name in CHANGES)
    recorder.check_frame()
