"""The contract of the room port, on which a session may rely with every implementation.

Played twice: with real rooms in `test_livekit_rooms`, with simulated ones in
`test_simulated_rooms`.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors.rooms.room_port import OpenRoom, RoomRefused, RoomUnreachable
from actors.session.events import (
    AttributesChanged,
    DataReceived,
    Disconnected,
    MetadataChanged,
    NameChanged,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    RoomEvent,
    RoomMetadataChanged,
    SpeakersChanged,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackUnmuted,
    TrackUnpublished,
)
from actors.session.room_info import Roster, TrackInfo
from tests.livekit.rooms.room_stage import Recorder, Stage


class Contract:
    async def test_the_first_event_has_everyone_who_was_there_and_all_that_is_known_of_them(
        self, stage: Stage
    ) -> None:
        alice = await stage.join(
            "alice", name="Alice", metadata='{"team": "red"}', attributes={"hand": "up"}
        )
        microphone = await alice.publish("microphone")
        camera = await alice.publish("camera")
        await stage.visible(microphone, camera)
        await alice.mute(camera)
        recorder = Recorder()
        async with stage.open(recorder) as room:
            roster = recorder.watching.roster
            assert roster == room.roster()
        assert roster.room_sid == alice.room_sid
        assert roster.created_at is not None
        assert roster.created_at <= alice.joined_at
        (person,) = roster.participants
        assert person.identity == "alice"
        assert person.sid == alice.sid
        assert person.joined_at == pytest.approx(alice.joined_at, abs=0.0011)
        assert person.kind == "standard"
        assert person.name == "Alice"
        assert person.metadata == '{"team": "red"}'
        assert person.attributes == {"hand": "up"}
        tracks = {track.sid: track for track in person.tracks}
        assert set(tracks) == {microphone, camera}
        assert (tracks[microphone].kind, tracks[microphone].source) == ("audio", "microphone")
        assert (tracks[camera].kind, tracks[camera].source) == ("video", "camera")
        assert (tracks[microphone].muted, tracks[camera].muted) == (False, True)
        assert not recorder.all(TrackPublished)

    async def test_the_frames_of_a_video_are_counted_while_it_is_asked_for(
        self, stage: Stage
    ) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        camera = await alice.publish("camera")
        await stage.visible(microphone, camera)
        async with stage.open(Recorder()) as room:
            counts = [0]
            with trio.fail_after(20):
                while len(counts) < 4:
                    frames = await room.video_frames(frozenset((camera, "TR_nothing")))
                    assert frames.get("TR_nothing", 0) == 0
                    if frames.get(camera, 0) > counts[-1]:
                        counts.append(frames[camera])
                    await trio.sleep(0.1)
            assert await room.video_frames(frozenset()) == {}

    async def test_nobody_who_comes_while_we_connect_is_missed_or_told_twice(
        self, stage: Stage
    ) -> None:
        await stage.join("first")
        names = [f"person-{number}" for number in range(10)]

        async def come(name: str) -> None:
            person = await stage.join(name)
            await person.publish("microphone")

        recorder = Recorder()
        async with trio.open_nursery() as nursery:
            for name in names[:5]:
                nursery.start_soon(come, name)
            async with stage.open(recorder):
                for name in names[5:]:
                    nursery.start_soon(come, name)
                await recorder.until(lambda: set(recorder.known()) >= {"first", *names}, "everyone")
                await recorder.until(lambda: len(recorder.tracks()) == 10, "every track")
        assert sorted(recorder.known()) == sorted(["first", *names])
        assert len(set(recorder.tracks())) == 10
        recorder.check_frame()

    async def test_a_person_comes_publishes_and_goes(self, stage: Stage) -> None:
        recorder = Recorder()
        async with stage.open(recorder):
            alice = await stage.join("alice", name="Alice", metadata="m")
            tracks = [
                await alice.publish(source)
                for source in ("microphone", "camera", "screen", "screen_audio")
            ]
            for sid in tracks:
                await recorder.published(sid)
            await alice.leave()
            left = await recorder.wait(ParticipantLeft)
        joined = await recorder.joined("alice")
        assert joined.participant.sid == alice.sid
        assert joined.participant.joined_at == pytest.approx(alice.joined_at, abs=0.0011)
        assert (joined.participant.name, joined.participant.metadata) == ("Alice", "m")
        published = {event.track.sid: event.track for event in recorder.all(TrackPublished)}
        assert [(published[sid].kind, published[sid].source) for sid in tracks] == [
            ("audio", "microphone"),
            ("video", "camera"),
            ("video", "screen"),
            ("audio", "screen_audio"),
        ]
        assert (left.identity, left.sid) == ("alice", alice.sid)
        assert left.reason == "client_initiated"
        unpublished = recorder.all(TrackUnpublished, identity="alice")
        assert {event.track_sid for event in unpublished} == set(tracks)
        assert all(
            recorder.events.index(event) < recorder.events.index(left) for event in unpublished
        )

    async def test_a_track_that_is_taken_back_is_told(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        screen = await alice.publish("screen")
        await stage.visible(screen)
        recorder = Recorder()
        async with stage.open(recorder) as room:
            await alice.unpublish(screen)
            assert (await recorder.wait(TrackUnpublished)).track_sid == screen
            (person,) = room.roster().participants
            assert person.tracks == ()

    async def test_mute_and_unmute(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        await stage.visible(microphone)
        recorder = Recorder()
        async with stage.open(recorder) as room:
            await alice.mute(microphone)
            await recorder.wait(TrackMuted, identity="alice", track_sid=microphone)
            (person,) = room.roster().participants
            assert person.tracks[0].muted
            await alice.unmute(microphone)
            await recorder.wait(TrackUnmuted, identity="alice", track_sid=microphone)

    async def test_changes_of_name_metadata_and_attributes(self, stage: Stage) -> None:
        alice = await stage.join("alice", attributes={"hand": "up", "team": "red"})
        recorder = Recorder()
        async with stage.open(recorder) as room:
            await alice.set_name("Alice B")
            await recorder.wait(NameChanged, identity="alice", name="Alice B")
            await alice.set_metadata("not JSON {")
            await recorder.wait(MetadataChanged, identity="alice", metadata="not JSON {")
            await alice.set_attributes({"hand": "", "seat": "7"})
            changed = await recorder.wait(AttributesChanged, identity="alice")
            assert changed.changed == {"hand": "", "seat": "7"}
            (person,) = room.roster().participants
            assert (person.name, person.metadata) == ("Alice B", "not JSON {")
            assert person.attributes == {"team": "red", "seat": "7"}

    async def test_metadata_of_the_room(self, stage: Stage) -> None:
        await stage.join("alice")
        recorder = Recorder()
        async with stage.open(recorder) as room:
            await stage.set_room_metadata('{"topic": "plans"}')
            await recorder.wait(RoomMetadataChanged, metadata='{"topic": "plans"}')
            assert room.roster().metadata == '{"topic": "plans"}'

    async def test_somebody_who_is_sent_away_leaves_with_that_reason(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            await stage.remove("alice")
            assert (await recorder.wait(ParticipantLeft)).reason == "participant_removed"

    async def test_a_quick_rejoin_is_a_leave_and_then_a_join_under_another_sid(
        self, stage: Stage
    ) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            await alice.leave()
            again = await stage.join("alice")
            await again.publish("microphone")
            joined = await recorder.joined("alice")
            left = await recorder.wait(ParticipantLeft)
        assert left.sid == alice.sid
        assert joined.participant.sid == again.sid != alice.sid
        assert recorder.events.index(left) < recorder.events.index(joined)

    async def test_a_second_one_of_the_same_identity_replaces_the_first(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder) as room:
            other = await stage.join("alice")
            joined = await recorder.joined("alice")
            left = recorder.all(ParticipantLeft)
            assert [(event.sid, event.reason) for event in left] == [(alice.sid, None)]
            assert recorder.events.index(left[0]) < recorder.events.index(joined)
            assert [person.sid for person in room.roster().participants] == [other.sid]

    async def test_data_of_every_kind(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            # Our data channel opens some milliseconds after we are in the room.
            await recorder.wait(TrackSubscribed)
            messages = [
                (b'{"x": 1}', "json"),
                (b"[1, 2]", "json"),
                (b"{not json", "text"),
                ("grüß dich".encode(), "text"),
                (b"5", "text"),
                (b"\xff\xfe\x00", "binary"),
            ]
            for number, (payload, _) in enumerate(messages):
                await alice.send_data(payload, topic=f"t{number}")
            await alice.send_data(b"now or never", reliable=False)
            await recorder.wait(DataReceived, count=len(messages) + 1)
        data = recorder.all(DataReceived)
        assert {event.identity for event in data} == {"alice"}
        reliable = [event for event in data if event.reliable]
        assert [(e.topic, e.size, e.format) for e in reliable] == [
            (f"t{number}", len(payload), kind) for number, (payload, kind) in enumerate(messages)
        ]
        (lossy,) = [event for event in data if not event.reliable]
        assert (lossy.topic, lossy.size, lossy.format) == ("", 12, "text")
        assert not any(event.stream for event in data)
        assert {event.content for event in data} == {None}

    async def test_text_streams_have_their_sender_and_their_size(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            await recorder.wait(TrackSubscribed)
            text = "long " * 20_000
            await alice.send_text("hello")
            await alice.send_text(text)
            await alice.send_text('{"a": 1}', topic="votes")
            await recorder.wait(DataReceived, count=3)
        data = sorted(recorder.all(DataReceived), key=lambda event: event.size)
        assert [(e.identity, e.topic, e.size, e.format) for e in data] == [
            ("alice", "lk.chat", 5, "text"),
            ("alice", "votes", 8, "json"),
            ("alice", "lk.chat", len(text), "text"),
        ]
        assert all(event.stream and event.reliable and event.content is None for event in data)

    async def test_a_message_of_the_server_has_no_sender(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder):
            # Our data channel opens some milliseconds after we are in the room.
            await recorder.wait(TrackSubscribed)
            await stage.server_says(b"closing soon", "notice")
            message = await recorder.wait(DataReceived)
        assert (message.identity, message.topic, message.size) == (None, "notice", 12)

    async def test_agents_are_told_as_agents_and_hidden_ones_not_at_all(self, stage: Stage) -> None:
        await stage.join("helper", kind="agent")
        await stage.join("shadow", hidden=True)
        recorder, other = Recorder(), Recorder()
        async with stage.open(recorder, "agent-1"), stage.open(other, "agent-2") as second:
            bot = await stage.join("bot", kind="agent")
            await bot.publish("microphone")
            joined = await recorder.joined("bot")
            await other.joined("bot")
            assert joined.participant.kind == "agent"
            (first,) = recorder.watching.roster.participants
            assert (first.identity, first.kind) == ("helper", "agent")
            assert {p.identity for p in second.roster().participants} == {"helper", "bot"}

    async def test_who_speaks(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        await stage.visible(microphone)
        recorder = Recorder()
        async with stage.open(recorder):
            await recorder.wait(TrackSubscribed, identity="alice", track_sid=microphone)
            await alice.speak(True)
            await recorder.wait(SpeakersChanged, identities=("alice",))
            await alice.speak(False)
            await recorder.wait(SpeakersChanged, identities=())

    async def test_of_each_person_one_track_is_taken_the_microphone_if_there_is_one(
        self, stage: Stage
    ) -> None:
        alice, bob = await stage.join("alice"), await stage.join("bob")
        camera = await alice.publish("camera")
        microphone = await alice.publish("microphone")
        screen = await bob.publish("screen")
        await stage.visible(camera, microphone, screen)
        recorder = Recorder()
        async with stage.open(recorder):
            await recorder.wait(TrackSubscribed, count=2)
            taken = {event.identity: event.track_sid for event in recorder.all(TrackSubscribed)}
            assert taken == {"alice": microphone, "bob": screen}
            better = await bob.publish("microphone")
            await recorder.wait(TrackSubscribed, identity="bob", track_sid=better)
            second = await alice.publish("screen_audio")
            await recorder.published(second)
            await alice.unpublish(camera)
            await recorder.wait(TrackUnpublished, track_sid=camera)
        assert [e.track_sid for e in recorder.all(TrackSubscribed)] == [
            *[e.track_sid for e in recorder.all(TrackSubscribed)[:2]],
            better,
        ]

    async def test_names_of_every_sort_come_through_as_they_are(self, stage: Stage) -> None:
        names = ["a\nb", "\x1b[31mred", "émile 🎈", "x" * 200, "{identity}", "<b>"]
        for name in names:
            await stage.join(name, name=f"{name}!", metadata=name, attributes={"n": name})
        recorder = Recorder()
        async with stage.open(recorder):
            people = {person.identity: person for person in recorder.watching.roster.participants}
            assert set(people) == set(names)
            for name, person in people.items():
                assert (person.name, person.metadata) == (f"{name}!", name)
                assert person.attributes == {"n": name}
            speaker = people[names[0]].identity
            dave = await stage.join("dave\n")
            await dave.send_text("hi", topic="a\nb")
            message = await recorder.wait(DataReceived)
        assert (message.identity, message.topic) == ("dave\n", "a\nb")
        assert speaker == names[0]

    async def test_after_a_reconnect_the_roster_tells_who_is_there(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        microphone = await alice.publish("microphone")
        await stage.visible(microphone)
        recorder = Recorder()
        async with stage.open(recorder) as room:
            await recorder.wait(TrackSubscribed, track_sid=microphone)
            await stage.full_reconnect(room)
            back = await recorder.wait(Reconnected)
            await recorder.wait(Reconnecting)
            assert back.roster.room_sid == recorder.watching.roster.room_sid
            assert [p.sid for p in back.roster.participants] == [alice.sid]
            assert {event.reason for event in recorder.all(ParticipantLeft)} <= {None}
            await recorder.wait(TrackSubscribed, count=2, track_sid=microphone)
            assert [p.identity for p in room.roster().participants] == ["alice"]
        recorder.check_frame()

    async def test_a_roster_is_at_every_moment_what_was_told_so_far(self, stage: Stage) -> None:
        """The roster may show names, metadata and attributes a moment before their events:
        the SDK takes them over from a summary that comes first."""

        def tracks(roster: Roster) -> dict[str, set[TrackInfo]]:
            return {person.sid: set(person.tracks) for person in roster.participants}

        alice = await stage.join("alice", name="Alice")
        microphone = await alice.publish("microphone")
        await stage.visible(microphone)
        rosters: list[tuple[Roster, Roster]] = []
        recorder = Recorder()

        def compare(event: RoomEvent) -> None:
            recorder(event)
            if opened and not isinstance(event, Disconnected):
                rosters.append((opened[0].roster(), recorder.folded()))

        opened: list[OpenRoom] = []
        async with stage.port.open(stage.job(), compare) as room:
            opened.append(room)
            await alice.mute(microphone)
            await alice.set_metadata("m")
            bob = await stage.join("bob")
            camera = await bob.publish("camera")
            await bob.mute(camera)
            await recorder.joined("bob")
            await bob.set_attributes({"hand": "up"})
            await bob.send_data(b"hello")
            await bob.unmute(camera)
            await bob.unpublish(camera)
            await alice.unmute(microphone)
            await alice.set_name("Alice B")
            await alice.leave()
            await bob.set_attributes({"hand": ""})
            await recorder.wait(AttributesChanged, identity="bob", changed={"hand": ""})
            await recorder.wait(ParticipantLeft, identity="alice")
        assert len(rosters) >= 5
        for shown, folded in rosters:
            assert tracks(shown) == tracks(folded)
        assert rosters[-1][0].participants == rosters[-1][1].participants

    async def test_leaving_says_goodbye_last_and_nothing_comes_after_it(self, stage: Stage) -> None:
        alice = await stage.join("alice")
        await alice.publish("microphone")
        recorder = Recorder()
        async with stage.open(recorder) as room:
            pass
        assert recorder.events[-1] == Disconnected(recorder.events[-1].at, "client_initiated")
        assert await room.closed() == "client_initiated"
        assert [p.identity for p in room.roster().participants] in (["alice"], [])
        await alice.send_data(b"too late")
        await alice.leave()
        await trio.testing.wait_all_tasks_blocked(0.05)
        recorder.check_frame()

    async def test_a_room_that_is_deleted_ends_the_connection_with_that_reason(
        self, stage: Stage
    ) -> None:
        await stage.join("alice")
        recorder = Recorder()
        async with stage.open(recorder) as room, trio.open_nursery() as nursery:
            nursery.start_soon(stage.delete_room)
            assert await room.closed() == "room_deleted"
            assert isinstance(recorder.events[-1], Disconnected)
            assert recorder.events[-1].reason == "room_deleted"
        recorder.check_frame()

    async def test_two_watch_one_room(self, stage: Stage) -> None:
        recorder, other = Recorder(), Recorder()
        async with stage.open(recorder, "agent-1"):
            async with stage.open(other, "agent-2"):
                alice = await stage.join("alice")
                await alice.publish("microphone")
                await recorder.joined("alice")
                await other.joined("alice")
            await alice.leave()
            await recorder.wait(ParticipantLeft)
        assert not other.all(ParticipantLeft)

    async def test_a_refusal_is_told_as_such_and_nothing_was_offered(self, stage: Stage) -> None:
        recorder = Recorder()
        with pytest.raises(RoomRefused, match="401") as caught:
            async with stage.port.open(stage.refused(), recorder):
                raise AssertionError("not reached")
        assert "eyJ" not in str(caught.value)
        assert recorder.events == []

    async def test_a_server_that_is_not_there_is_unreachable(self, stage: Stage) -> None:
        recorder = Recorder()
        with pytest.raises(RoomUnreachable):
            async with stage.port.open(stage.unreachable(), recorder):
                raise AssertionError("not reached")
        assert recorder.events == []

    async def test_cancelling_inside_leaves_the_room(self, stage: Stage) -> None:
        recorder = Recorder()
        opened: list[OpenRoom] = []
        with trio.CancelScope() as scope:
            async with stage.open(recorder) as room:
                opened.append(room)
                scope.cancel()
                await trio.sleep_forever()
        assert await opened[0].closed() == "client_initiated"
        recorder.check_frame()
