"""The outbox of each endpoint, put together: feed, store, sender, and an actor that runs it.

Imported only where an endpoint is configured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import trio
from attrs import define, field, frozen

from actors.journal.archive import ArchiveTrouble
from actors.journal.feed import Feed
from actors.journal.process_ports import Announce, Clock
from actors.journal.session_reader import NoStore, SessionUnreadable, StoreRefused
from actors.outlets.outbox import Outbox
from actors.outlets.outbox_port import Parked
from actors.outlets.outlet_counts import OutletCounts
from actors.outlets.subscription import Subscription
from actors.runtime import ActorSystem, ChildSpec, Intensity, Service
from bridge.app.session_source import open_sessions
from bridge.config.store_address import StoreAddress
from bridge.config.webhook_list import WebhookSettings
from bridge.livekit.tokens import ApiKey
from bridge.outlets.http_sender import HttpSender
from bridge.outlets.signatures import Signer
from bridge.outlets.sqlite_outbox import SqliteOutbox

MOST_LISTED: Final = 1_000
"""Deliveries that the API lists."""
RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of an outbox restarts it for ever, with backoff: rooms must not notice."""


@define
class Outlet:
    """One endpoint of the running program, as the page and `/metrics` see it."""

    settings: WebhookSettings
    counts: OutletCounts = field(factory=OutletCounts)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def shown_url(self) -> str:
        return self.settings.url.shown


@frozen
class RunningOutlets:
    """All endpoints of a program."""

    outlets: tuple[Outlet, ...]
    feed: Feed
    parked: Callable[[], Awaitable[Sequence[tuple[str, Parked]]]]
    """Deliveries that wait or were given up, with their endpoint's name.  Raises
    `OutboxTrouble`."""

    async def deliver_the_rest(self, seconds: float) -> None:
        """Wait until every endpoint got all there is, `seconds` at most; the next run does the
        rest."""
        with trio.move_on_after(seconds):
            for outlet in self.outlets:
                while not (outlet.counts.disabled or outlet.counts.waiting):
                    try:
                        page = await self.feed.after(outlet.counts.position, 1)
                    except ArchiveTrouble:
                        return
                    if not page.entries:
                        break
                    await trio.sleep(0.05)


def start_outlets(
    webhooks: Sequence[WebhookSettings],
    system: ActorSystem,
    address: StoreAddress,
    feed: Feed,
    api_key: ApiKey,
    *,
    clock: Clock,
    announce: Announce,
) -> RunningOutlets:
    """Start an outbox for each endpoint, under the root supervisor.

    What waits is in a file of the data directory, also where the sessions are in a database.
    """
    store, reading = SqliteOutbox(address.data_dir), trio.CapacityLimiter(1)

    async def summary(session: str) -> Mapping[str, Any] | None:
        return await trio.to_thread.run_sync(_summary, address, session, limiter=reading)

    def outbox(outlet: Outlet) -> Service:
        webhook = outlet.settings
        sender = HttpSender(
            webhook.url,
            webhook.format,
            Signer.of(webhook.format, webhook.secret, api_key),
            now=clock,
        )
        return Service(
            Outbox(
                webhook.name,
                Subscription(webhook.events, webhook.rooms, webhook.name),
                sender,
                store,
                feed,
                summary=summary,
                clock=clock,
                announce=announce,
                counts=outlet.counts,
            ).run
        )

    outlets = tuple(map(Outlet, webhooks))
    for outlet in outlets:
        system.supervisor.start_child(
            ChildSpec(f"outlet-{outlet.settings.name}", partial(outbox, outlet), intensity=RESTARTS)
        )
    return RunningOutlets(outlets, feed, partial(store.listed, MOST_LISTED))


def _summary(address: StoreAddress, session: str) -> Mapping[str, Any] | None:
    """The session whole but for its timeline; None where it is not to be had."""
    try:
        with open_sessions(address) as reader, reader.open_session(session) as opened:
            if opened is None:
                return None
            # Its timeline went out entry by entry.
            view = msgspec.structs.replace(opened.view, timeline=None)
            summary: dict[str, Any] = msgspec.to_builtins(view)
            return summary
    except (NoStore, StoreRefused, SessionUnreadable, ArchiveTrouble):
        return None
