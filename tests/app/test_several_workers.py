"""Several workers of one database as a user runs them: real rooms, people and processes."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
import trio
from livekit.protocol import models

from actors.journal.session_filters import ALL
from actors.session.webhook_reports import WebhookJoinAborted
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey
from bridge.livekit.webhooks.verify import WEBHOOK_PATH
from bridge.postgres.postgres_reader import open_database_journals
from bridge.store.journal_rows import unpack_chunk
from tests.app.agent_program import Agent, running_agent, server_api
from tests.livekit.webhooks.webhook_sender import body_of, event, headers_for

ROOMS = 12
WITH_PEOPLE = 3
LONG = 300
"""Seconds after which an empty room ends: it outlives a pause of all workers."""

HANG = 120.0
"""Seconds that bound a wait: a machine under load needs many for a dozen rooms."""

OWNERS = """
    SELECT room_leases.room_sid, room, instance FROM room_leases
    JOIN workers ON owner = worker AND room_leases.epoch = workers.epoch WHERE expires > now()
    """


class Workers:
    """Worker processes over one LiveKit server and one database."""

    _nursery: trio.Nursery

    def __init__(self, server: PrivateServer, database: str, folder: Path, api: ServerApi) -> None:
        self._server, self._database, self._folder = server, database, folder
        self._agent_name = f"watcher-{uuid4().hex[:8]}"
        self.prefix = f"several-{uuid4().hex[:8]}"
        self.api = api
        self.dead = set[str]()
        """Workers that were killed: LiveKit still lists their agents for a while."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Workers, None]:
        async with trio.open_nursery() as self._nursery:
            yield self
            self._nursery.cancel_scope.cancel()

    async def start(self, name: str) -> Agent:
        agent: Agent = await self._nursery.start(self._run, name)
        await agent.logged("worker_registered")
        return agent

    async def _run(self, name: str, *, task_status: trio.TaskStatus[Agent]) -> None:
        # A busy machine needs longer than the default to hand over.
        flags = (
            "--watch", f"{self.prefix}-*", "--agent-name", self._agent_name,
            "--stop-timeout", f"{HANG:g}s",
        )  # fmt: skip
        env = {"ROOM_ACTORS_DATABASE_URL": self._database, "ROOM_ACTORS_WORKER_NAME": name}
        async with running_agent(self._server, self._folder / name, *flags, env=env) as agent:
            task_status.started(agent)
            await trio.sleep_forever()

    async def query(self, sql: str) -> list[Any]:
        def ask() -> list[Any]:
            with psycopg.connect(self._database, options="-c search_path=room_actors") as db:
                return db.execute(sql.encode()).fetchall()

        return await trio.to_thread.run_sync(ask)

    async def numbers(self) -> dict[str, int]:
        """Wait until each room has a session.  Gives their numbers, by room SID."""
        with trio.fail_after(HANG):
            rows: list[Any] = []
            while len(rows) < ROOMS:
                await trio.sleep(0.2)
                rows = await self.query("SELECT room_sid, session FROM sessions")
        assert len({sid for sid, _ in rows}) == len(rows) == ROOMS, "a room has two sessions"
        return dict(rows)

    async def fold_a_webhook_once(self, room: str, agents: Collection[Agent]) -> None:
        """Post the same webhook to all workers: the one in the room folds it, once."""
        ((sid, session),) = await self.query(
            f"SELECT room_sid, session FROM sessions WHERE room = '{room}'"
        )
        who = models.ParticipantInfo(identity="too quick", sid="PA_quick")
        body = body_of(
            event(
                "participant_connection_aborted",
                room=models.Room(sid=sid, name=room),
                participant=who,
            )
        )
        key = ApiKey(self._server.api_key, self._server.api_secret)
        async with httpx2.AsyncClient() as http:
            for agent in agents:
                address = (await agent.logged("http_listening"))["address"]
                answer = await http.post(
                    f"http://{address}{WEBHOOK_PATH}", content=body, headers=headers_for(body, key)
                )
                assert answer.status_code == 200
        with trio.fail_after(HANG):
            while not await self.query("SELECT 1 FROM webhook_events WHERE dropped"):  # noqa: ASYNC110
                await trio.sleep(0.2)

        def folds() -> int:
            with open_database_journals(self._database) as reader:
                (journal,) = [one for one in reader.journals(ALL) if one.session == session]
                records = list(reader.records(journal))
            return sum(isinstance(record, WebhookJoinAborted) for record in records)

        assert await trio.to_thread.run_sync(folds) == 1

    async def watched_by(self, *names: str) -> None:
        """Wait until these workers own all rooms, and the owner's agent alone is in each."""
        with trio.fail_after(HANG):
            while True:
                owners = await self.query(OWNERS)
                if len(owners) == ROOMS and {owner for _, _, owner in owners} <= {*names}:
                    agents = [await self._agents_in(room) for _, room, _ in owners]
                    if agents == [[owner] for _, _, owner in owners]:
                        return
                await trio.sleep(0.2)

    async def _agents_in(self, room: str) -> Collection[str]:
        instances = [
            one.attributes[INSTANCE_ATTRIBUTE]
            for one in await self.api.list_participants(room)
            if INSTANCE_ATTRIBUTE in one.attributes
        ]
        return [one for one in instances if one not in self.dead]


@pytest.fixture
async def workers(
    livekit_server: PrivateServer, empty_database: str, tmp_path: Path
) -> AsyncGenerator[Workers, None]:
    async with (
        server_api(livekit_server) as api,
        Workers(livekit_server, empty_database, tmp_path, api).open() as workers,
    ):
        yield workers


async def test_each_room_has_one_watcher_and_one_session_whatever_happens_to_workers(
    workers: Workers, people: People
) -> None:
    ada, bob, cid = [await workers.start(name) for name in ("ada", "bob", "cid")]
    for number in range(ROOMS):
        room = f"{workers.prefix}-{number}"
        await workers.api.create_room(room, empty_timeout=LONG, departure_timeout=LONG)
    for number in range(WITH_PEOPLE):
        await people.join(f"{workers.prefix}-{number}", "alice")
    await workers.watched_by("ada", "bob", "cid")
    numbers = await workers.numbers()
    await workers.fold_a_webhook_once(f"{workers.prefix}-0", (ada, bob, cid))

    # One dies and one is stopped in the same moment: the third has all.
    bob.process.kill()
    cid.signal(signal.SIGSTOP)
    workers.dead |= {"bob", "cid"}
    await workers.watched_by("ada")
    cid.signal(signal.SIGCONT)
    workers.dead.remove("cid")
    await workers.watched_by("ada", "cid")

    # A rolling restart: each hands its rooms over before it ends.
    dan = await workers.start("dan")
    for agent in (ada, cid):
        agent.signal()
        assert await agent.ended(HANG) == 0, "\n".join(agent.lines)
    await workers.watched_by("dan")
    assert await workers.numbers() == numbers
    assert await workers.query("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL") == [(0,)]

    # The last one has nobody to hand over to.
    await dan.stop()
    ended = await workers.query("SELECT session, seq, lines_lost, end_reason FROM sessions")
    assert {session for session, *_ in ended} == {*numbers.values()}
    stored: dict[int, list[int]] = {}
    for session, chunk in await workers.query("SELECT session, lines FROM chunks ORDER BY first"):
        stored.setdefault(session, []).extend(row.seq for row in unpack_chunk(chunk))
    for session, seq, lost, reason in ended:
        assert (lost, reason) == (0, "worker_stopped")
        assert stored[session] == list(range(seq + 1))
