"""The outbox of each endpoint, put together: feed, store, sender, and an actor that runs it.

Imported only where an endpoint is configured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio
from attrs import define, field, frozen

from actors.journal.archive import ArchiveTrouble
from actors.journal.feed import Feed
from actors.journal.process_ports import Announce, Clock
from actors.journal.session_reader import NoStore, SessionUnreadable, StoreRefused
from actors.outlets.outbox import Outbox
from actors.outlets.outbox_port import OutboxStore, Parked
from actors.outlets.outlet_counts import OutletCounts
from actors.outlets.outlet_port import Sender
from actors.outlets.subscription import Subscription
from actors.runtime import ActorSystem, ChildSpec, Intensity, Service
from bridge.app.session_source import open_sessions
from bridge.config.store_address import StoreAddress
from bridge.config.webhook_list import WebhookSettings
from bridge.livekit.tokens import ApiKey
from bridge.outlets.http_sender import HttpSender
from bridge.outlets.outbox_view import MOST_LISTED, OutletFacts
from bridge.outlets.signatures import Signer
from bridge.outlets.sqlite_outbox import SqliteOutbox

if TYPE_CHECKING:
    from bridge.outlets.database_outbox import DatabaseOutbox

CLOSE_SECONDS: Final = 2.0
RESTARTS: Final = Intensity(restarts=1_000_000, within=1.0)
"""A crash of an outbox restarts it for ever, with backoff: rooms must not notice."""


@define
class Outlet:
    """One endpoint of the running program, as the page and `/metrics` see it."""

    settings: WebhookSettings
    counts: OutletCounts = field(factory=OutletCounts)
    is_ours: bool = True
    """This worker delivers to it."""
    worker: str = ""
    """The instance of the worker that does, where another one does."""

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
    facts: Callable[[], Awaitable[Sequence[OutletFacts]]]
    """The endpoints of the outbox.  Raises `OutboxTrouble`."""
    parked: Callable[[], Awaitable[Sequence[tuple[str, Parked]]]]
    """Deliveries that wait or were given up, with their endpoint's name.  Raises
    `OutboxTrouble`."""
    close: Callable[[], Awaitable[None]]

    async def aclose(self) -> None:
        """Close the outbox, after the actors that deliver have ended."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            await self.close()

    async def deliver_the_rest(self, seconds: float) -> None:
        """Wait until every endpoint got all there is, `seconds` at most; the next run does the
        rest."""
        with trio.move_on_after(seconds):
            for outlet in self.outlets:
                while outlet.is_ours and not (outlet.counts.disabled or outlet.counts.waiting):
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
    instance: str,
    clock: Clock,
    announce: Announce,
) -> RunningOutlets:
    """Start an outbox for each endpoint, under the root supervisor.

    What waits is where the sessions are: in a file of the data directory, or in a database, where
    one worker delivers what all of them recorded.  `instance` is this worker's id.
    """
    reading = trio.CapacityLimiter(1)
    shared: DatabaseOutbox | None = None
    if address.database_url is None or address.has_local_events:
        store = SqliteOutbox(address.data_dir)
    else:
        from bridge.outlets.database_outbox import DatabaseOutbox

        store = shared = DatabaseOutbox(address.database_url, instance)

    async def summary(session: str) -> Mapping[str, Any] | None:
        return await trio.to_thread.run_sync(_summary, address, session, limiter=reading)

    def make_sender(webhook: WebhookSettings) -> Sender:
        signer = Signer.of(webhook.format, webhook.secret, api_key)
        return HttpSender(webhook.url, webhook.format, signer, now=clock)

    def make_outbox(outlet: Outlet, store: OutboxStore, sender: Sender) -> Outbox:
        webhook = outlet.settings
        return Outbox(
            webhook.name,
            Subscription(webhook.events, webhook.rooms, webhook.name),
            sender,
            store,
            feed,
            summary=summary,
            clock=clock,
            announce=announce,
            counts=outlet.counts,
        )

    def service(outlet: Outlet) -> Service:
        if shared is None:
            return Service(make_outbox(outlet, store, make_sender(outlet.settings)).run)
        from bridge.app.shared_outlet import SharedOutlet

        make = partial(make_outbox, outlet, shared)
        return Service(
            SharedOutlet(outlet, shared, partial(make_sender, outlet.settings), make).run
        )

    outlets = tuple(map(Outlet, webhooks))
    for outlet in outlets:
        system.supervisor.start_child(
            ChildSpec(
                f"outlet-{outlet.settings.name}", partial(service, outlet), intensity=RESTARTS
            )
        )

    async def facts() -> Sequence[OutletFacts]:
        return tuple(map(facts_of, outlets)) if shared is None else await shared.facts()

    return RunningOutlets(outlets, feed, facts, partial(store.listed, MOST_LISTED), store.aclose)


def facts_of(outlet: Outlet) -> OutletFacts:
    """An endpoint of this worker alone."""
    counts = outlet.counts
    return OutletFacts(
        name=outlet.name,
        url=outlet.shown_url,
        worker="",
        delivered=counts.delivered,
        failed=counts.failed,
        waiting=counts.waiting,
        dead=counts.dead,
        dropped=counts.dropped,
        disabled=counts.disabled,
        last_error=counts.last_error,
        last_delivered_at=counts.last_delivered_at,
    )


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
