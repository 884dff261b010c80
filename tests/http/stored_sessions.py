"""Sessions in a store, and the API that shows them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from attrs import define, evolve, field

from actors.journal.conversation_texts import ConversationText, Speaker, TextRetention
from actors.journal.journal import Journal
from actors.rooms.run_counters import RunCounters
from actors.runtime import ActorSystem, open_system
from actors.session import AttributesChanged, MetadataChanged, SessionState
from bridge.app.web_ports import WorkerSnapshot
from bridge.config.public_address import PublicAddress
from bridge.http.api.alert_routes import AlertRoutes, AlertSource
from bridge.http.api.announcement_routes import AnnouncementRoutes
from bridge.http.api.attendance_routes import AttendanceRoutes
from bridge.http.api.audio_routes import AudioRoutes
from bridge.http.api.conversation_routes import ConversationRoutes, TextReaders
from bridge.http.api.endpoints import Api, StoreReaders
from bridge.http.api.event_stream import EventSource
from bridge.http.api.outbox_routes import OutboxRoutes
from bridge.http.api.span_routes import SpanRoutes
from bridge.http.api.worker_types import DeliveryView, EndpointView, OutboxAnswer, WorkerView
from bridge.http.health import health
from bridge.http.metric_sources import Requests, RuntimeCounters, Sources
from bridge.http.metrics import Metrics
from bridge.http.server.routes import HttpRoute, app
from bridge.http.server.time_slices import in_slices
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_feed import SqliteFeed
from bridge.store.sqlite_reader import open_reader
from bridge.store.sqlite_texts import SqliteTexts
from bridge.store.text_file import open_texts
from tests.http.site import Site, open_site
from tests.store.stored_history import History

HOSTILE = '=HYPERLINK("http://evil.example")\x1b[31m\u202e<script>'

RULES = ("alone", "poor")
"""Rules that make alerts."""

WORKER: dict[str, Any] = {
    "id": "0123456789ab",
    "name": None,
    "state": "running",
    "answers": True,
    "url": None,
    "started_at": None,
    "last_seen": None,
    "livekit_id": "AW_1",
    "agent_name": "agent",
    "version": "0",
    "registered": True,
    "draining": False,
    "rooms": 1,
    "max_rooms": 500,
    "waiting": {"rooms": 1, "names": [f"{HOSTILE}\ud800"]},
    "load": 0.002,
    "store": {
        "trouble": None,
        "written_at": "2026-09-21T14:13:20.000Z",
        "lines_waiting": 0,
        "lines_written": 1,
        "lines_lost": 0,
    },
}


def sources_of(
    history: History, system: ActorSystem, feed: EventSource, journals: list[Journal]
) -> Sources:
    """The metrics of a worker that was never connected to LiveKit."""
    worker = WorkerSnapshot(
        name="w",
        livekit_id="",
        livekit_url="http://localhost:1",
        agent_name="agent",
        version="0",
        registered=False,
        draining=False,
        max_rooms=8,
        watched_rooms=0,
        entering=0,
        takes_jobs=False,
    )
    runtime = RuntimeCounters()
    system.listen(runtime.take)
    return Sources(
        sessions=lambda: (journal.state for journal in journals),
        run=RunCounters(),
        runtime=runtime,
        system=system,
        backlog=history.backlog,
        worker=lambda: worker,
        webhooks={"accepted": 2},
        webhooks_dropped=lambda: 1,
        events=feed,
        requests=Requests(),
        clock=lambda: history.now,
    )


@define(eq=False)
class StoredSessions:
    """A worker that writes sessions, and a site that reads them."""

    site: Site
    history: History
    archive: SqliteArchive
    feed: EventSource
    system: ActorSystem
    rows: tuple[HttpRoute, ...]
    directory: Path
    open_states: list[SessionState] = field(factory=list[SessionState])
    """States of live sessions, as the worker has them."""
    live: Journal = field(init=False)
    """The session `RM_live`."""
    _feeding: trio.CancelScope = field(factory=trio.CancelScope)

    def stop_feed(self) -> None:
        """Ends the streams as the end of the server does."""
        self._feeding.cancel()

    async def run_feed(self) -> None:
        with self._feeding:
            await self.feed.run()

    async def get(self, path: str, **parameters: str | int) -> Any:
        """The JSON of an answer that must be good."""
        answer = await self.site.http.get(path, params=parameters or None)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def write(self) -> None:
        """Store the records since the last time, as the actor of the store does."""
        await self.archive.write(self.history.backlog.take(self.history.now))
        self.history.backlog.done()

    async def fill(self, ended: int = 5) -> None:
        """`RM_0` and on have ended; `RM_0` is hostile in all its words."""
        history = self.history
        for number in range(ended):
            room = HOSTILE if number == 0 else f"team-{number % 2}"
            people = [HOSTILE] if number == 0 else [f"person-{n}" for n in range(number + 1)]
            journal = history.begin(room, f"RM_{number}", *people)
            history.talk(journal, 3, people[0])
            journal.record(MetadataChanged(history.now, people[0], HOSTILE))
            journal.record(AttributesChanged(history.now, people[0], {"to": HOSTILE}))
            journal.end(history.now, "room_closed")
            history.now += 3_600.0
        self.live = history.begin("live", "RM_live")
        history.talk(self.live, 2)
        await self.write()
        texts = SqliteTexts(self.directory, TextRetention(spoken=1e9, tools=1e9))
        await texts.write(
            [
                spoken_text(history.now, "RM_0", HOSTILE),
                spoken_text(history.now, "RM_live", "a grand piano"),
                evolve(
                    spoken_text(history.now, "RM_live", '{"city": "delft"}', speaker="agent"),
                    kind="tool_arguments",
                    name="weather",
                ),
            ]
        )
        await texts.aclose()


def spoken_text(
    at: float, session: str, text: str, speaker: Speaker = "person"
) -> ConversationText:
    identity = "agent-AJ_1" if speaker == "agent" else "person-0"
    item = f"item_{len(text)}"
    return ConversationText("live", session, "AJ_1", item, "speech", speaker, identity, at, text)


async def _outbox() -> OutboxAnswer:
    """An endpoint that is down, and one delivery that waits for it."""
    endpoint = EndpointView(
        name="crm", url="https://crm.example/", worker=None, delivered=3, failed=1, waiting=1,
        dead=0, dropped=0, disabled=None, last_error="status 500",
        last_delivered_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip
    delivery = DeliveryView(
        id="1-2-0", webhook="crm", event="track_muted", room="standup", session="RM_1",
        at="2026-01-01T00:00:00.000Z", attempts=1, due="2026-01-01T00:00:05.000Z", dead=False,
        error="status 500",
    )  # fmt: skip
    return OutboxAnswer(webhooks=(endpoint,), deliveries=(delivery,))


@asynccontextmanager
async def open_stored(
    data_dir: Path,
    *,
    token: str | None = None,
    front: PublicAddress | None = None,
    more: Callable[[StoreReaders], tuple[HttpRoute, ...]] = lambda _: (),
    **limits: int,
) -> AsyncGenerator[StoredSessions, None]:
    """An empty store and the whole API on it, with `more` rows; `limits` are those of the feed."""
    history, live = History(), list[SessionState]()
    async with open_store(data_dir, instance="w") as archive, open_system() as system:
        readers = StoreReaders(lambda: open_reader(data_dir))
        feed = EventSource(SqliteFeed(data_dir, lambda: history.backlog.batch_written), **limits)

        async def actors() -> dict[str, Any]:
            return {
                "tree": await in_slices(system.tree_in_steps()),
                "dead_letters": system.dead_letters.total(),
                "recent_dead_letters": list(system.recent_dead_letters),
            }

        api = Api(
            readers,
            workers=lambda: [msgspec.convert(WORKER, WorkerView)],
            actors=actors,
            version="0",
        )
        metrics = Metrics(sources_of(history, system, feed, []))
        outbox = OutboxRoutes(_outbox)
        alerts = AlertRoutes(readers, AlertSource(lambda: live, RULES))
        rows = (
            *health({}, WORKER["id"]),
            *AudioRoutes(readers, lambda *_: None).rows,
            *SpanRoutes(readers, None).rows,
            *ConversationRoutes(readers, TextReaders(lambda: open_texts(data_dir))).rows,
            *api.rows,
            *outbox.rows,
            *AnnouncementRoutes(None).rows,
            *alerts.rows,
            *AttendanceRoutes(readers).rows,
            *feed.rows,
            *metrics.rows,
            *more(readers),
        )
        async with (
            trio.open_nursery() as nursery,
            open_site(app(rows, loopback=True, token=token, front=front)) as site,
        ):
            stored = StoredSessions(
                site, history, archive, feed, system, rows, data_dir, open_states=live
            )
            nursery.start_soon(stored.run_feed)
            yield stored
            nursery.cancel_scope.cancel()
