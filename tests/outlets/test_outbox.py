"""At least once, in the order of each session, whatever the receiver, the disk and we do."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from actors.outlets.breaker import FAILURES
from actors.outlets.outbox import DRAIN_PAGE
from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from actors.outlets.retry import LADDER
from tests.outlets.outbox_stage import BROKEN, REFUSED, T0, WELL, Stage


async def test_what_happens_from_now_on_is_delivered_at_once_and_in_order(
    autojump_clock: object,
) -> None:
    stage = Stage()
    stage.feed.add("S0")
    async with stage.run():
        stage.feed.add("S1")
        stage.feed.add("S2")
        stage.feed.add("S1", "session_ended", reason="room_closed")
        await trio.testing.wait_all_tasks_blocked()
        assert stage.receiver.ids == ["S1-0-0", "S2-0-0", "S1-1-0"]
        assert stage.counts.delivered == 3
    assert stage.receiver.closed == 1


async def test_a_run_goes_on_where_the_one_before_stopped(autojump_clock: object) -> None:
    stage = Stage()
    async with stage.run():
        stage.feed.add("S1")
        await trio.testing.wait_all_tasks_blocked()
    stage.feed.add("S1")
    async with stage.run():
        await trio.testing.wait_all_tasks_blocked()
    assert stage.receiver.of("S1") == [0, 1]


async def test_only_what_is_wanted_goes_out(autojump_clock: object) -> None:
    stage = Stage()
    async with stage.run("session_*"):
        stage.feed.add("S1", "track_muted")
        stage.feed.add("S1", "session_ended")
        await trio.testing.wait_all_tasks_blocked()
    assert [one.event for one in stage.receiver.took] == ["session_ended"]


async def test_the_end_of_a_session_has_its_summary(autojump_clock: object) -> None:
    stage = Stage()
    stage.summaries["S1"] = {"duration": 60.0}
    async with stage.run():
        stage.feed.add("S1", "session_ended", reason="room_closed")
        stage.feed.add("S2", "session_ended", reason="room_closed")
        await trio.testing.wait_all_tasks_blocked()
    first, second = stage.receiver.took
    assert first.data == {"reason": "room_closed", "summary": {"duration": 60.0}}
    assert second.data == {"reason": "room_closed"}, "it may be gone already"


async def test_a_refused_delivery_holds_up_its_session_and_no_other(autojump_clock: object) -> None:
    stage = Stage()
    stage.receiver.answer = lambda one: (
        REFUSED if one.id == "S1-0-0" and trio.current_time() < 100 else WELL
    )
    async with stage.run():
        stage.feed.add("S1")
        stage.feed.add("S1")
        stage.feed.add("S2")
        await trio.testing.wait_all_tasks_blocked()
        assert stage.receiver.ids == ["S2-0-0"]
        await trio.sleep(1000)
    assert stage.receiver.of("S1") == [0, 1]
    assert stage.receiver.times[-1] < 400, "5 s, then 5 minutes"


async def test_a_delivery_that_is_always_refused_is_given_up_after_the_ladder(
    autojump_clock: object,
) -> None:
    stage = Stage()
    stage.receiver.answer = lambda one: REFUSED if one.id == "S1-0-0" else WELL
    async with stage.run():
        stage.feed.add("S1")
        stage.feed.add("S1")
        for _ in range(12):
            await trio.sleep(86_400)
            stage.feed.add("S2")
        await trio.sleep(1)
    assert stage.receiver.of("S1") == [1]
    assert len(stage.receiver.of("S2")) == 12
    [given_up] = [fields for event, fields in stage.said if event == "delivery_given_up"]
    assert (given_up["delivery"], given_up["attempts"]) == ("S1-0-0", len(LADDER) + 1)
    assert (stage.counts.waiting, stage.counts.dead) == (0, 1)


async def test_a_dead_letter_is_sent_again_when_somebody_says_so(autojump_clock: object) -> None:
    stage = Stage()
    stage.receiver.answer = lambda _: REFUSED
    async with stage.run():
        stage.feed.add("S1")
        await trio.sleep(5 * 86_400)
        assert stage.counts.dead == 1
        stage.receiver.answer = lambda _: WELL
        stage.store.send_again("crm", T0 + trio.current_time())
        await trio.sleep(700)
    assert stage.receiver.ids == ["S1-0-0"]


async def test_a_receiver_that_is_down_for_ten_minutes_gets_everything_in_order(
    autojump_clock: object,
) -> None:
    stage = Stage()
    down = (100.0, 700.0)
    stage.receiver.answer = lambda _: BROKEN if down[0] <= trio.current_time() < down[1] else WELL
    async with stage.run():
        for second in range(900):
            stage.feed.add(f"S{second % 7}")
            await trio.sleep(1)
        assert stage.counts.waiting == 0
    for session in range(7):
        numbers = stage.receiver.of(f"S{session}")
        assert numbers == sorted(set(numbers)) == list(range(len(numbers)))
    assert len(stage.receiver.ids) == 900
    assert stage.receiver.attempts - 900 < 30, "it is not knocked at all the time"
    late = [time for time in stage.receiver.times if time >= down[1]]
    assert min(late) - down[1] <= 61
    assert stage.events == ["outlet_trouble", "outlet_well_again"]


async def test_killed_while_it_catches_up_it_repeats_little_and_loses_nothing(
    autojump_clock: object,
) -> None:
    """3,000 deliveries of 30 sessions wait; the disk is slow in the middle."""
    stage = Stage()
    stage.receiver.answer = lambda _: BROKEN
    async with stage.run():
        for number in range(3_000):
            stage.feed.add(f"S{number % 30}")
        await trio.sleep(120)
        assert stage.counts.waiting == 3_000
    stage.receiver.answer, stage.receiver.slow = lambda _: WELL, 0.001
    async with stage.run():
        await trio.sleep(1.5)
        stage.store.trouble = 1
        await trio.sleep(0.3)
        assert 1_000 < len(stage.receiver.took) < 2_500
    async with stage.run():
        await trio.sleep(60)
    assert set(stage.receiver.ids) == {f"{one.session}-{one.seq}-0" for one in stage.feed.entries}
    assert len(stage.receiver.ids) - 3_000 <= 2 * DRAIN_PAGE
    for session in range(30):
        first = list(dict.fromkeys(stage.receiver.of(f"S{session}")))
        assert first == list(range(100))


async def test_one_that_answers_500_for_an_hour_gets_everything_within_a_minute_after(
    autojump_clock: object,
) -> None:
    stage = Stage()
    stage.receiver.answer = lambda _: REFUSED if trio.current_time() < 3600 else WELL
    async with stage.run():
        for second in range(0, 3700, 10):
            stage.feed.add(f"S{second}")
            await trio.sleep(10)
        await trio.sleep(70)
        assert stage.counts.waiting == 0
    assert len(set(stage.receiver.ids)) == 370


async def test_retry_after_is_respected(autojump_clock: object) -> None:
    stage = Stage()
    asked = Attempt(AttemptResult.FAILED, "status 429", 429, 120.0)
    stage.receiver.answer = lambda _: asked if stage.receiver.attempts == 1 else WELL
    async with stage.run():
        stage.feed.add("S1")
        stage.feed.add("S2")
        await trio.sleep(119)
        assert stage.receiver.attempts == 1
        await trio.sleep(10)
    assert sorted(stage.receiver.ids) == ["S1-0-0", "S2-0-0"]


async def test_410_disables_the_endpoint_until_somebody_enables_it(autojump_clock: object) -> None:
    stage = Stage()
    stage.receiver.answer = lambda _: Attempt(
        AttemptResult.GONE, "410: it wants no more webhooks", 410
    )
    async with stage.run():
        stage.feed.add("S1")
        await trio.sleep(100)
        stage.feed.add("S2")
        await trio.sleep(100)
    assert stage.receiver.attempts == 1
    assert "outlet_disabled" in stage.events
    stage.receiver.answer = lambda _: WELL
    async with stage.run():
        await trio.sleep(10)
        assert stage.receiver.ids == []
        await stage.store.disable("crm", None)
        await trio.sleep(700)
        stage.feed.add("S3")
        await trio.sleep(10)
    assert stage.receiver.ids == ["S1-0-0", "S3-0-0"], "what waited, and what is new"


async def test_what_happens_after_somebody_enabled_it_is_delivered_although_nobody_looked_yet(
    autojump_clock: object,
) -> None:
    stage = Stage()
    stage.receiver.answer = lambda _: Attempt(AttemptResult.GONE, "410", 410)
    async with stage.run():
        stage.feed.add("S1")
        await trio.sleep(1)
        stage.receiver.answer = lambda _: WELL
        await stage.store.disable("crm", None)
        stage.feed.add("S2")
        await trio.sleep(10)
    assert sorted(stage.receiver.ids) == ["S1-0-0", "S2-0-0"]


async def test_a_slow_receiver_delays_itself_only(autojump_clock: object) -> None:
    stage = Stage()
    stage.receiver.slow = 10.0
    async with stage.run():
        for _ in range(100):
            stage.feed.add("S1")
        await trio.sleep(1500)
    assert stage.receiver.of("S1") == list(range(100))


async def test_a_slow_receiver_loses_nothing_of_a_feed_that_forgets(
    autojump_clock: object,
) -> None:
    """Ten seconds an answer, two entries in that time, and ten minutes of feed."""
    stage = Stage()
    stage.receiver.slow = 10.0
    async with stage.run():
        for number in range(400):
            stage.feed.add(f"S{number % 5}")
            stage.feed.drop_before(trio.current_time() - 600.0)
            await trio.sleep(5)
        await trio.sleep(4000)
    assert "outlet_behind" not in stage.events
    assert len(stage.receiver.ids) == 400
    for session in range(5):
        assert stage.receiver.of(f"S{session}") == list(range(80))


async def test_trouble_with_the_disk_sends_nothing_twice_and_is_told_once(
    autojump_clock: object,
) -> None:
    stage = Stage()
    async with stage.run():
        stage.store.trouble = 20
        stage.feed.add("S1")
        await trio.sleep(10)
        assert stage.receiver.ids == ["S1-0-0"]
        await trio.sleep(60)
        stage.feed.add("S1")
        await trio.sleep(100)
    assert stage.receiver.of("S1") == [0, 1]
    assert stage.events == ["outbox_trouble"]


async def test_entries_that_the_store_has_dropped_are_told_as_lost(autojump_clock: object) -> None:
    stage = Stage()
    async with stage.run():
        await trio.testing.wait_all_tasks_blocked()
    for _ in range(5):
        stage.feed.add("S1")
    stage.feed.dropped = 3
    async with stage.run():
        await trio.sleep(10)
    assert stage.receiver.of("S1") == [3, 4]
    assert "outlet_behind" in stage.events
    assert stage.counts.behind


@pytest.mark.parametrize("seed", range(12))
async def test_killed_at_any_moment_with_a_receiver_that_lies_nothing_is_lost(
    seed: int, autojump_clock: object
) -> None:
    """Kills, refusals, silence and a disk in trouble; then a quiet time."""
    rng, stage = random.Random(seed), Stage()
    quiet = False

    def answer(one: Delivery) -> Attempt:
        if quiet or rng.random() < 0.6:
            return WELL
        return rng.choice([BROKEN, REFUSED, Attempt(AttemptResult.FAILED, "status 503", 503, 3.0)])

    stage.receiver.answer = answer
    made = 0
    async with stage.run():
        pass
    for _ in range(15):
        async with stage.run():
            for _ in range(rng.randrange(12)):
                stage.feed.add(f"S{rng.randrange(4)}")
                made += 1
                stage.store.trouble = rng.choice([0, 0, 0, 2, -1])
                await trio.sleep(rng.choice([0, 0.001, 1, 8]))
    quiet = True
    async with stage.run():
        stage.store.trouble = 0
        await trio.sleep(4 * 86_400)
        stage.feed.add("S9")
        await trio.sleep(10)
    assert len(set(stage.receiver.ids)) == made + 1, "every entry arrived"
    for session in range(4):
        first = list(dict.fromkeys(stage.receiver.of(f"S{session}")))
        assert first == sorted(first), "in the order of its session"


def test_the_breaker_needs_more_than_one_failure() -> None:
    assert FAILURES > 1
