"""Webhooks out in the simulation: kills at each step, and a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.journal.feed import Position
from actors.outlets.breaker import Breaker
from actors.outlets.outbox import Outbox
from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from actors.simulation import RECEIVER_FAULTS, Plan, Step, draw, play
from actors.simulation.simulated_outbox import SimulatedOutbox
from actors.simulation.simulated_receiver import SimulatedSender

JOIN = tuple(Step(1.0, "join", room, who, 1, 0.0) for room in (0, 2) for who in (0, 1))
TRACKS = tuple(Step(4.0 + n / 2, "publish", 2 * (n % 2), n % 4, 1, 0.1 * n) for n in range(8))


def plan(*steps: Step) -> Plan:
    """Two rooms in which tracks are published from second 4 to 8, and what strikes."""
    ordered = sorted((*JOIN, *TRACKS, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 3, 20.0, reconciled=True, outlets=True)


@pytest.mark.parametrize("fault", RECEIVER_FAULTS)
def test_killed_at_each_step_beside_a_receiver_that_is_not_well(fault: str) -> None:
    for n in range(20):
        outcome = play(
            plan(Step(5.0, fault, 0, n % 2, 3, 0.0), Step(6.0, "kill", 0, n % 2, 3, n / 20))
        )
        assert outcome.injected[fault] > 0
        assert outcome.injected["kill"] == 1
        assert outcome.violations == (), f"killed at step {n}"


def test_a_plan_without_an_endpoint_has_none_of_its_faults_and_laws() -> None:
    outcome = play(draw(1, outlets=False))
    assert outcome.checked["webhooks arrive"] == 0
    assert not outcome.injected.keys() & set(RECEIVER_FAULTS)
    assert play(draw(1, outlets=True)).checked["webhooks arrive"] == 1


def test_a_plan_that_was_saved_before_there_were_endpoints_can_be_replayed() -> None:
    saved = draw(1, outlets=False).to_json().replace(', "outlets": false', "")
    assert "outlets" not in saved
    assert Plan.from_json(saved) == draw(1, outlets=False)


# ---------------------------------------------------------------- saboteurs

Mutation = Callable[[pytest.MonkeyPatch], None]


def forget_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Outbox._deliver_or_park

    async def deliver(outbox: Outbox, delivery: Delivery) -> None:
        await real(outbox, delivery)

    monkeypatch.setattr(Outbox, "_deliver_or_park", deliver)


def save_the_cursor_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the page then loses the rest of it."""
    real = Outbox._follow

    async def follow(outbox: Outbox) -> bool:
        page = await outbox._patiently(outbox._feed.after, outbox.counts.position, 50)
        position = outbox.counts.position
        for entry in page.entries:
            position |= entry.position
        if page.entries:
            await outbox._save(cursor=str(position))
        return await real(outbox)

    monkeypatch.setattr(Outbox, "_follow", follow)


def never_save_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Outbox._save

    async def save(outbox: Outbox, *, cursor: str | None = None, **more: Any) -> None:
        first = str(Position.at(1, 0))
        await real(outbox, cursor=None if cursor is None else first, **more)

    monkeypatch.setattr(Outbox, "_save", save)


def overtake_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Outbox._deliver_or_park

    async def deliver(outbox: Outbox, delivery: Delivery) -> Any:
        outbox._blocked.discard(delivery.session)
        return await real(outbox, delivery)

    monkeypatch.setattr(Outbox, "_deliver_or_park", deliver)


def send_what_it_does_not_want(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox sends what its subscription does not want."""
    monkeypatch.setattr(Outbox, "_wants", lambda _, entry: entry.room != "room-0")


def take_gone_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SimulatedSender.send

    async def send(sender: SimulatedSender, delivery: Delivery) -> Attempt:
        attempt = await real(sender, delivery)
        if attempt.result is AttemptResult.GONE:
            return evolve(attempt, result=AttemptResult.FAILED)
        return attempt

    monkeypatch.setattr(SimulatedSender, "send", send)


def forget_that_it_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run begins as if the endpoint was enabled."""
    real = SimulatedOutbox.open

    async def open_(store: SimulatedOutbox, outlet: str) -> Any:
        return evolve(await real(store, outlet), disabled=None)

    monkeypatch.setattr(SimulatedOutbox, "open", open_)


def never_open_the_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "failed", lambda *_: None)


def probe_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "allows", lambda *_: True)


@pytest.mark.parametrize(
    "mutation, found",
    [
        (forget_what_failed, "webhooks arrive: "),
        (save_the_cursor_too_early, "webhooks arrive: "),
        (never_save_the_cursor, "webhooks come twice for a reason: "),
        (overtake_what_waits, "webhooks are in order: "),
        (send_what_it_does_not_want, "webhooks are wanted: "),
        (take_gone_for_a_failure, "a 410 disables: "),
        (forget_that_it_is_disabled, "a 410 disables: "),
        (never_open_the_breaker, "one probe: "),
        (probe_all_the_time, "one probe: "),
    ],
)
def test_an_outbox_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Mutation, found: str
) -> None:
    mutation(monkeypatch)
    assert any(
        one.startswith(found)
        for seed in range(30)
        for one in play(draw(seed, rooms=4, among=("kill",), outlets=True)).violations
    )
