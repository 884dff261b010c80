"""`actors.outlets.outbox_port.OutboxStore` in memory, which survives a simulated crash.

`trouble` makes the next calls fail, before or after they took effect: a disk may have written what
it did not confirm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import final

import trio
from attrs import define, evolve, field

from actors.journal.feed import Position
from actors.outlets.outbox_port import OutboxTrouble, OutletRow, Parked


@define
class _Outlet:
    cursor: str | None = None
    disabled: str | None = None
    dropped: int = 0
    parked: dict[str, Parked] = field(factory=dict[str, Parked])
    """By id, in the order in which they came."""
    first: Position | None = None
    """The first cursor that was saved: entries after it are to be delivered."""
    disabled_from: Position | None = None
    """The cursor when the endpoint was disabled."""
    passed: list[tuple[Position, Position]] = field(factory=list[tuple[Position, Position]])
    """From where to where entries became durable while the endpoint was disabled."""

    def save_cursor(self, cursor: str) -> None:
        self.cursor = cursor
        if self.first is None:
            self.first = Position.parse(cursor)

    def enable(self, newest: Position) -> None:
        """As the command does.  `newest`: the position of all entries that are durable now."""
        if self.disabled_from is not None:
            self.passed.append((self.disabled_from, newest))
        self.disabled = self.disabled_from = None

    def wants(self, position: Position) -> bool:
        """True if an entry at this position is to be delivered."""
        if self.first is None or position <= self.first:
            return False
        return not any(position <= to and not position <= since for since, to in self.passed)


@final
class SimulatedOutbox:
    """Of one data directory."""

    def __init__(self, most_parked: int = 1_000_000) -> None:
        self.trouble = 0
        """Calls that fail from now on: positive before their effect, negative after it."""
        self.bug: Callable[[], Exception] | None = None
        """Makes the exception of the next call: one that the outbox does not expect."""
        self.on_save: Callable[[], object] = lambda: None
        """Called when something is saved."""
        self.saves = 0
        self._most = most_parked
        self._outlets: dict[str, _Outlet] = {}

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.bug is not None:
            bug, self.bug = self.bug, None
            raise bug()
        if self.trouble > 0:
            self.trouble -= 1
            raise OutboxTrouble("simulated: nothing was written")

    def _end(self) -> None:
        if self.trouble < 0:
            self.trouble += 1
            raise OutboxTrouble("simulated: written, but not confirmed")

    def of(self, outlet: str) -> _Outlet:
        return self._outlets.setdefault(outlet, _Outlet())

    async def open(self, outlet: str) -> OutletRow:
        await self._begin()
        row = self._row(outlet)
        self._end()
        return row

    async def blocked(self, outlet: str, among: Collection[str] | None = None) -> frozenset[str]:
        await self._begin()
        sessions = frozenset(one.session for one in self._waiting(outlet))
        return sessions if among is None else sessions & set(among)

    async def save(
        self,
        outlet: str,
        *,
        cursor: str | None = None,
        parked: Sequence[Parked] = (),
        delivered: Collection[str] = (),
    ) -> OutletRow:
        await self._begin()
        self.saves += 1
        self.on_save()
        of = self.of(outlet)
        if cursor is not None:
            of.save_cursor(cursor)
        for one in delivered:
            of.parked.pop(one, None)
        for one in parked:
            if one.delivery.id not in of.parked and len(self._waiting(outlet)) >= self._most:
                of.dropped += 1
            else:
                of.parked[one.delivery.id] = one
        self._end()
        return self._row(outlet)

    async def heads(self, outlet: str, due: float, limit: int) -> list[Parked]:
        await self._begin()
        sessions = dict[str, list[Parked]]()
        for one in self._waiting(outlet):
            sessions.setdefault(one.session, []).append(one)
        ready = [rows for rows in sessions.values() if rows[0].due <= due]
        ready.sort(key=lambda rows: rows[0].due)
        return [one for rows in ready for one in rows[:100]][:limit]

    async def next_due(self, outlet: str) -> float | None:
        await self._begin()
        heads = dict[str, float]()
        for one in self._waiting(outlet):
            heads.setdefault(one.session, one.due)
        return min(heads.values(), default=None)

    async def hasten(self, outlet: str, now: float) -> None:
        await self._begin()
        of = self.of(outlet)
        of.parked = {
            key: one if one.dead else evolve(one, due=min(one.due, now))
            for key, one in of.parked.items()
        }
        self._end()

    async def disable(self, outlet: str, why: str | None) -> None:
        await self._begin()
        of = self.of(outlet)
        of.disabled = why
        if of.disabled_from is None and of.cursor is not None:
            of.disabled_from = Position.parse(of.cursor)
        self._end()

    def send_again(self, outlet: str, now: float) -> None:
        """As the command does, from outside."""
        of = self.of(outlet)
        of.parked = {
            key: evolve(one, dead=False, attempts=0, due=now, parked_at=now)
            for key, one in of.parked.items()
        }

    def _waiting(self, outlet: str) -> list[Parked]:
        return [one for one in self.of(outlet).parked.values() if not one.dead]

    def _row(self, outlet: str) -> OutletRow:
        of = self.of(outlet)
        waiting = len(self._waiting(outlet))
        return OutletRow(of.cursor, of.disabled, waiting, len(of.parked) - waiting, of.dropped)
