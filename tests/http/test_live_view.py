"""The live view: drawn once for all visitors, never older than the question."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from actors.journal.journal import Journal
from actors.session import RecordingChanged, SessionState, Tick
from actors.session.recording_reports import EgressListed, RecordingIntended, RecordingRequest
from actors.session.recordings import LOST_AFTER
from bridge.http.pages.live_view import ANSWERS, AT_MOST_EVERY, LiveView
from tests.store.stored_history import History


class Rooms:
    """Rooms with somebody in each, and a board of them."""

    def __init__(self, count: int) -> None:
        self.history = History()
        self.journals: list[Journal] = [
            self.history.begin(f"room-{number}", f"RM_{number}", "alice") for number in range(count)
        ]
        self.looks = 0
        self.board = LiveView(self._live)

    def _live(self) -> Iterator[SessionState]:
        self.looks += 1
        return (journal.state for journal in self.journals)

    async def rows(self, place: str = "") -> list[str]:
        return list(json.loads(await self.board.since(place))["rows"].values())


@pytest.fixture
def rooms(virtual_time: int) -> Rooms:
    return Rooms(3)


async def test_all_who_ask_at_once_are_told_the_same_of_one_look(rooms: Rooms) -> None:
    answers: list[bytes] = []

    async def ask() -> None:
        answers.append(await rooms.board.since(""))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert rooms.looks == 1
    assert len(answers) == 20
    assert len(set(map(id, answers))) == 1, "encoded once"


async def test_one_who_asks_again_and_again_is_told_so_many_times_a_second(rooms: Rooms) -> None:
    began = trio.current_time()
    for _ in range(5):
        await rooms.rows()
    assert rooms.looks == 5
    assert trio.current_time() - began == pytest.approx(4 * AT_MOST_EVERY)


async def test_an_answer_is_never_older_than_its_question(rooms: Rooms) -> None:
    place = json.loads(await rooms.board.since(""))["place"]
    answers: list[list[str]] = []

    async def ask() -> None:
        answers.append(await rooms.rows(place))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)  # waits for its look
        await trio.testing.wait_all_tasks_blocked()
        rooms.history.talk(rooms.journals[1], 1, "alice")
        nursery.start_soon(ask)
    assert [len(rows) for rows in answers] == [1, 1]


async def test_whoever_leaves_while_it_is_drawn_leaves_no_half_of_it(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bridge.http.server.time_slices.SLICE", 0.0
    )  # a turn for others after each room
    with trio.move_on_after(1) as first:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rooms.board.since, "")
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert not first.cancelled_caught
    assert len(await rooms.rows()) == 3


async def test_answers_that_are_kept_are_few_whatever_is_asked(rooms: Rooms) -> None:
    life = json.loads(await rooms.board.since(""))["place"].partition("-")[0]
    answers: list[bytes] = []

    async def ask(number: int) -> None:
        answers.append(await rooms.board.since(f"{life}-{number}"))

    async with trio.open_nursery() as nursery:
        for number in range(1_000, 1_000 + 3 * ANSWERS):
            nursery.start_soon(ask, number)
    assert len(answers) == 3 * ANSWERS
    assert len(rooms.board._answers) <= ANSWERS


async def test_a_room_says_how_its_recording_is(rooms: Rooms) -> None:
    journal, at = rooms.journals[0], rooms.history.now
    request = RecordingRequest()
    journal.record(RecordingIntended(at, "i1", "keep", request))
    assert "recording requested" in "".join(await rooms.rows())
    journal.record(EgressListed(at, "EG_1", "template", "starting", "i1", updated_at=at))
    assert "recording starting" in "".join(await rooms.rows())
    journal.record(
        EgressListed(at, "EG_1", "template", "active", "i1", started_at=at, updated_at=at)
    )
    journal.record(RecordingChanged(at, True))
    assert ">recorded<" in "".join(await rooms.rows())
    journal.record(RecordingChanged(at + 1, False))
    journal.record(Tick(at + 1 + LOST_AFTER))
    assert "recording lost" in "".join(await rooms.rows())
    journal.record(EgressListed(at + 60, "EG_1", "template", "failed", "i1", updated_at=at + 60))
    assert "record" not in "".join(await rooms.rows())
