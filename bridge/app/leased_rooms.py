"""The parts of a worker that shares a database: its leases, and the watching by them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.journal.room_leases import RoomLeases, WorkerStatus
from actors.rooms.lease_keeper import LeaseKeeper
from actors.rooms.webhook_relay import RelayPorts, WebhookRelay, flush_sessions
from bridge import __version__
from bridge.config.settings import Settings
from bridge.livekit.watching.leased_watching import LeasedWatching
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.room_candidates import watches
from bridge.livekit.worker.jobs import JobBook, Offer

if TYPE_CHECKING:
    from bridge.app.program import Program


def status_of(
    settings: Settings, book: JobBook, program: Callable[[], Program]
) -> Callable[[], WorkerStatus]:
    """Gives what the other workers may know of this one, as it is at each call."""
    name = settings.worker_name or socket.gethostname()

    def status() -> WorkerStatus:
        http = program().http
        return WorkerStatus(
            name,
            __version__,
            url="" if http is None else f"http://{http}{settings.http_root}",
            rooms=book.used,
            max_rooms=settings.max_rooms,
            load=min(1.0, book.used / settings.max_rooms) if settings.max_rooms else 0.0,
            draining=book.draining,
        )

    return status


def watch_by_leases(
    settings: Settings, reconciler: Reconciler, leases: RoomLeases, program: Program
) -> LeasedWatching:
    """The watching of rooms by leases; `reconciler` is for the time without the database.

    It also makes the relay of webhooks.
    """
    keeper = program.rooms.keeper
    assert keeper is not None
    watching = LeasedWatching(
        reconciler, leases, keeper, program.worker.config.instance, rng=reconciler.rng
    )
    program.relay = _webhook_relay(settings, leases, program, watching)
    return watching


def _webhook_relay(
    settings: Settings, leases: RoomLeases, program: Program, watching: LeasedWatching
) -> WebhookRelay:
    """Brings LiveKit's webhooks to the owners of their rooms."""
    rooms, keeper = program.rooms, watching.keeper

    async def adopt(room: str, room_sid: str) -> bool:
        lease = await leases.acquire(room, room_sid)
        if lease is not None and lease.stored is None:
            await leases.release([room_sid])
            await leases.remove([room_sid])
        elif lease is not None:
            keeper.take(lease)
        return lease is not None and lease.stored is not None

    ports = RelayPorts(
        take=rooms.take_webhook,
        knows=rooms.table.knows,
        is_away=lambda: bool(keeper.trouble),
        is_leader=lambda: watching.is_leader,
        is_watched=lambda room: watches(settings.watch, room),
        adopt=adopt,
        flush=partial(flush_sessions, rooms.table, rooms.backlog, rooms.flush),
    )
    return WebhookRelay(leases, ports)


def answer_offer(keeper: LeaseKeeper, offer: Offer, answer: Callable[[bool], object]) -> None:
    """Answer an offered job once it is known whether its room is ours."""
    keeper.answer_offer(offer.room, offer.room_sid, answer)
