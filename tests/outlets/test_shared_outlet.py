"""Webhooks of several workers over one database: each event once, whoever recorded it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio
from attrs import define, field

from actors.outlets.outbox import Outbox
from actors.outlets.outbox_port import Parked
from actors.outlets.outlet_port import Attempt, Delivery, Sender
from actors.outlets.subscription import Subscription
from bridge.app import shared_outlet
from bridge.app.forget import forget
from bridge.app.outlets import Outlet
from bridge.app.shared_outlet import SharedOutlet
from bridge.cli import main
from bridge.config.store_address import StoreAddress
from bridge.config.webhook_list import WebhookSettings
from bridge.outlets.database_outbox import DatabaseOutbox
from bridge.outlets.endpoint_url import EndpointUrl
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_feed import PostgresFeed
from tests.outlets.outbox_stage import WELL
from tests.store.stored_history import History

BOUND = 60.0
SOON = 0.01


@define(eq=False)
class Receiver:
    """Fills `Sender`.  A delivery waits for `gate`."""

    took: list[str] = field(factory=list[str])
    gate: trio.Event = field(factory=trio.Event)
    asked: trio.Event = field(factory=trio.Event)

    async def send(self, delivery: Delivery) -> Attempt:
        self.asked.set()
        await self.gate.wait()
        self.took.append(delivery.id)
        return WELL

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Sharing:
    """One worker's side of the endpoint `crm`."""

    url: str
    instance: str
    renew_every: float = SOON
    receiver: Receiver = field(factory=Receiver)
    outlet: Outlet = field(init=False)
    store: DatabaseOutbox = field(init=False)

    def __attrs_post_init__(self) -> None:
        endpoint = EndpointUrl.parse("https://crm.example.org/hook")
        self.outlet = Outlet(
            WebhookSettings("crm", endpoint, (), ("data_message",), ("*",), "standard")
        )
        self.store = DatabaseOutbox(self.url, self.instance, lease=BOUND)

    async def run(self) -> None:
        try:
            await SharedOutlet(
                self.outlet, self.store, lambda: self.receiver, self._outbox, self.renew_every
            ).run()
        finally:
            with trio.CancelScope(shield=True):
                await self.store.aclose()

    def _outbox(self, sender: Sender) -> Outbox:
        async def summary(_: str) -> None:
            await trio.lowlevel.checkpoint()

        return Outbox(
            "crm",
            Subscription(("data_message",)),
            sender,
            self.store,
            PostgresFeed(self.url, look_every=SOON),
            summary=summary,
            clock=time.time,
            announce=lambda _, /, **__: None,
            counts=self.outlet.counts,
            look=SOON,
        )


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(BOUND):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(SOON)


async def test_each_event_is_delivered_once_also_after_the_worker_that_delivered_is_gone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_outlet, "RELEASE_SECONDS", BOUND)
    a, b = History(time.time()), History(time.time())
    first, second = Sharing(database_url, "a", renew_every=BOUND), Sharing(database_url, "b")
    second.receiver.gate.set()
    async with (
        open_database_store(database_url, instance="a") as archive_a,
        open_database_store(database_url, instance="b") as archive_b,
        trio.open_nursery() as nursery,
    ):
        of_a, of_b = a.begin("room-a", "RM_a"), b.begin("room-b", "RM_b")
        await a.write_to(archive_a)
        await b.write_to(archive_b)

        async def talk() -> None:
            for history, journal, archive in ((a, of_a, archive_a), (b, of_b, archive_b)):
                history.talk(journal, 2)
                await history.write_to(archive)

        nursery.start_soon(first.run)
        await until(lambda: first.outlet.is_ours and first.outlet.counts.position.places)
        nursery.start_soon(second.run)
        await until(lambda: second.outlet.worker == "a")
        assert not second.outlet.is_ours
        await talk()
        # The first one stands still in a delivery, and its lease ends.
        await first.receiver.asked.wait()
        assert second.receiver.took == []
        with psycopg.connect(database_url, autocommit=True) as db:
            db.execute("UPDATE room_actors.outlets SET expires = '-infinity'")
        sessions = {of_a.number, of_b.number}
        await until(lambda: len(second.receiver.took) == 4)
        assert {int(one.split("-")[0]) for one in second.receiver.took} == sessions
        # It goes on, later than its lease: nothing more is sent by it than that one delivery.
        first.store.lease = 0.0
        first.receiver.gate.set()
        await until(lambda: not first.outlet.is_ours)
        await talk()
        await until(lambda: len(second.receiver.took) == 8)
        assert len(set(second.receiver.took)) == 8
        assert first.receiver.took == second.receiver.took[:1]
        facts = {one.name: one for one in await second.store.facts()}
        assert (facts["crm"].worker, facts["crm"].url) == ("b", "https://crm.example.org/")
        nursery.cancel_scope.cancel()
    # An orderly end releases the lease at once, and the counts are those of all.
    third = DatabaseOutbox(database_url, "c")
    assert (await third.acquire("crm", "")).is_ours
    (crm,) = await third.facts()
    assert (crm.worker, crm.delivered) == ("c", 8)
    await third.aclose()


async def test_the_commands_work_on_the_outbox_of_a_database_from_any_machine(
    database_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = DatabaseOutbox(database_url, "a")
    await store.acquire("crm", "https://crm.example.org")
    data = {"identity": "zebediah"}
    one = Delivery("m-1", 1, "RM_1", "r", "RM_1", "participant_connected", 1.7e9, data)
    await store.save("crm", parked=[Parked(one, 9, 1.7e9, 1.7e9, error="500", dead=True)])
    await store.disable("crm", "410")

    async def outbox(*args: str) -> str:
        command = ["outbox", *args, "--database-url", database_url]
        assert await trio.to_thread.run_sync(main, command) == 0
        return capsys.readouterr().out

    answer = json.loads(await outbox("--json"))
    assert answer["webhooks"] == [
        {"webhook": "crm", "waiting": 0, "dead": 1, "dropped": 0, "disabled": "410"}
    ]
    assert [(row["id"], row["dead"]) for row in answer["deliveries"]] == [("m-1", True)]
    assert (await outbox("retry")).startswith("1 will be sent again")
    assert await outbox("enable") == "enabled: crm\n"
    row = await store.open("crm")
    assert (row.waiting, row.dead, row.disabled) == (1, 0, None)
    address = StoreAddress(tmp_path, database_url)
    report = await trio.to_thread.run_sync(partial(forget, address, "zebediah", lambda _: None))
    assert report.webhooks == 1
    ((_, parked),) = await store.listed(10)
    assert "zebediah" not in str(parked.delivery.data)
    await store.aclose()
