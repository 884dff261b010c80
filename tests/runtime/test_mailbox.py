"""The mailbox by itself: its law, its policies, its bounds."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, frozen

from actors.runtime import MailboxSpec, Overflow, Policy, ReplyTo
from actors.runtime.mailbox import Mailbox, Slot


@frozen
class Join:
    n: int


@frozen
class Level:
    key: Any
    n: int


@frozen
class Sample:
    n: int


POLICIES = {
    Level: Policy(Overflow.COALESCE, key=lambda level: level.key),
    Sample: Policy(Overflow.DROP_OLDEST, limit=3),
}


def mailbox(capacity: int = 10) -> Mailbox[Any]:
    return Mailbox(MailboxSpec(capacity, POLICIES))


def read(box: Mailbox[Any], most: int = 1000) -> list[Any]:
    return [item.message if type(item) is Slot else item for item in box.batch(most)]


def no_reply() -> ReplyTo[Any]:
    return ReplyTo(lambda: None, lambda _: None)


def test_messages_are_read_in_the_order_they_came() -> None:
    box = mailbox()
    for n in range(5):
        assert box.offer(Join(n))
    assert read(box) == [Join(n) for n in range(5)]


def test_a_batch_is_bounded_and_the_rest_stays() -> None:
    box = mailbox()
    for n in range(5):
        box.offer(Join(n))
    assert read(box, 2) == [Join(0), Join(1)]
    assert len(box) == 3


def test_a_message_without_policy_is_refused_when_full_and_the_overflow_noted_once() -> None:
    box = mailbox(capacity=2)
    assert [box.offer(Join(n)) for n in range(4)] == [True, True, False, False]
    assert box.overflowed
    assert box.control_pending
    assert box.counters.dropped == 2
    assert read(box) == [Join(0), Join(1)]


def test_coalescing_keeps_the_newest_of_each_key_at_its_own_place() -> None:
    box = mailbox()
    for message in (Level("x", 1), Join(1), Level("y", 2), Level("x", 3), Join(2)):
        assert box.offer(message)
    assert read(box) == [Join(1), Level("y", 2), Level("x", 3), Join(2)]
    assert box.counters.coalesced == 1


def test_coalescing_goes_on_after_the_older_one_was_read() -> None:
    box = mailbox()
    box.offer(Level("x", 1))
    assert read(box) == [Level("x", 1)]
    box.offer(Level("x", 2))
    assert read(box) == [Level("x", 2)]
    assert box.counters.coalesced == 0


def test_coalescing_works_in_a_full_mailbox_and_a_new_key_is_dropped_there() -> None:
    box = mailbox(capacity=2)
    box.offer(Level("x", 1))
    box.offer(Join(1))
    assert box.offer(Level("x", 2))
    assert not box.offer(Level("y", 1))
    assert not box.overflowed
    assert read(box) == [Join(1), Level("x", 2)]


def test_what_was_dropped_of_a_thinned_class_is_told_once() -> None:
    box = mailbox()
    for n in range(5):
        box.offer(Sample(n))
    box.offer(Join(1))
    assert (box.take_dropped(Sample), box.take_dropped(Sample), box.take_dropped(Join)) == (2, 0, 0)


def test_a_key_that_cannot_be_had_harms_no_sender_and_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    box = mailbox()
    assert box.offer(Level([], 1))
    assert box.offer(Level([], 2))
    assert read(box) == [Level([], 1), Level([], 2)]
    assert "unhashable" in capsys.readouterr().err


def test_the_oldest_of_a_class_is_dropped_at_the_limit_of_that_class() -> None:
    box = mailbox()
    box.offer(Join(0))
    for n in range(5):
        assert box.offer(Sample(n))
    assert read(box) == [Join(0), Sample(2), Sample(3), Sample(4)]
    assert box.counters.dropped == 2


def test_the_oldest_of_a_class_makes_room_in_a_full_mailbox_but_never_another_class() -> None:
    box = mailbox(capacity=2)
    box.offer(Sample(1))
    box.offer(Join(1))
    assert box.offer(Sample(2))
    assert read(box) == [Join(1), Sample(2)]
    box.offer(Join(2))
    box.offer(Join(3))
    assert not box.offer(Sample(3))
    assert not box.overflowed


def test_a_question_is_never_thinned() -> None:
    box = mailbox()
    assert box.offer_ask(Level("x", 1), no_reply())
    assert box.offer_ask(Level("x", 2), no_reply())
    assert read(box) == [Level("x", 1), Level("x", 2)]


def test_a_closed_mailbox_takes_nothing_and_what_it_has_can_be_read() -> None:
    box = mailbox()
    box.offer(Join(1))
    box.close()
    assert not box.offer(Join(2))
    assert not box.offer(Level("x", 1))
    assert not box.offer_ask(Join(3), no_reply())
    assert box.counters.dead_lettered == 3
    assert read(box) == [Join(1)]


def test_memory_stays_bounded_under_a_flood_of_one_key() -> None:
    box = mailbox(capacity=1000)
    for n in range(10_000):
        box.offer(Level("x", n))
    assert len(box) == 1
    assert len(box._queue) < 200
    assert read(box) == [Level("x", 9_999)]


def test_what_is_in_hand_counts_as_queued_until_it_is_accounted_for() -> None:
    box = mailbox()
    box.offer(Join(1))
    box.offer(Join(2))
    for _ in box.batch(1):
        assert box.in_hand == Join(1)
        assert (box.counters.handled, box.counters.queued) == (0, 2)
        box.fail()
    assert (box.counters.failed, box.counters.queued) == (1, 1)
    assert box.in_hand is None


def test_emptying_gives_what_nobody_will_read_with_its_reply() -> None:
    box, reply = mailbox(), no_reply()
    box.offer(Join(1))
    box.offer_ask(Join(2), reply)
    box.offer(Level("x", 1))
    assert box.empty_into_dead_letters() == [
        (Join(1), None),
        (Join(2), reply),
        (Level("x", 1), None),
    ]
    assert box.counters.dead_lettered == 3
    assert not box.offer(Join(3))


@define
class History:
    """A random one, with its own count of what happened."""

    rng: random.Random
    box: Mailbox[Any]
    offers: int = 0
    handled: int = 0

    def offer(self) -> None:
        n, kind = self.rng.randrange(4), self.rng.randrange(5)
        self.offers += 1
        if kind == 0:
            self.box.offer_ask(Join(n), no_reply())
        else:
            self.box.offer([Join(n), Join(n), Level(n, n), Sample(n)][kind - 1])
        assert self.box.counters.balanced

    def read(self) -> None:
        for _ in self.box.batch(self.rng.randrange(1, 5)):
            assert self.box.counters.balanced
            if self.rng.random() < 0.3:
                self.offer()
            match self.rng.randrange(6):
                case 0:
                    self.box.fail()
                    break
                case 1:
                    self.box.mark_unhandled()
                case 2:
                    self.box.done()
                    self.handled += 1
                    break
                case _:
                    self.handled += 1
        assert self.box.counters.balanced


@pytest.mark.parametrize("n", range(40))
def test_the_law_holds_at_every_step_of_any_history(n: int) -> None:
    """offered = handled + dropped + coalesced + dead-lettered + failed + queued."""
    rng = random.Random(n)
    history = History(rng, mailbox(capacity=rng.choice([1, 3, 20])))
    box = history.box
    for _ in range(300):
        for _ in range(rng.randrange(6)):
            history.offer()
        history.read()
    box.close()
    history.offer()
    assert box.counters.offered == history.offers
    assert box.counters.handled == history.handled
    box.empty_into_dead_letters()
    assert box.counters.balanced
    assert box.counters.queued == 0


async def test_a_reader_is_woken_once_for_a_burst_and_waits_when_there_is_nothing() -> None:
    box, seen = mailbox(100), list[list[Any]]()

    async def reader() -> None:
        while True:
            await box.wait()
            box.control_pending = False
            seen.append(read(box))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(3):
            box.offer(Join(n))
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [[Join(0), Join(1), Join(2)]]
        box.signal_control()
        await trio.testing.wait_all_tasks_blocked()
        assert seen[1] == []
        nursery.cancel_scope.cancel()
    box.offer(Join(9))  # a reader that was cancelled is not woken
    assert len(box) == 1


async def test_waiting_is_a_checkpoint_whether_or_not_there_is_a_message() -> None:
    box = mailbox()
    box.offer(Join(1))
    with trio.testing.assert_checkpoints():
        await box.wait()


@pytest.mark.parametrize("make", [lambda: MailboxSpec(0), lambda: Policy(Overflow.COALESCE, 0)])
def test_a_mailbox_without_room_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        make()
