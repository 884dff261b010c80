"""The part of a room's past that rules need and its state lacks: since when.  Pure.

A state says how many people there are, not since when there is one.  The history of a room is
folded beside the state, entry by entry, and costs nothing where no rule asks for it.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from actors.session import SessionState, TimelineEntry

WINDOW: Final = 60
"""Seconds over which a rate of messages is taken."""


@frozen
class RoomHistory:
    """The past of a session that rules need, up to its newest entry."""

    alone_since: float | None = None
    """Unix seconds since when exactly one person is there; None where it is another number."""
    empty_since: float | None = None
    silent_since: float | None = None
    """Since when nobody speaks; None while somebody does."""
    messages: tuple[tuple[int, int], ...] = ()
    """Whole seconds in which messages came, and how many; those of the window."""
    total: int = 0
    """The messages in `messages`: a rate is asked after each one, so it is not summed up then."""

    @classmethod
    def of(cls, state: SessionState, now: float) -> RoomHistory:
        """As far as the joins of a session tell it: for a session that is watched on after a
        restart.  Who spoke last is not stored, so silence begins now."""
        people = [*state.present.values(), *state.past.values()]
        joins = [join for one in people for join in one.joins if one.is_visit(join)]
        moves = [join.since for join in joins]
        moves += [join.left_at for join in joins if join.left_at is not None]
        since = max(moves, default=state.started_at)
        return cls(
            since if state.current == 1 else None,
            since if state.current == 0 else None,
            None if state.speaking else now,
        )

    def after(self, state: SessionState, entry: TimelineEntry | None, now: float) -> RoomHistory:
        """With what is so now; `entry` led to it, of None nothing did."""
        people = state.current
        alone = (self.alone_since or now) if people == 1 else None
        empty = (self.empty_since or now) if people == 0 else None
        silent = None if state.speaking else (self.silent_since or now)
        messages, total = self.messages, self.total
        if entry is not None and entry.event == "data_message":
            messages, total = _counted(messages, total, int(entry.at), 1)
        elif entry is not None and entry.event == "messages_thinned":
            count = int(entry.data.get("count") or 0)
            messages, total = _counted(messages, total, int(entry.at), count)
        if (alone, empty, silent) == (
            self.alone_since,
            self.empty_since,
            self.silent_since,
        ) and messages is self.messages:
            return self
        return RoomHistory(alone, empty, silent, messages, total)

    def moved(self, seconds: float) -> RoomHistory:
        """After a gap of `seconds`: nothing that nobody saw counts."""
        return evolve(
            self,
            alone_since=_later(self.alone_since, seconds),
            empty_since=_later(self.empty_since, seconds),
            silent_since=_later(self.silent_since, seconds),
        )

    def rate(self, now: float) -> float:
        """Messages a second over the window."""
        total = self.total
        for at, number in self.messages:
            if at > now - WINDOW:
                break
            total -= number
        return total / WINDOW


def _later(since: float | None, seconds: float) -> float | None:
    return None if since is None else since + seconds


def _counted(
    messages: tuple[tuple[int, int], ...], total: int, at: int, number: int
) -> tuple[tuple[tuple[int, int], ...], int]:
    """The seconds of the window and their sum, with `number` messages more."""
    if messages and messages[-1][0] >= at:
        return (*messages[:-1], (messages[-1][0], messages[-1][1] + number)), total + number
    first = 0
    while first < len(messages) and messages[first][0] <= at - WINDOW:
        total -= messages[first][1]
        first += 1
    return (*messages[first:], (at, number)), total + number
