"""What a worker has more where several share a database: its leases, and who watches by them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.journal.room_leases import RoomLeases, WorkerStatus
from actors.rooms.lease_keeper import LeaseKeeper
from bridge import __version__
from bridge.config.settings import Settings
from bridge.livekit.watching.leased_watching import LeasedWatching
from bridge.livekit.watching.reconciler import Reconciler
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


def watch_by_leases(reconciler: Reconciler, leases: RoomLeases, program: Program) -> LeasedWatching:
    """The watching of rooms by leases; `reconciler` is for the time without the database."""
    keeper = program.rooms.keeper
    assert keeper is not None
    return LeasedWatching(
        reconciler, leases, keeper, program.worker.config.instance, rng=reconciler.rng
    )


def answer_offer(keeper: LeaseKeeper, offer: Offer, answer: Callable[[bool], object]) -> None:
    """Answer an offered job once it is known whether its room is ours."""
    keeper.answer_offer(offer.room, offer.room_sid, answer)
