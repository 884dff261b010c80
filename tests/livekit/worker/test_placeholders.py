"""Offers stay quick beside agents that nobody serves: placeholders, and a fresh list of agents."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import trio
from attrs import define, evolve, field
from livekit.protocol import agent, agent_dispatch
from trio_websocket import ConnectionClosed, WebSocketConnection

from bridge.lab.server import PrivateServer
from bridge.livekit.api_errors import TimedOut
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.websocket import use_websocket
from bridge.livekit.worker.dispatch_cache import (
    MOST_PEOPLE,
    NOBODY,
    REFRESH_EVERY,
    RETRY_AFTER,
    refresh_always,
)
from bridge.livekit.worker.job_kinds import PARTICIPANT_JOBS, PUBLISHER_JOBS, ROOM_JOBS
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.placeholders import placeholder_kinds, run_placeholders
from bridge.livekit.worker.registration import Registration
from bridge.livekit.worker.worker_protocol import WorkerProtocol
from tests.livekit.conftest import key_of
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.worker_harness import TIMEOUT, make_worker

ROOM, PARTICIPANT, PUBLISHER = ROOM_JOBS.type, PARTICIPANT_JOBS.type, PUBLISHER_JOBS.type


def test_each_name_is_registered_for_each_type_and_the_unnamed_one_not_for_rooms() -> None:
    missing = placeholder_kinds((ROOM_JOBS, PARTICIPANT_JOBS, PUBLISHER_JOBS), "watcher")
    assert {(kind.agent_name, kind.type) for kind in missing} == {
        ("participant-monitor", ROOM),
        ("publisher-monitor", ROOM),
        ("", PARTICIPANT),
        ("watcher", PARTICIPANT),
        ("publisher-monitor", PARTICIPANT),
        ("", PUBLISHER),
        ("watcher", PUBLISHER),
        ("participant-monitor", PUBLISHER),
    }
    assert placeholder_kinds((ROOM_JOBS,), "watcher") == ()


def test_a_placeholder_is_always_full_and_refuses_what_comes_before_the_server_knows() -> None:
    (kind, *_) = placeholder_kinds((ROOM_JOBS, PARTICIPANT_JOBS), "watcher")
    protocol = WorkerProtocol(
        Registration("", "1", "ws://s", kind=kind), JobBook(9), 0.0, iter([1])
    )
    protocol.receive(m.registered(), 0.0)
    offer = m.job("AJ_1", kind=kind.type, participant_sid="PA_1")  # pyright: ignore[reportArgumentType]  # its number
    assert protocol.receive(m.offer(offer), 1.0) == []
    sent = m.parse(protocol.data_to_send())
    (status,) = [x.update_worker.status for x in sent if x.HasField("update_worker")]
    (answer,) = [x.availability for x in sent if x.HasField("availability")]
    assert status == agent.WorkerStatus.WS_FULL
    assert (answer.available, answer.terminate) == (False, False)


def failures(server: PrivateServer) -> Sequence[str]:
    """Lines of the server's log about participant jobs for which it found no worker."""
    text = Path(server.data_dir / "livekit-server.log").read_text()
    failed = [line for line in text.splitlines() if "failed to send job request" in line]
    return [line for line in failed if "JT_PARTICIPANT" in line]


async def sit(
    server: PrivateServer, room: str, identity: str, *, task_status: trio.TaskStatus[None]
) -> None:
    """Somebody who joins by the signalling alone, which is all that LiveKit's dispatch looks at."""
    token = key_of(server).sign({"roomJoin": True, "room": room}, claims={"sub": identity})

    async def use(socket: WebSocketConnection) -> None:
        await socket.get_message()
        task_status.started()
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed:
            pass

    await use_websocket(
        Endpoint.parse(server.url), f"/rtc?access_token={token}&protocol=9", [], use
    )


async def test_with_placeholders_a_real_server_never_waits_for_a_worker_that_is_not_there(
    own_server: PrivateServer,
) -> None:
    monitor = evolve(PARTICIPANT_JOBS, agent_name="monitor")
    worker, jobs = make_worker(own_server.url, key_of(own_server), kind=monitor)
    missing = placeholder_kinds((ROOM_JOBS, monitor), "watcher")
    api = ServerApi(Endpoint.parse(own_server.url), key_of(own_server))
    async with api, trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await nursery.start(
            run_placeholders, missing, worker.config, worker.clock, random.Random(1)
        )
        await api.create_dispatch("hall", "watcher")
        for number in range(3):
            await nursery.start(sit, own_server, "hall", f"person-{number}")
        await api.create_dispatch("hall", "monitor")
        await jobs.until(lambda: len(jobs.assigned) == 3)
        with trio.fail_after(TIMEOUT):
            # Three people, for the unnamed agent of each room and for the watcher.
            while len(failures(own_server)) < 6:  # noqa: ASYNC110 (a file)
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert [line for line in failures(own_server) if "no response from servers" in line] == []


@define
class RecordedDispatches:
    """A server API that only remembers its calls, or fails."""

    calls: list[tuple[str, ...]] = field(factory=list[tuple[str, ...]])
    failing: bool = False

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        self.calls.append(("create", name, agent_name + metadata))
        if self.failing:
            raise TimedOut("CreateDispatch")
        return agent_dispatch.AgentDispatch(id=f"AD_{len(self.calls)}", room=name)

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        self.calls.append(("delete", name, dispatch_id))


async def test_the_list_of_agents_is_refreshed_in_the_smallest_room_with_people_each_minute(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    api, rooms = RecordedDispatches(), {"empty": 0}
    nursery.start_soon(refresh_always, api, lambda: rooms)
    await trio.sleep(RETRY_AFTER / 2)
    assert api.calls == [], "an empty room may have ended: a dispatch would make it again"
    rooms["hall"] = MOST_PEOPLE + 1
    await trio.sleep(RETRY_AFTER)
    assert api.calls == [("create", "hall", NOBODY), ("delete", "hall", "AD_1")]
    await trio.sleep(REFRESH_EVERY)
    assert len(api.calls) == 2, "it slows down a large room: only the first time"
    rooms |= {"team": 3, "duo": 2}
    await trio.sleep(RETRY_AFTER)
    assert [call[:2] for call in api.calls[2:]] == [("create", "duo"), ("delete", "duo")]
    api.failing = True
    await trio.sleep(REFRESH_EVERY + RETRY_AFTER)
    assert [call[0] for call in api.calls[4:]] == ["create", "create"], "tried again soon"
