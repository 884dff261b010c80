"""The acts `say` and `play`: an announcement in the room of the rule, once, with its outcome."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.acting.announcing_acts import announcing_kinds
from actors.publishing.announcements import Announcements
from actors.publishing.publishing_port import SoundFile, Speech
from actors.rules.acts import BadAct, PlayFile, SayText, read_acts
from tests.acting.ruled_world import RuledWorld
from tests.publishing.publishing_stage import Stage, open_stage

RECORDED = {
    "name": "recorded",
    "rooms": ["team-*"],
    "when": {"people": "== 1"},
    "then": [{"say": "This room is recorded."}, {"play": "/srv/gong.wav"}],
}
ROOM = "team-1"


@asynccontextmanager
async def announcing(*watched: str) -> AsyncGenerator[tuple[RuledWorld, Stage], None]:
    """A simulated program with the rule, and simulated rooms in which it can publish."""
    rules = RuledWorld(RECORDED)
    async with open_stage(*watched) as stage:

        async def announcements() -> Announcements:
            return stage.announcements

        rules.world.acting.more_kinds = announcing_kinds(announcements)
        async with rules.running():
            yield rules, stage


async def test_each_is_played_once_and_its_length_stands_in_the_timeline(virtual_time: int) -> None:
    async with announcing(ROOM) as (rules, stage):
        rules.room(ROOM, "alice")
        await trio.sleep(20)
        assert rules.done == [
            ("act_done", "say", None, "said, 1.0 s"),
            ("act_done", "play", None, "played, 1.0 s"),
        ]
        assert stage.studio.made == [Speech("This room is recorded."), SoundFile("/srv/gong.wav")]
        assert len(stage.port.rooms[ROOM].entries) == 2
        assert stage.log[1][1]["by"] == "rule recorded"


async def test_what_fails_stands_there_with_its_reason_and_the_next_act_follows(
    virtual_time: int,
) -> None:
    async with announcing(ROOM) as (rules, stage):
        stage.port.rooms[ROOM].faults = ["publish_hangs"]
        rules.room(ROOM, "alice")
        await trio.sleep(30)
        assert rules.done == [
            ("act_failed", "say", None, "the server did not publish the track within 5 s"),
            ("act_done", "play", None, "played, 1.0 s"),
        ]


async def test_a_room_that_cannot_be_announced_in_is_no_endless_try(virtual_time: int) -> None:
    async with announcing() as (rules, stage):
        stage.watch(ROOM, encrypted=True)
        rules.room(ROOM, "alice")
        await trio.sleep(20)
        assert [event for event, *_ in rules.done] == ["act_failed", "act_failed"]
        assert "encrypted end to end" in rules.done[0][3]


async def test_after_a_kill_nothing_is_said_twice(virtual_time: int) -> None:
    async with announcing(ROOM) as (rules, stage):
        rules.room(ROOM, "alice")
        await trio.sleep(1.0)
        assert stage.port.rooms[ROOM].frames
        await rules.restart()
        await trio.sleep(20)
        assert [content for content in stage.studio.made if isinstance(content, Speech)] == [
            Speech("This room is recorded.")
        ]
        event, act, _, result = rules.done[0]
        assert (event, act) == ("act_failed", "say")
        assert result.startswith("not known")


def test_the_words_of_a_rule() -> None:
    acts = [{"say": "Hello."}, {"say": {"text": "Hallo.", "voice": "de"}}, {"play": "gong.wav"}]
    assert read_acts(acts) == (SayText("Hello."), SayText("Hallo.", "de"), PlayFile("gong.wav"))


@pytest.mark.parametrize("act", [{"say": "..."}, {"say": "x" * 2_001}, {"play": ""}, "say", "play"])
def test_an_act_without_words_or_a_file_is_refused(act: object) -> None:
    with pytest.raises(BadAct):
        read_acts([act])
