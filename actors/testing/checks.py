"""The laws, each as a function that returns its violations: an empty list if it holds.

They look only at data (counters, signals, injected exceptions), so that each can be
shown to catch a made-up history that breaks its law.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actors.runtime import ActorEnded, Counters, Crashed, Failed, Intensity, Restarting, Signal


def counters_balance(counters: Mapping[str, Counters]) -> list[str]:
    """offered = handled + dropped + coalesced + dead-lettered + failed + queued."""
    return [
        f"{path}: the mailbox does not balance: {counts.as_dict()}"
        for path, counts in counters.items()
        if not counts.balanced
    ]


def nothing_queued(counters: Mapping[str, Counters]) -> list[str]:
    """A mailbox is empty after its actor's end: messages were read or are dead letters."""
    return [
        f"{path}: ended, and {counts.queued} messages are still queued"
        for path, counts in counters.items()
        if counts.queued
    ]


def raised_is_reported(raised: Iterable[BaseException], signals: Sequence[Signal]) -> list[str]:
    """Each exception that was raised is in exactly one `Crashed`."""
    reported = Counter(
        id(error)
        for signal in signals
        if isinstance(signal, Crashed)
        for error in _leaves(signal.error)
    )
    return [
        f"{error!r} was raised and reported {reported[id(error)]} times"
        for error in raised
        if reported[id(error)] != 1
    ]


def crashes_are_expected(
    signals: Sequence[Signal], expected: tuple[type[BaseException], ...]
) -> list[str]:
    """Only expected exceptions crashed an actor."""
    return [
        f"{signal.actor}: crashed by itself of {error!r} (message {signal.message!r})"
        for signal in signals
        if isinstance(signal, Crashed)
        for error in _leaves(signal.error)
        if not isinstance(error, expected)
    ]


def restarts_within_budget(
    restarts: Sequence[tuple[float, Restarting]], budgets: Mapping[str, Intensity]
) -> list[str]:
    """No child was restarted more often than its intensity allows.  Times in seconds.

    A child that takes a place which was given up, and so begins with the first generation
    again, has a budget of its own.
    """
    times: defaultdict[str, list[float]] = defaultdict(list)
    generations: dict[str, int] = {}
    broken: list[str] = []
    for at, restart in restarts:
        budget = budgets.get(restart.actor)
        if budget is None:
            continue
        recent = times[restart.actor]
        if restart.generation <= generations.get(restart.actor, -1):
            recent.clear()
        generations[restart.actor] = restart.generation
        recent.append(at)
        recent[:] = [time for time in recent if time > at - budget.within]
        if len(recent) > budget.restarts:
            broken.append(f"{restart.actor}: {len(recent)} restarts within {budget.within:g} s")
    return broken


def ends_once(signals: Sequence[Signal], lives: Mapping[str, int]) -> list[str]:
    """Every actor that began at a path has ended: one `ActorEnded` each.

    `lives`: path to the number of actors that were there, those that ended in their first start
    among them.  An actor that never ran (generation 0) is not one of them.
    """
    ended = Counter(
        signal.actor for signal in signals if isinstance(signal, ActorEnded) and signal.generation
    )
    return [
        f"{path}: began {count} times, ended {ended[path]} times"
        for path, count in lives.items()
        if ended[path] != count
    ]


def failed_only_after_budget(
    signals: Sequence[Signal], budgets: Mapping[str, Intensity]
) -> list[str]:
    """A child fails when its budget is spent, not before."""
    return [
        f"{signal.actor}: failed after {signal.restarts} restarts of {budgets[signal.actor]}"
        for signal in signals
        if isinstance(signal, Failed)
        and signal.actor in budgets
        and signal.restarts < budgets[signal.actor].restarts
    ]


def asks_end_once(ends: Mapping[Any, int]) -> list[str]:
    """Each question has exactly one end.  `ends`: question to number of ends."""
    return [f"question {which} ended {count} times" for which, count in ends.items() if count != 1]


def faults_happened(without_effect: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Each planned fault took effect.  `paths`: those of all actors of the run."""
    known = ", ".join(sorted(paths)) or "none"
    return [
        f"the planned fault {fault} never took effect (actors: {known})" for fault in without_effect
    ]


def tasks_at_baseline(before: int, after: int) -> list[str]:
    """As many tasks run after as before."""
    return [] if before == after else [f"{after - before} tasks were left behind"]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from _leaves(inner)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield error
