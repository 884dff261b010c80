"""The service that keeps texts: what it takes, what it drops, and what a failing store does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
import trio.testing
from attrs import define, evolve, field

from actors.journal.conversation_texts import (
    MOST_TEXT,
    ConversationText,
    TextRetention,
    TextTrouble,
)
from actors.journal.text_keeper import MOST_WAITING, TextKeeper
from actors.journal.text_masks import TextMasks, built_in

TEXT = ConversationText("shop", "RM_a", "AJ_1", "item_1", "speech", "person", "alice", 1.0, "hello")


@define(eq=False)
class MemoryTexts:
    """A store in memory, which fails while it is told to."""

    texts: list[ConversationText] = field(factory=list[ConversationText])
    fails: bool = False
    pruned: list[float] = field(factory=list[float])
    changed: trio.Event = field(factory=trio.Event)

    async def write(self, texts: Sequence[ConversationText]) -> None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise TextTrouble("the disk is full")
        self.texts.extend(texts)
        self.changed.set()

    async def prune(self, now: float) -> int:
        await trio.lowlevel.checkpoint()
        self.pruned.append(now)
        return 0

    async def erase_run(self, room_sid: str, job_id: str) -> int:
        await trio.lowlevel.checkpoint()
        before = len(self.texts)
        self.texts = [one for one in self.texts if (one.room_sid, one.job_id) != (room_sid, job_id)]
        return before - len(self.texts)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Stage:
    retention: TextRetention = field(factory=lambda: TextRetention(spoken=60.0))
    store: MemoryTexts = field(factory=MemoryTexts)
    announced: list[tuple[str, dict[str, Any]]] = field(factory=list[tuple[str, dict[str, Any]]])

    def keeper(self) -> TextKeeper:
        return TextKeeper(
            self.store,
            self.retention,
            TextMasks([built_in("email")]),
            trusted_clock=lambda: 7.0,
            announce=self.announce,
        )

    def announce(self, event: str, /, **fields: Any) -> None:
        self.announced.append((event, fields))


async def test_only_the_kinds_with_a_retention_are_stored() -> None:
    stage = Stage()
    keeper = stage.keeper()
    keeper.add(TEXT)
    keeper.add(evolve(TEXT, item="call_1", kind="tool_output"))
    keeper.add(evolve(TEXT, item="item_2", text=" \n"))
    await keeper.aclose()
    assert stage.store.texts == [TEXT]


async def test_a_text_of_a_clock_that_is_ahead_is_kept_no_longer() -> None:
    stage = Stage()
    keeper = stage.keeper()
    keeper.add(evolve(TEXT, at=1e9))
    await keeper.flush()
    assert stage.store.texts == [evolve(TEXT, at=7.0)]


async def test_texts_are_masked_and_then_cut() -> None:
    stage = Stage()
    keeper = stage.keeper()
    keeper.add(evolve(TEXT, text="é" * (MOST_TEXT // 2 - 3) + " ann@example.org"))
    await keeper.flush()
    stored = stage.store.texts[0].text
    assert len(stored.encode()) <= MOST_TEXT
    assert "ann" not in stored


async def test_a_run_that_asks_for_redaction_has_no_text_before_and_after() -> None:
    stage = Stage()
    keeper = stage.keeper()
    other = evolve(TEXT, job_id="AJ_2")
    keeper.add(TEXT)
    await keeper.flush()
    keeper.add(evolve(TEXT, item="item_2"))
    keeper.add(other)
    keeper.redact("RM_a", "AJ_1")
    keeper.add(evolve(TEXT, item="item_3"))
    await keeper.flush()
    assert stage.store.texts == [other]


async def test_redaction_takes_texts_of_the_room_whose_job_is_not_known() -> None:
    stage = Stage()
    keeper = stage.keeper()
    custom, elsewhere = evolve(TEXT, job_id=""), evolve(TEXT, room_sid="RM_b", job_id="")
    keeper.add(custom)
    keeper.add(elsewhere)
    await keeper.flush()
    keeper.redact("RM_a", "AJ_1")
    keeper.add(evolve(custom, item="item_2"))
    await keeper.flush()
    assert stage.store.texts == [elsewhere]


async def test_what_waits_for_a_failing_store_is_bounded_and_the_log_has_no_text() -> None:
    stage = Stage(store=MemoryTexts(fails=True))
    keeper = stage.keeper()
    big = "x" * MOST_TEXT
    for number in range(MOST_WAITING // MOST_TEXT + 10):
        keeper.add(evolve(TEXT, item=f"item_{number}", text=big))
    assert keeper.counts.dropped == 10
    assert not await keeper.flush()
    assert not await keeper.flush()
    assert stage.announced == [("texts_trouble", {"error": "the disk is full"})]
    stage.store.fails = False
    assert await keeper.flush()
    assert len(stage.store.texts) == MOST_WAITING // MOST_TEXT
    assert stage.announced[1][0] == "texts_written_again"


async def test_the_service_writes_what_comes_tries_again_and_prunes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    stage = Stage(store=MemoryTexts(fails=True))
    keeper = stage.keeper()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        keeper.add(TEXT)
        await trio.sleep(20)
        stage.store.fails = False
        await stage.store.changed.wait()
        nursery.cancel_scope.cancel()
    assert stage.store.texts == [TEXT]
    assert stage.store.pruned == [7.0]
