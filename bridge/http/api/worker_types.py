"""The classes of the API's answers about workers and their outbox."""

from __future__ import annotations

from typing import Literal

from actors.session.entry_types import Time
from actors.session.view_types import Count, Share, View


class WaitingRooms(View, frozen=True, kw_only=True):
    """Rooms that are known and not watched, because the worker has no place for them."""

    rooms: Count
    """Number of these rooms."""
    names: tuple[str, ...]
    """Names of the first 100 of them."""


class WorkerStore(View, frozen=True, kw_only=True):
    """The state of the worker's writing."""

    trouble: str | None
    """Why nothing can be written now; null where all is well."""
    written_at: Time | None
    """When something was last written."""
    lines_waiting: Count
    """Records that are not on disk yet."""
    lines_written: Count
    """Records that are on disk."""
    lines_lost: Count
    """Records that were dropped."""


class WorkerView(View, frozen=True, kw_only=True):
    """A worker.  Some things only the worker that answers knows: of others they are null."""

    id: str
    """Its id, the same after a restart."""
    name: str | None = None
    """Its name for people; null where it has none beside its id."""
    state: Literal["running", "ended", "lost"] = "running"
    """Whether it runs; lost: it gave no sign of life for seconds, and it did not end in order."""
    answers: bool = True
    """Whether it is the worker that answers."""
    url: str | None = None
    """Where its page is; null where it is not known."""
    started_at: Time | None = None
    """When it started; null where it is not known."""
    last_seen: Time | None = None
    """Its last sign of life in the database; null where there is none."""
    livekit_id: str | None
    """Its id at LiveKit; null while it is not registered, and of other workers."""
    agent_name: str | None
    """Name of the agent as which it is registered; null of other workers."""
    version: str
    """Version of its program."""
    registered: bool | None
    """Whether it is registered at LiveKit; null of other workers."""
    draining: bool
    """Whether it is stopping, and takes no more rooms."""
    rooms: Count
    """Rooms that it watches."""
    max_rooms: Count
    """Rooms that it watches at most."""
    load: Share
    """The share of its rooms that is taken, as it reports it."""
    waiting: WaitingRooms | None
    """Rooms that have no place; null of other workers."""
    store: WorkerStore | None
    """How its writing goes; null of other workers."""


class WorkerList(View, frozen=True, kw_only=True):
    """The workers."""

    workers: tuple[WorkerView, ...]
    """The worker that answers, first.  With a database also all others, those that run first."""


class EndpointView(View, frozen=True, kw_only=True):
    """One endpoint that gets webhooks.  Counts of attempts are those of this run; where several
    workers share a database, those of all workers."""

    name: str
    """As in the settings."""
    url: str
    """Where it is, without path and query, which may hold a secret."""
    worker: str | None
    """Id of the worker that delivers to it, where several share a database; null where none does,
    and where there is one worker only."""
    delivered: Count
    """Deliveries that arrived."""
    failed: Count
    """Attempts that did not arrive."""
    waiting: Count
    """Deliveries that are tried again later."""
    dead: Count
    """Deliveries that were given up; `room-actors outbox retry` sends them again."""
    dropped: Count
    """Deliveries for which the outbox had no room."""
    disabled: str | None
    """Why nothing is sent; null where it is."""
    last_error: str | None
    """The error of the last attempt that failed."""
    last_delivered_at: str | None
    """When the last delivery arrived."""


class DeliveryView(View, frozen=True, kw_only=True):
    """One webhook that waits or was given up."""

    id: str
    """The `webhook-id` of each attempt."""
    webhook: str
    """The endpoint."""
    event: str
    """The event's name."""
    room: str
    """The room's name."""
    session: str
    """The session's id."""
    at: str
    """When it happened."""
    attempts: Count
    """Attempts that failed."""
    due: str | None
    """When it is tried again; null of one that was given up."""
    dead: bool
    """Whether it was given up."""
    error: str
    """The error of the last attempt."""


class OutboxAnswer(View, frozen=True, kw_only=True):
    """Outgoing webhooks of the worker that answers."""

    webhooks: tuple[EndpointView, ...]
    """The endpoints."""
    deliveries: tuple[DeliveryView, ...]
    """Deliveries that wait or were given up, 1,000 at most; those that were given up first."""
