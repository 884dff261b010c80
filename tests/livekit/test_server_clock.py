"""The server's clock, estimated from what it tells of its time."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest
from attrs import define

from bridge.livekit.server_clock import DOUBTS, EXACT_FOR, ServerClock, date_of, steady

BEGAN = 1_800_000_000.0


@define
class World:
    """A server and a machine whose clock is `offset` ahead; `true` is the server's clock."""

    offset: float = 0.0
    true: float = BEGAN
    steady: float = 50.0

    def clock(self) -> ServerClock:
        return ServerClock(lambda: self.steady, lambda: self.true + self.offset)

    def passes(self, seconds: float) -> None:
        self.true += seconds
        self.steady += seconds

    def ask(self, clock: ServerClock, way: float = 0.002, *, exact: bool = True) -> None:
        """A question and its answer, each `way` seconds under way."""
        sent_at = self.steady
        self.passes(way)
        server_time = self.true
        self.passes(way)
        if exact:
            clock.observe(sent_at, server_time - server_time % 0.001)
        else:
            clock.observe_date(((b"Date", formatdate(server_time, usegmt=True).encode()),), sent_at)


@pytest.mark.parametrize("offset", [-120.0, -4.0, 0.0, 4.0, 120.0])
def test_one_ping_tells_the_time_to_the_millisecond(offset: float) -> None:
    world = World(offset)
    clock = world.clock()
    assert clock.now() == world.true + offset, "its own clock is all it has"
    assert (clock.known, clock.offset, clock.uncertainty, clock.is_off) == (
        False,
        None,
        None,
        False,
    )
    world.ask(clock)
    assert clock.offset == pytest.approx(offset, abs=0.003)
    assert clock.now() == pytest.approx(world.true, abs=0.003)
    assert clock.is_off == (abs(offset) > 1.0)
    assert (clock.agreed() is None) == clock.is_off


def test_dates_have_whole_seconds_and_many_of_them_tell_more() -> None:
    world, rng = World(0.4), random.Random(1)
    clock = world.clock()
    world.ask(clock, exact=False)
    assert clock.uncertainty == pytest.approx(0.502, abs=0.001)
    for _ in range(30):
        world.passes(rng.uniform(0, 3))
        world.ask(clock, exact=False)
    uncertainty = clock.uncertainty
    assert uncertainty is not None
    assert uncertainty < 0.1
    assert clock.offset == pytest.approx(0.4, abs=uncertainty)


def test_a_slow_answer_takes_nothing_away_from_a_quick_one() -> None:
    world = World(4.0)
    clock = world.clock()
    world.ask(clock)
    world.ask(clock, way=3.0)
    assert clock.offset == pytest.approx(4.0, abs=0.01)


def test_a_step_of_this_machines_clock_moves_no_time() -> None:
    world = World(0.0)
    clock = world.clock()
    world.ask(clock)
    world.offset = 3600.0
    assert clock.now() == pytest.approx(world.true, abs=0.003)
    assert clock.offset == pytest.approx(3600.0, abs=0.003)


def test_a_clock_that_drifts_is_followed() -> None:
    world = World()
    clock = world.clock()
    for _ in range(100):
        world.ask(clock)
        world.passes(5.0)
        world.steady += 5.0 * 2e-4
    world.ask(clock)
    assert clock.now() == pytest.approx(world.true, abs=0.01)


def test_a_time_is_never_less_than_the_one_before() -> None:
    world = World()
    clock = world.clock()
    world.ask(clock, exact=False)
    last = clock.now()
    for step in (-0.3, -20.0, 5.0, -1.0):
        world.true += step
        for _ in range(8):
            world.ask(clock)
            world.passes(0.5)
            assert clock.now() >= last
            last = clock.now()
    world.passes(60.0)
    clock.now()
    assert clock.now() == pytest.approx(world.true, abs=0.1), "slower, until it is right again"


@pytest.mark.parametrize("ahead", [3_600.0, 31_536_000.0])
def test_a_server_whose_clock_was_far_ahead_for_a_minute_is_not_followed_for_ever(
    ahead: float,
) -> None:
    world = World()
    clock = world.clock()
    for step in (0.0, ahead, -ahead):
        world.true += step
        for _ in range(2 * DOUBTS):
            world.ask(clock)
            world.passes(5.0)
            clock.now()
    assert clock.now() == pytest.approx(world.true, abs=0.1)


@pytest.mark.parametrize(
    "server_time", [-(2.0**62), -1.0, 0.0, 253_402_300_800.0, 2.0**62, float("nan")]
)
def test_a_time_of_no_calendar_is_none(server_time: float) -> None:
    world = World()
    for known in (False, True):
        clock = world.clock()
        if known:
            world.ask(clock)
        for _ in range(2 * DOUBTS):
            clock.observe(world.steady, server_time)
        assert clock.known == known
        assert clock.now() == pytest.approx(world.true, abs=0.1)


def test_a_server_that_sets_its_clock_is_believed_when_it_says_so_again() -> None:
    world = World()
    clock = world.clock()
    world.ask(clock)
    world.true += 30.0
    for _ in range(DOUBTS - 1):
        world.ask(clock)
        assert clock.now() < world.true - 29.0
    world.ask(clock)
    assert clock.now() == pytest.approx(world.true, abs=0.01)


def test_one_answer_that_contradicts_all_others_is_no_news() -> None:
    world = World()
    clock = world.clock()
    for n in range(20):
        world.ask(clock)
        world.passes(1.0)
        if n % 2:
            clock.observe(world.steady, world.true - 25.0)
    assert clock.now() == pytest.approx(world.true, abs=0.01)


def test_livekits_own_word_outweighs_the_date_of_a_proxy() -> None:
    world = World()
    clock = world.clock()
    wrong = ((b"Date", formatdate(world.true + 70, usegmt=True).encode()),)
    clock.observe_date(wrong, world.steady)
    world.ask(clock)
    for _ in range(2 * DOUBTS):
        clock.observe_date(wrong, world.steady)
    assert clock.now() == pytest.approx(world.true, abs=0.01)
    world.passes(EXACT_FOR)
    for _ in range(DOUBTS):
        world.ask(clock, exact=False)
    assert clock.offset == pytest.approx(0.0, abs=1.0)


def test_an_answer_from_before_its_question_is_none() -> None:
    world = World()
    clock = world.clock()
    clock.observe(world.steady + 60.0, world.true)
    assert not clock.known


@pytest.mark.parametrize("value", [b"yesterday", b"", b"\xff"])
def test_a_date_that_is_none_tells_nothing(value: bytes) -> None:
    clock = World().clock()
    clock.observe_date(((b"date", value),), 0.0)
    clock.observe_date((), 0.0)
    assert not clock.known
    assert date_of(((b"DATE", formatdate(BEGAN, usegmt=True).encode()),)) == BEGAN
    for seconds in (0, 1, 59, 3_600, 86_399, 86_400, 951_782_400, 1_795_996_799):
        assert date_of(((b"Date", formatdate(seconds, usegmt=True).encode()),)) == seconds


def test_the_steady_clock_only_goes_on() -> None:
    assert 0.0 <= steady() <= steady()
