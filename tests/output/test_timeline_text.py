"""A session's timeline as text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.session import SessionView, TrackInfo
from bridge.output.cells import cell_len
from bridge.output.timeline_text import ASCII, MOST, UNICODE, Glyphs, draw
from tests.session.session_story import Story, camera, microphone, person

ALICE = person("alice", "PA_1", 0.0, microphone("TR_1"))


def drawn(session: SessionView, width: int = 50, glyphs: Glyphs = UNICODE) -> list[str]:
    return [line.plain for line in draw(session, width, glyphs)]


def lane(lines: list[str], title: str) -> str:
    """The cells of one row; a label of 9 cells and a blank are before them."""
    (found,) = [line for line in lines if line.startswith(f"{title} ")]
    return found[10:]


def forty_seconds(story: Story) -> SessionView:
    """A label of 9 cells and a blank leave 50 cells: one a second."""
    story.ends(40.0)
    return story.session()


def test_a_voice_is_here_on_muted_or_talking() -> None:
    story = Story(ALICE)
    story.speaking(5.0, "alice")
    story.speaking(9.25)
    story.muted(20.0, "alice", "TR_1")
    story.unmuted(25.0, "alice", "TR_1")
    story.unpublished(30.0, "alice", "TR_1")
    story.left(35.0, "alice", "PA_1")
    voice = lane(drawn(forty_seconds(story)), "alice")
    assert voice == "─" * 5 + "████▂" + "─" * 10 + "mmmmm" + "─" * 5 + "·····"


def test_video_data_and_quality_have_a_row_each_where_there_was_any() -> None:
    story = Story(person("alice", "PA_1"))
    assert len(drawn(story.session(40.0))) == len(drawn(Story(ALICE).session(40.0)))
    story.published(1.0, "alice", camera("TR_2"))
    story.published(3.0, "alice", TrackInfo("TR_3", "video", "screen"))
    story.muted(5.0, "alice", "TR_2")
    for number in range(12):
        story.data(7.0 + number / 100, "alice")
    story.data(9.0, "alice")
    story.quality(10.0, "alice", "PA_1", "excellent")
    story.quality(12.0, "alice", "PA_1", "poor")
    story.quality(13.0, "alice", "PA_1", "good")
    story.quality(15.5, "alice", "PA_1", "lost")
    lines = drawn(forty_seconds(story))
    assert lane(lines, "  video") == " ccbb" + "s" * 35
    assert lane(lines, "  data") == " " * 7 + "+ 1"
    assert lane(lines, "  quality") == " " * 10 + "eepgg" + "!" * 25


def test_a_gap_is_hatched_over_everybody_and_has_a_row_of_its_own() -> None:
    story = Story(ALICE, person("bob", "PA_2"))
    story.reconnecting(10.0)
    story.reconnected(13.0, ALICE, person("bob", "PA_2"))
    lines = drawn(forty_seconds(story))
    assert lane(lines, "not seen") == " " * 10 + "▒▒▒"
    assert lane(lines, "alice") == "─" * 10 + "▒▒▒" + "─" * 27
    assert lane(lines, "bob") == "·" * 10 + "▒▒▒" + "·" * 27


def test_colour_repeats_what_a_character_says() -> None:
    story = Story(ALICE)
    story.quality(10.0, "alice", "PA_1", "poor")
    styles: dict[str, set[str]] = {}
    for line in draw(forty_seconds(story), 50, UNICODE):
        for span in line.spans:
            styles.setdefault(line.plain[:9].strip(), set()).add(str(span.style))
    assert {"yellow"} <= styles["alice"] <= {"yellow", ""}
    assert "yellow" in styles["quality"]


def test_whoever_was_there_longest_comes_first_and_the_rest_is_counted() -> None:
    story = Story()
    for number in range(100):
        story.joined(number / 10, person(f"person-{number}", f"PA_{number}", number / 10))
    lines = drawn(forty_seconds(story))
    shown = [line.split()[0] for line in lines if line.startswith("person-")]
    assert shown == [f"person-{number}" for number in range(MOST)]
    assert f"and {100 - MOST} more, who were there for a shorter time" in lines


HOSTILE = (
    "李雷" * 30,
    "e" + "\u0301" * 500,
    "❤️🇩🇪👍🏽",
    "\x1b[31mred\x1b]0;t\x07",
    "\u202eabc",
    "x" * 5_000,
)


@pytest.mark.parametrize("seconds", [0.001, 1.0, 59.0, 3_600.0, 40 * 86_400.0])
@pytest.mark.parametrize("width", [20, 45, 80, 300])
def test_it_is_never_wider_than_the_terminal(width: int, seconds: float) -> None:
    story = Story(*(person(name, f"PA_{number}") for number, name in enumerate(HOSTILE)))
    story.quality(seconds / 2, HOSTILE[0], "PA_0", "good")
    story.ends(seconds)
    lines = drawn(story.session(), width)
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert lines[0].split()[0] in ("0s", "0.0s")


def test_what_is_not_kept_any_more_is_said() -> None:
    session = forty_seconds(Story(ALICE))
    said = "is not kept any more"
    assert said not in " ".join(drawn(session))
    pruned = drawn(replace(session, timeline=None))
    assert said in " ".join(pruned)
    assert lane(pruned, "alice") == "─" * 40


def test_a_session_that_saw_nobody_is_one_line() -> None:
    assert drawn(forty_seconds(Story())) == ["nobody was seen"]
    assert drawn(Story(ALICE).session(0.0)) == ["nobody was seen"]


def test_ascii_does_where_nothing_else_can_be_shown() -> None:
    story = Story(ALICE)
    story.speaking(5.0, "alice")
    story.reconnecting(10.0)
    lines = drawn(forty_seconds(story), glyphs=ASCII)
    assert lane(lines, "alice") == "-----#####" + "/" * 30
    assert "".join(lines).isascii()
