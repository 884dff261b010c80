"""The service that keeps texts of conversations: from those who hear them to their store.

`add` waits for nothing, and may be called anywhere in the loop.  The queue is bounded; beyond that
texts are counted and dropped.  A store that fails is tried again, and delays nobody.  Texts reach
no log: only their numbers do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, final

import trio
from attrs import define, evolve

from actors.journal.conversation_texts import (
    MOST_TEXT,
    ConversationText,
    TextKind,
    TextRetention,
    TextStore,
    TextTrouble,
)
from actors.journal.process_ports import Announce
from actors.journal.text_masks import TextMasks
from actors.session.texts import cut_identity, cut_name, cut_text, size

MOST_WAITING: Final = 16 << 20
"""Bytes of texts that wait for the store.  More is dropped."""
WRITE_EVERY: Final = 0.5
"""Seconds that texts are gathered before they are written."""
RETRY_AFTER: Final = 5.0
"""Seconds between two tries with a store that fails."""
PRUNE_EVERY: Final = 60.0
AT_ONCE: Final = 500
"""Texts of one transaction."""
MOST_REDACTED: Final = 10_000
"""Runs that asked for redaction and are remembered, the newest."""


@define
class TextCounts:
    """Texts of this run."""

    written: int = 0
    dropped: int = 0
    """Because too many waited."""


@final
class TextKeeper:
    """Takes texts and writes them.  `run` is the service."""

    def __init__(
        self,
        store: TextStore,
        retention: TextRetention,
        masks: TextMasks,
        *,
        trusted_clock: Callable[[], float | None],
        announce: Announce,
    ) -> None:
        """`trusted_clock` gives Unix seconds, or None where no clock is trusted: then nothing is
        dropped by age."""
        self._store = store
        self._retention = retention
        self._masks = masks
        self._trusted_clock = trusted_clock
        self._announce = announce
        self._waiting: deque[ConversationText] = deque()
        self._waiting_bytes = 0
        self._redacted: dict[tuple[str, str], None] = {}
        self._to_erase: list[tuple[str, str]] = []
        self._work = trio.Event()
        self._flushing = trio.Lock()
        self._troubled = False
        self.counts: Final = TextCounts()

    def keeps(self, kind: TextKind) -> bool:
        """True if texts of this kind are stored."""
        return self._retention.of(kind) is not None

    def add(self, text: ConversationText) -> None:
        """Store this text, masked, unless its kind is not kept or its run asked for redaction."""
        if not self.keeps(text.kind) or not text.text.strip():
            return
        if (text.room_sid, text.job_id) in self._redacted:
            return
        # Masked before it is cut: a cut could leave a part that no mask matches.
        masked = cut_text(self._masks.masked(text.text[: 2 * MOST_TEXT].strip()), MOST_TEXT)
        length = size(masked)
        if self._waiting_bytes + length > MOST_WAITING:
            self.counts.dropped += 1
            return
        self._waiting_bytes += length
        # The retention begins at the text's time: one of a clock that is ahead would stay longer.
        now = self._trusted_clock()
        self._waiting.append(
            evolve(
                text,
                at=text.at if now is None else min(text.at, now),
                text=masked,
                identity=cut_identity(text.identity),
                item=cut_identity(text.item),
                name=cut_name(text.name),
            )
        )
        self._work.set()

    def redact(self, room_sid: str, job_id: str) -> None:
        """The agent asks for redaction: drop what is stored of this run, and what will come.

        Texts of the room whose job is not known may be of this run, so they go too: an agent may
        choose an identity that does not name its job.
        """
        for job in (job_id, ""):
            self._redact((room_sid, job))

    def _redact(self, run: tuple[str, str]) -> None:
        if run in self._redacted:
            return
        self._redacted[run] = None
        while len(self._redacted) > MOST_REDACTED:
            del self._redacted[next(iter(self._redacted))]
        left = [one for one in self._waiting if (one.room_sid, one.job_id) != run]
        self._waiting = deque(left)
        self._waiting_bytes = sum(size(one.text) for one in left)
        self._to_erase.append(run)
        self._work.set()

    async def run(self) -> None:
        """Write what comes, and drop what is old, until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune_for_ever)
            while True:
                await self._work.wait()
                await trio.sleep(WRITE_EVERY)
                if not await self.flush():
                    await trio.sleep(RETRY_AFTER)

    async def flush(self) -> bool:
        """Write all that waits.  False if the store failed: then it still waits."""
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        self._work = trio.Event()
        try:
            while self._to_erase:
                await self._store.erase_run(*self._to_erase[0])
                del self._to_erase[0]
            while self._waiting:
                part = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
                await self._store.write(part)
                self._written(part)
        except TextTrouble as trouble:
            self._report(str(trouble))
            self._work.set()
            return False
        self._report(None)
        return True

    def _written(self, part: list[ConversationText]) -> None:
        self.counts.written += len(part)
        for text in part:
            # A redaction may have taken it out meanwhile.
            if self._waiting and self._waiting[0] is text:
                self._waiting.popleft()
                self._waiting_bytes -= size(text.text)

    def _report(self, trouble: str | None) -> None:
        if trouble is not None and not self._troubled:
            self._announce("texts_trouble", error=trouble)
        elif trouble is None and self._troubled:
            self._announce("texts_written_again", waiting=len(self._waiting))
        self._troubled = trouble is not None

    async def _prune_for_ever(self) -> None:
        while True:
            await self.prune()
            await trio.sleep(PRUNE_EVERY)

    async def prune(self) -> None:
        """Drop all that is old."""
        now = self._trusted_clock()
        try:
            while now is not None and await self._store.prune(now):
                pass
        except TextTrouble as trouble:
            self._report(str(trouble))

    async def aclose(self) -> None:
        """Write the last texts, and close the store."""
        await self.flush()
        await self._store.aclose()
