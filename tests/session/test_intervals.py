"""Step functions: what held, and for how long."""

from __future__ import annotations

from actors.session.intervals import OFF, UNKNOWN, Interval, Levels, add


def test_a_span_adds_up_the_stretches_in_which_it_was_on() -> None:
    span = OFF.on(1).off(3).on(10)
    assert (span.total(10), span.total(15)) == (2, 7)


def test_a_span_that_is_on_stays_on_since_its_beginning() -> None:
    assert OFF.on(1).on(5) == Interval(0.0, 1)
    assert OFF.off(5) is OFF


def test_a_span_on_a_clock_set_back_loses_that_stretch_only() -> None:
    assert OFF.on(10).off(5).on(5).off(7).total(7) == 2


def test_levels_are_unknown_until_the_first() -> None:
    assert UNKNOWN.totals(100) is None
    assert UNKNOWN.to(None, 5) is UNKNOWN


def test_levels_hold_until_the_next_and_keep_what_is_over() -> None:
    levels = UNKNOWN.to("good", 1).to("lost", 4).to(None, 6).to("good", 10)
    assert levels.totals(11) == (0, 4, 0, 2)


def test_a_repeated_level_is_the_same_function() -> None:
    levels = UNKNOWN.to("good", 1)
    assert levels.to("good", 3) is levels


def test_adding_unknown_adds_nothing() -> None:
    known = Levels("good", 1, (0, 0, 0, 0)).totals(3)
    assert add(None, None) is None
    assert add(known, None) == add(None, known) == (0, 2, 0, 0)
    assert add(known, known) == (0, 4, 0, 0)
