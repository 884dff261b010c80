"""Takes uploads at once, and reads them later, one at a time.

An agent waits for our answer, and its process is killed where the answer is late: so an upload is
put into a queue, and the answer is given before anything was unpacked, parsed or stored.  The queue
is bounded by bytes.  Beyond the bound an upload is answered in the same way, and dropped: the agent
could do nothing better with it, and a 429 makes it hang.

Bodies that are coming in count too (`receiving`): many slow clients cannot fill the memory.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final, get_args

import structlog
import trio
from attrs import define, field, frozen

if TYPE_CHECKING:
    from bridge.uploads.upload_facts import RunFacts

log = structlog.get_logger()

MOST_QUEUED: Final = 32 * 1024 * 1024
"""Bytes of bodies that wait to be read.  100 agents send 100 KB a second."""
MOST_QUEUED_COUNT: Final = 4096
MOST_RECEIVING: Final = 32 * 1024 * 1024
"""Bytes of all bodies that are coming in."""
MOST_UNPACKED: Final = 8 * 1024 * 1024
"""Bytes of one body that was unpacked."""
LOG_AGAIN: Final = 60.0
"""Seconds until the same trouble is logged again."""

UploadKind: TypeAlias = Literal["traces", "logs", "metrics", "report"]
Outcome: TypeAlias = Literal[
    "traces", "logs", "metrics", "report", "dropped", "unreadable", "refused", "failed"
]
"""The first four: taken and read.  `dropped`: the queue was full.  `unreadable`: the body was not
what it said, or beyond a bound.  `refused`: answered with 4xx.  `failed`: our own fault."""


OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


@frozen
class Upload:
    """A body that waits."""

    kind: UploadKind
    body: bytes = field(repr=False)
    packed: bool = False
    """It is gzip."""
    chat_history: bytes = field(default=b"", repr=False)
    """Of a report, whose `body` is its header."""

    @property
    def size(self) -> int:
        return len(self.body) + len(self.chat_history)


@define
class Receiving:
    """One body that is coming in."""

    _desk: UploadDesk = field(alias="desk", repr=False)
    body: bytearray = field(factory=bytearray, repr=False)
    counted: int = 0
    overflowed: bool = False
    """There was no memory for it: the rest is read, and not kept."""

    def count(self, size: int) -> bool:
        """Count so many bytes more; False if there is no room for them."""
        if not self.overflowed and self._desk.receiving + size > MOST_RECEIVING:
            self.overflowed = True
            self.body.clear()
            self._desk.receiving -= self.counted
            self.counted = 0
        if self.overflowed:
            return False
        self.counted += size
        self._desk.receiving += size
        return True

    def add(self, piece: bytes) -> None:
        if self.count(len(piece)):
            self.body += piece


@final
class UploadDesk:
    """The queue, and the task that reads it.

    `read` runs in a thread, and raises `BadUpload`.  `deliver` gets what it read, in the loop, and
    must not wait.  `forward` gets each body of traces as it came.
    """

    def __init__(
        self,
        read: Callable[[Upload], tuple[RunFacts, ...]],
        deliver: Callable[[RunFacts], object],
        forward: Callable[[Upload], object] | None = None,
        *,
        on_first: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_first` is called with the first upload: `run` need not run before."""
        self.counts: Counter[Outcome] = Counter()
        self.queued = 0
        """Bytes that wait, with those that are read at this moment."""
        self.receiving = 0
        """Bytes of bodies that are coming in."""
        self._read = read
        self._deliver = deliver
        self._forward = forward
        self._on_first: Callable[[], object] | None = on_first
        self._waiting: deque[Upload] = deque()
        self._news = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self._logged_at: dict[str, float] = {}

    @contextmanager
    def receive(self) -> Generator[Receiving, None, None]:
        """A body comes in during the block."""
        receiving = Receiving(self)
        try:
            yield receiving
        finally:
            self.receiving -= receiving.counted

    def take(self, upload: Upload) -> None:
        """Queue a whole body.  Never waits, never raises."""
        if self._on_first is not None:
            on_first, self._on_first = self._on_first, None
            on_first()
        if self._forward is not None and upload.kind == "traces":
            self._forward(upload)
        if upload.kind == "metrics":
            # Everything in them is in the turns too.  Their histograms have bounds of seconds.
            self.counts["metrics"] += 1
            return
        full = len(self._waiting) >= MOST_QUEUED_COUNT or self.queued + upload.size > MOST_QUEUED
        if full:
            self.drop()
            return
        self.queued += upload.size
        self._waiting.append(upload)
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._news.set()

    def drop(self) -> None:
        """An upload is not kept, for lack of memory."""
        self.counts["dropped"] += 1
        self._say("uploads_dropped", count=self.counts["dropped"])

    def refuse(self, reason: str) -> None:
        """An upload was answered with 4xx.  `reason` is a word of ours."""
        self.counts["refused"] += 1
        self._say("upload_refused", reason=reason, count=self.counts["refused"])

    async def run(self) -> None:
        """Read until cancelled."""
        limiter = trio.CapacityLimiter(1)
        while True:
            while self._waiting:
                upload = self._waiting[0]
                await self._read_one(upload, limiter)
            self._idle.set()
            self._news = trio.Event()
            await self._news.wait()

    def outcomes(self) -> dict[str, int]:
        """The counts, with zeros."""
        return {outcome: self.counts[outcome] for outcome in OUTCOMES}

    async def drained(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    async def _read_one(self, upload: Upload, limiter: trio.CapacityLimiter) -> None:
        from bridge.uploads.bounded_gzip import BadUpload

        try:
            facts_of_runs = await trio.to_thread.run_sync(self._read, upload, limiter=limiter)
        except BadUpload as bad:
            self.counts["unreadable"] += 1
            self._say("upload_unreadable", upload=upload.kind, detail=str(bad))
        except Exception as error:  # noqa: BLE001 (nothing that an agent sends may end this task)
            self.counts["failed"] += 1
            self._say("upload_failed", upload=upload.kind, error=type(error).__name__)
        else:
            for run_facts in facts_of_runs:
                self._deliver(run_facts)
            self.counts[upload.kind] += 1
        finally:
            # A task that was cancelled while it read has read it: it is never read twice.
            self._waiting.popleft()
            self.queued -= upload.size

    def _say(self, event: str, **about: object) -> None:
        now = trio.current_time()
        if now - self._logged_at.get(event, float("-inf")) >= LOG_AGAIN:
            self._logged_at[event] = now
            log.warning(event, **about)
