"""The data of `top`: the live rooms in the store, and the worker's report of itself.

Nothing here draws.  `bridge.cli.top_frame` makes the lines of a screen from it.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final, final

from attrs import evolve, frozen

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import (
    LiveSession,
    NoStore,
    StoreRefused,
    WorkerRow,
)
from actors.session import QUALITIES, SessionState
from actors.session.view import coverage, totals
from bridge.app.session_source import open_sessions
from bridge.cli.store_access import no_store
from bridge.config.http_address import HttpAddress
from bridge.config.store_address import StoreAddress
from bridge.store.schema import FILE

RATE_OVER: Final = 10.0
"""Seconds over which a rate is taken."""

# ---------------------------------------------------------------- the store


@frozen
class StoreSnapshot:
    """The store's content at one moment."""

    at: float
    """Unix seconds: now, or the last sign of life where no worker runs."""
    worker: WorkerRow | None
    live: Sequence[LiveSession]
    trouble: str | None = None
    """Why the store cannot be read; the rest is then as it was before."""
    workers: Sequence[WorkerRow] = ()
    """All workers of a database that several share."""

    @property
    def runs(self) -> bool:
        return self.worker is not None and self.worker.running

    @property
    def now(self) -> float:
        """Unix seconds by the clock of the sessions, which is ours where no session is live."""
        offsets = (one.state.clock_offset for one in self.live)
        return time.time() - next((offset for offset in offsets if offset is not None), 0.0)


def snapshots(store: StoreAddress) -> Generator[StoreSnapshot, None, None]:
    """A snapshot for each `next`, for ever.

    The file is opened anew where it was replaced, and where a worker begins or ends: a file that
    nobody writes is read without its log (`bridge.store.schema.open_for_reading`).
    """
    snapshot = StoreSnapshot(time.time(), None, ())
    while True:
        try:
            opened = _identity(store)
            with open_sessions(store) as reader:
                while True:
                    workers = reader.workers()
                    worker = next(iter(workers), None)
                    at = worker.alive_at if worker else time.time()
                    several = () if store.database_url is None else workers
                    snapshot = StoreSnapshot(at, worker, reader.live(), workers=several)
                    yield snapshot
                    if _identity(store) != opened:
                        break
        except NoStore:
            yield evolve(snapshot, trouble=no_store(store))
        except (StoreRefused, ArchiveTrouble) as error:
            yield evolve(snapshot, trouble=str(error))


def _identity(store: StoreAddress) -> tuple[int, int, bool] | None:
    """Of the file; None where there is none."""
    if store.database_url is not None:
        return None
    path = store.data_dir / FILE
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, Path(f"{path}-wal").exists()


@frozen
class RoomRow:
    """One live room, as a row of the table."""

    name: str
    people: int
    tracks: int
    messages: int | None
    """None where they are encrypted."""
    rate: float | None
    """Messages a second, over the last ten; None until two snapshots were taken."""
    talking: tuple[str, ...]
    """Identities."""
    quality: str | None
    """The worst quality that a participant has now."""
    age: float
    """Seconds since the session began."""
    coverage: float


@final
class MessageRates:
    """Messages per second, from their numbers at earlier snapshots (oldest first)."""

    def __init__(self) -> None:
        self._earlier: deque[tuple[float, Mapping[int, int]]] = deque()

    def take(self, snapshot: StoreSnapshot) -> Mapping[int, float]:
        """Messages a second by session.  A session that is new has no rate yet."""
        counts = {one.number: one.state.messages.total for one in snapshot.live}
        while self._earlier and not 0.0 <= snapshot.at - self._earlier[0][0] <= RATE_OVER:
            self._earlier.popleft()
        self._earlier.append((snapshot.at, counts))
        since, before = self._earlier[0]
        passed = snapshot.at - since
        if not passed:
            return {}
        return {
            number: (count - before[number]) / passed
            for number, count in counts.items()
            if number in before
        }


def room_rows(snapshot: StoreSnapshot, rates: Mapping[int, float]) -> list[RoomRow]:
    return [_room(one.state, snapshot.at, rates.get(one.number)) for one in snapshot.live]


def _room(state: SessionState, now: float, rate: float | None) -> RoomRow:
    numbers = totals(state, now)
    levels = [person.quality.level for person in state.present.values() if person.quality.level]
    return RoomRow(
        name=state.room,
        people=numbers.participants,
        tracks=numbers.tracks,
        messages=numbers.messages,
        rate=rate,
        talking=tuple(sorted(_shown_name(state, one) for one in state.speaking)),
        quality=max(levels, key=QUALITIES.index, default=None),
        age=numbers.duration,
        coverage=coverage(state, now),
    )


def _shown_name(state: SessionState, identity: str) -> str:
    """The identity; of an agent the name under which it was dispatched."""
    person = state.present.get(identity)
    return identity if person is None else person.agent_name or identity


# ---------------------------------------------------------------- the worker

UNKNOWN: Final = "registration unknown"
NOT_REGISTERED: Final = "NOT REGISTERED"


def ask_registration(address: HttpAddress, instance: str) -> str:
    """True if the worker `instance`, if it listens there, is registered at LiveKit."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, address.port, timeout=1.0)
    try:
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read(10_000))
        worker, problem = answer["worker"], answer["checks"]["livekit"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return f"{UNKNOWN} (nothing at {address})"
    finally:
        connection.close()
    if worker != instance:
        return f"{UNKNOWN} (another worker is at {address})"
    return "registered" if problem is None else NOT_REGISTERED


@final
class RegistrationCheck:
    """Asks for the registration in a thread of its own, so that nothing waits for the answer."""

    def __init__(self, address: HttpAddress | None) -> None:
        self.answer = UNKNOWN
        self._address = address
        self._thread: threading.Thread | None = None

    def again(self, snapshot: StoreSnapshot) -> None:
        """Ask the worker, if one runs, unless an answer is still awaited."""
        waits = self._thread is not None and self._thread.is_alive()
        if self._address and snapshot.worker and snapshot.runs and not waits:
            about = (self._address, snapshot.worker.instance)
            self._thread = threading.Thread(target=self._ask, args=about, daemon=True)
            self._thread.start()

    def _ask(self, address: HttpAddress, instance: str) -> None:
        self.answer = ask_registration(address, instance)
