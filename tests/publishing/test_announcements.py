"""Announcements: one at a time in a room, one source for many, and what fails stays alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.publishing import announcements
from actors.publishing.announcement_bounds import FILE_SIZE, TEXT_LENGTH
from actors.publishing.announcements import (
    MOST_CLIP_BYTES,
    MOST_ROOMS,
    MOST_WAITING_IN_ROOM,
    AnnouncementRefused,
    AnnouncementSettings,
)
from actors.publishing.playback import LATE_AFTER, LEAD, PLAYOUT, QUEUE, QUIET, feed
from actors.publishing.publishing_port import (
    ImageData,
    MovingPattern,
    SoundContent,
    SoundData,
    SoundError,
    SoundFile,
    Speech,
    TextCard,
)
from actors.publishing.sound import FRAME_SECONDS, AudioClip
from actors.runtime import Crashed
from tests.publishing.publishing_stage import ONE_SECOND, hello, open_stage
from tests.publishing.tones import tone


async def test_a_participant_enters_speaks_with_a_lead_and_leaves_after_a_silence(
    virtual_time: int,
) -> None:
    async with open_stage("team-1") as stage:
        record = stage.announcements.announce("team-1", hello(), "api")
        await record.over.wait()
        room = stage.port.rooms["team-1"]
        assert record.parts["team-1"].outcome == "played"
        assert record.parts["team-1"].first_sound == pytest.approx(0.25, abs=0.01)
        assert b"".join(frame for _, frame in room.frames) == ONE_SECOND.samples
        first = room.frames[0][0]
        offsets = [round(at - first, 3) for at, _ in room.frames]
        assert offsets == [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        assert room.left_at == pytest.approx(first + 1.0 + PLAYOUT + QUIET)
        (entry,) = room.entries
        assert (entry.name, room.tracks) == ("Announcement", [("TTS Audio", "microphone")])
        assert [event for event, _ in stage.log] == [
            "announcement_published",
            "announcement_spoken",
            "announcement_ended",
        ]
        assert stage.playbacks == 0


@pytest.mark.parametrize("silence, leaves", [(3.0, 3.0), (60.0, PLAYOUT + QUIET + 4.4)])
async def test_a_participant_waits_for_a_server_that_still_calls_it_a_speaker_but_not_for_ever(
    silence: float, leaves: float, virtual_time: int
) -> None:
    async with open_stage("team-1") as stage:
        room = stage.port.rooms["team-1"]
        room.silence_delay = silence
        record = stage.announcements.announce("team-1", hello(), "api")
        await record.over.wait()
        assert record.parts["team-1"].outcome == "played"
        assert room.left_at == pytest.approx(room.frames[-1][0] + leaves, abs=0.01)


async def test_rooms_of_one_order_share_one_source_and_the_sound_is_made_once(
    virtual_time: int,
) -> None:
    async with open_stage(*(f"team-{n}" for n in range(20)), "lobby") as stage:
        record = stage.announcements.announce("team-*", hello(), "api")
        await record.over.wait()
        assert {part.outcome for part in record.parts.values()} == {"played"}
        assert len(record.parts) == 20
        assert (stage.port.sources, len(stage.studio.made)) == (1, 1)
        first = {room.frames[0][0] for room in stage.port.rooms.values()}
        assert len(first) == 1
        assert "lobby" not in stage.port.rooms


async def test_two_hundred_announcements_leave_nothing_and_never_overlap(virtual_time: int) -> None:
    async with open_stage("team-1", "team-2") as stage:
        for _ in range(100):
            for room in ("team-1", "team-2"):
                if len(stage.announcements.open) >= MOST_WAITING_IN_ROOM:
                    await stage.announcements.open[0].over.wait()
                stage.announcements.announce(room, hello(), "api")
        while stage.announcements.open:
            await stage.announcements.open[0].over.wait()
        for room in stage.port.rooms.values():
            assert len(room.entries) == len(room.tracks) == 100
            assert (room.most_present, room.present) == (1, 0)
            assert len({entry.identity for entry in room.entries}) == 100
        assert (stage.port.open_sources, stage.playbacks) == (0, 0)


async def test_a_room_that_is_entered_late_hears_all_of_it_later(virtual_time: int) -> None:
    async with open_stage("team-1", "team-2") as stage:
        stage.port.rooms["team-2"].faults = ["enter_hangs"]
        record = stage.announcements.announce("team-*", hello(), "api")
        await record.over.wait()
        first, second = (stage.port.rooms[name] for name in ("team-1", "team-2"))
        assert {part.outcome for part in record.parts.values()} == {"played"}
        assert first.frames[0][0] < 0.25 + LATE_AFTER + 0.01
        assert b"".join(frame for _, frame in second.frames) == ONE_SECOND.samples
        assert second.frames[0][0] > first.frames[-1][0]


@pytest.mark.parametrize(
    "fault, error",
    [
        ("enter_fails", "the room was not entered: 500"),
        ("enter_hangs", "the room was not entered within 15 s"),
        ("publish_fails", "the server refused the track"),
        ("publish_hangs", "the server did not publish the track within 5 s"),
        ("crash", "an internal error"),
    ],
)
async def test_a_fault_fails_this_announcement_and_no_other(
    fault: str, error: str, virtual_time: int
) -> None:
    async with open_stage("team-1", "team-2") as stage:
        stage.port.rooms["team-1"].faults = [fault]  # type: ignore[list-item]
        bad = stage.announcements.announce("team-1", hello(), "api")
        after = stage.announcements.announce("team-1", hello(), "api")
        beside = stage.announcements.announce("team-2", hello(), "api")
        for record in (bad, after, beside):
            await record.over.wait()
        assert bad.error == error
        assert after.error == beside.error == ""
        assert (stage.playbacks, stage.port.open_sources) == (0, 0)
        assert sum(isinstance(one, Crashed) for one in stage.signals) == (fault == "crash")
        failed = [fields["error"] for event, fields in stage.log if event == "announcement_failed"]
        assert failed == [error]


async def test_a_lost_room_ends_it_there_and_the_others_hear_it_whole(virtual_time: int) -> None:
    async with open_stage("team-1", "team-2") as stage:
        record = stage.announcements.announce("team-*", hello(), "api")
        await trio.sleep(0.7)
        stage.port.rooms["team-1"].lose()
        await record.over.wait()
        assert record.parts["team-1"].error == "the room was lost: room_deleted"
        assert record.parts["team-2"].outcome == "played"
        assert len(stage.port.rooms["team-2"].frames) == 10


async def test_where_nobody_listens_it_does_not_wait_for_ever(virtual_time: int) -> None:
    async with open_stage("team-1") as stage:
        stage.port.rooms["team-1"].faults = ["nobody"]
        record = stage.announcements.announce("team-1", hello(), "api")
        with trio.fail_after(10):
            await record.over.wait()
        assert record.error == ""


async def test_a_room_that_ends_while_an_announcement_waits_is_not_entered(
    virtual_time: int,
) -> None:
    async with open_stage("team-1") as stage:
        stage.announcements.announce("team-1", hello(), "api")
        second = stage.announcements.announce("team-1", hello(), "api")
        del stage.rooms["team-1"]
        await second.over.wait()
        assert second.error == "the room is not watched any more"
        assert len(stage.port.rooms["team-1"].entries) == 1


async def test_a_sound_that_cannot_be_made_fails_before_anybody_enters(virtual_time: int) -> None:
    def make(_: SoundContent) -> AudioClip:
        raise SoundError("there is no speech engine; install espeak-ng")

    async with open_stage("team-1", make=make) as stage:
        record = stage.announcements.announce("team-1", hello(), "api")
        await record.over.wait()
        assert record.error == "there is no speech engine; install espeak-ng"
        assert not stage.port.rooms["team-1"].entries


async def test_stop_leaves_at_once_and_what_waits_never_begins(virtual_time: int) -> None:
    async with open_stage("team-1", make=lambda _: tone(60.0)) as stage:
        first = stage.announcements.announce("team-1", hello(), "api")
        second = stage.announcements.announce("team-1", hello(), "api")
        await trio.sleep(2)
        stage.announcements.close()
        await first.over.wait()
        await second.over.wait()
        assert trio.current_time() < 3
        assert first.error == second.error == "it was stopped"
        with pytest.raises(AnnouncementRefused, match="stopping"):
            stage.announcements.announce("team-1", hello(), "api")


async def test_no_more_rooms_at_once_than_the_bound(virtual_time: int) -> None:
    names = [f"team-{n}" for n in range(MOST_ROOMS + 10)]
    async with open_stage(*names) as stage:
        record = stage.announcements.announce("team-*", hello(), "api")
        await record.over.wait()
        assert {part.outcome for part in record.parts.values()} == {"played"}
        assert stage.port.sources == 2


@pytest.mark.parametrize(
    "room, content, why",
    [
        ("nowhere", Speech("Hello."), "not_found"),
        ("team-1", Speech("x" * (TEXT_LENGTH + 1)), "bad"),
        ("team-1", Speech(" \x00\x1b[2J "), None),
        ("team-1", Speech("\u202e \n ..."), "bad"),
        ("team-1", SoundData(b""), "bad"),
        ("team-1", SoundData(b"\0" * (FILE_SIZE + 1)), "bad"),
        ("secret", Speech("Hello."), "not_allowed"),
        ("team-1", SoundFile("x.wav"), None),
    ],
)
async def test_what_is_taken(
    room: str, content: SoundContent, why: str | None, virtual_time: int
) -> None:
    async with open_stage("team-1") as stage:
        stage.watch("secret", encrypted=True)
        if why is None:
            record = stage.announcements.announce(room, content, "api")
            if isinstance(record.announcement.content, Speech):
                assert record.announcement.content.text == "[2J"
        else:
            with pytest.raises(AnnouncementRefused) as refused:
                stage.announcements.announce(room, content, "api")
            assert refused.value.why == why
            assert not stage.announcements.open


async def test_the_bytes_of_a_file_are_kept_only_until_its_sound_is_made(virtual_time: int) -> None:
    async with open_stage("team-1") as stage:
        first = stage.announcements.announce("team-1", SoundData(b"first"), "api")
        second = stage.announcements.announce("team-1", SoundData(b"second"), "api")
        await trio.sleep(0.5)
        assert (first.announcement.size, second.announcement.size) == (0, 6)
        assert stage.announcements.stop(second.id)
        await second.over.wait()
        assert (second.announcement.size, second.announcement.does) == (0, "play")


async def test_not_more_sound_is_in_memory_than_the_bound(virtual_time: int) -> None:
    rooms = [f"team-{n}" for n in range(12)]
    async with open_stage(*rooms, make=lambda _: tone(290.0)) as stage:
        orders = [stage.announcements.announce(room, hello(), "api") for room in rooms]
        await trio.sleep(1.0)
        refused = [one for one in orders if one.error]
        assert 1 <= len(refused) <= 2
        assert {one.error for one in refused} == {
            "too much other sound is played now; try again later"
        }
        size = len(tone(290.0).samples)
        assert (len(orders) - len(refused)) * size <= MOST_CLIP_BYTES


async def test_a_file_for_which_there_was_no_memory_is_played_later_in_a_busy_room(
    virtual_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "MOST_CLIP_BYTES", 3 * len(tone(1.0).samples) // 2)
    made: list[bytes] = []

    def make(content: SoundContent) -> AudioClip:
        made.append(content.content if isinstance(content, SoundData) else b"")
        return tone(1.0)

    async with open_stage("busy", "team-1", make=make) as stage:
        stage.announcements.announce("busy", hello(), "api")
        await trio.sleep(0.5)
        record = stage.announcements.announce("*", SoundData(b"a file"), "api")
        await record.over.wait()
        assert [record.parts[room].outcome for room in ("team-1", "busy")] == ["failed", "played"]
        assert made == [b"", b"a file", b"a file"]


async def test_a_room_has_a_bounded_queue(virtual_time: int) -> None:
    async with open_stage("team-1") as stage:
        for _ in range(MOST_WAITING_IN_ROOM + 1):  # One of them is played.
            stage.announcements.announce("team-1", hello(), "api")
        with pytest.raises(AnnouncementRefused, match="wait for this room"):
            stage.announcements.announce("team-1", hello(), "api")


async def test_texts_of_people_are_spoken_only_where_a_setting_says_so(virtual_time: int) -> None:
    async with open_stage("team-1") as stage:
        with pytest.raises(AnnouncementRefused, match="--speak-people-text"):
            stage.announcements.announce("team-1", hello(), "chat", from_people=True)
    async with open_stage("team-1", settings=AnnouncementSettings(people_text=True)) as stage:
        stage.announcements.announce("team-1", hello(), "chat", from_people=True)


class CountedSource:
    """Takes frames, and knows when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def capture(self, frame: bytes) -> None:
        assert len(frame) == ONE_SECOND.format.frame_bytes
        self.times.append(trio.current_time())


async def test_after_the_loop_stood_still_no_frame_is_lost_in_a_full_queue(
    virtual_time: int,
) -> None:
    source, sound = CountedSource(), tone(6.0)
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)

    async def stand_still() -> None:
        await trio.sleep(2.0)
        clock.jump(3.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed, source, sound)
        nursery.start_soon(stand_still)
    assert len(source.times) == sound.frame_count
    queued, before = 0.0, source.times[0]
    for at in source.times:
        queued = max(0.0, queued - (at - before)) + FRAME_SECONDS
        assert queued <= min(QUEUE, LEAD + 2 * FRAME_SECONDS)
        before = at


async def test_a_picture_is_published_as_a_screen_and_sent_once_a_second(virtual_time: int) -> None:
    async with open_stage("team-1", "team-2") as stage:
        card = TextCard("This room is recorded", 3.5)
        record = stage.announcements.announce("team-*", card, "api")
        await record.over.wait()
        room = stage.port.rooms["team-1"]
        assert (record.announcement.does, record.seconds) == ("show", 3.5)
        assert room.tracks == [("Generated Video", "screen")]
        first = room.frames[0][0]
        assert [round(at - first, 3) for at, _ in room.frames] == [0, 1, 2, 3]
        assert {len(frame) > 1_000 for _, frame in room.frames} == {True}
        moving = stage.announcements.announce("team-1", MovingPattern("gradient", 1.0), "api")
        await moving.over.wait()
        assert 14 <= len(room.frames) - 4 <= 16
        broken = stage.announcements.announce("team-1", ImageData(b"GIF89a", 1.0), "api")
        await broken.over.wait()
        assert "only PNG and lossy WebP" in broken.error
        for content in (TextCard(" ", 1), TextCard("x", 0), TextCard("x", 4_000)):
            with pytest.raises(AnnouncementRefused):
                stage.announcements.announce("team-1", content, "api")
