"""Rooms that cannot be entered: HTTP proxies, and what `/readyz` says of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from actors.rooms.room_port import RoomJob, RoomUnreachable
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.app.entry_health import ENOUGH, CountedRooms, EntryHealth
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.proxies import VARIABLES, drop_proxies
from bridge.livekit.server_api import ServerApi
from tests.app.agent_program import WAIT, Agent, running_agent, server_api
from tests.proxy import open_proxy

NAMES = ("--agent-name", "entries-test")


def test_proxies_are_taken_out_of_the_environment_and_their_names_told() -> None:
    env = {"HTTP_PROXY": "http://u:p@h", "https_proxy": "http://h", "ALL_PROXY": "", "PATH": "/"}
    env |= {"NO_PROXY": "*", "no_proxy": "*"}
    assert drop_proxies(env) == ("HTTP_PROXY", "https_proxy")
    assert not set(VARIABLES) & set(env)
    assert env == {"PATH": "/", "NO_PROXY": "*", "no_proxy": "*"}


async def test_a_proxy_in_the_environment_keeps_us_out_of_no_room(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    """The SDK goes through HTTP_PROXY and ignores NO_PROXY, which we do not."""
    asked: list[bytes] = []

    async def refuse(stream: trio.SocketStream) -> None:
        asked.append(bytes(await stream.receive_some()))

    room = "entries-proxy"
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, refuse, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        proxy = f"http://user:hunter2@127.0.0.1:{listener.socket.getsockname()[1]}"
        env = dict.fromkeys(VARIABLES, proxy) | {"NO_PROXY": "127.0.0.1,localhost"}
        flags = (*NAMES, "--watch", room)
        async with running_agent(livekit_server, tmp_path, *flags, env=env) as agent:
            await people.join(room, "alice")
            await agent.logged("participant_found", room=room)
            (said,) = agent.events("proxy_not_used")
            await agent.stop()
        nursery.cancel_scope.cancel()
    assert said["variables"] == list(VARIABLES)
    assert "hunter2" not in "\n".join(agent.lines)
    assert asked == []


async def ready(agent: Agent, until: int) -> dict[str, Any]:
    """Ask `/readyz` until its status is this one; its body."""
    listening = await agent.logged("http_listening")
    async with httpx2.AsyncClient(trust_env=False) as http:
        with trio.fail_after(WAIT):
            while True:
                answer = await http.get(f"http://{listening['address']}/readyz")
                if answer.status_code == until:
                    return answer.json()
                await trio.sleep(0.05)


async def test_a_worker_that_enters_no_room_is_not_ready_and_says_why_until_it_does(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    room = "entries-refused"
    async with open_proxy(livekit_server.port) as proxy:
        flags = (*NAMES, "--watch", room, "--url", proxy.url)
        async with running_agent(livekit_server, tmp_path, *flags) as agent:
            await agent.logged("worker_registered")
            assert (await ready(agent, 200))["checks"]["rooms"] is None
            proxy.refused = room
            await people.join(room, "alice")
            why = (await ready(agent, 503))["checks"]
            assert (why["livekit"], why["store"]) == (None, None)
            assert why["rooms"].startswith("no room can be entered, the last ")
            assert "tries failed: " in why["rooms"]
            await agent.logged("room_entry_failed", times=ENOUGH)
            proxy.refused = None
            await agent.logged("participant_found", room=room)
            assert (await ready(agent, 200))["ready"] is True
            await agent.stop()


JOB = RoomJob("AJ_1", "standup", "RM_1", "ws://x", "token", "agent-1")


async def lives(job: RoomJob) -> RoomJob | None:
    await trio.lowlevel.checkpoint()
    return job


class Refusing:
    """A port that lets nobody in."""

    def open(self, _job: RoomJob, _offer: object) -> Refusing:
        return self

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint()
        raise RoomUnreachable("no way in")

    async def __aexit__(self, *_: object) -> None: ...


async def test_an_entry_that_fails_because_its_room_has_ended_is_no_failure() -> None:
    entries = EntryHealth()
    refusing: Any = Refusing()

    async def has_ended(_job: RoomJob) -> RoomJob | None:
        await trio.lowlevel.checkpoint()
        return None

    async def nobody_says(_job: RoomJob) -> RoomJob | None:
        await trio.lowlevel.checkpoint()
        raise RoomUnreachable("the server is down")

    async def enter(port: CountedRooms) -> None:
        with pytest.raises(RoomUnreachable, match="no way in"):
            async with port.open(JOB, lambda _: None):
                pass

    for _ in range(ENOUGH):
        await enter(CountedRooms(refusing, entries, has_ended))
    assert (entries.failed_in_a_row, entries.trouble) == (0, None)
    await enter(CountedRooms(refusing, entries, lives))
    await enter(CountedRooms(refusing, entries, nobody_says))
    assert entries.failed_in_a_row == 2


def test_one_room_that_lets_nobody_in_is_no_trouble_while_we_are_in_another() -> None:
    entries = EntryHealth(inside=1)
    for _ in range(ENOUGH):
        entries.failed("full", RoomUnreachable("500"))
    assert entries.trouble is None
    entries.inside = 0
    assert entries.trouble is not None
    entries.inside = 1
    entries.failed("another", RoomUnreachable("500"))
    assert entries.trouble is not None


async def test_entries_count_until_one_succeeds_and_cancelled_ones_do_not() -> None:
    entries, rooms = EntryHealth(), SimulatedRooms(lambda: 0.0)
    port = CountedRooms(rooms, entries, lives)

    async def enter() -> None:
        async with port.open(JOB, lambda _: None):
            pass

    for number in range(ENOUGH):
        assert entries.trouble is None, number
        entries.failed("standup", RoomUnreachable("no way in"))
    assert entries.trouble == f"no room can be entered, the last {ENOUGH} tries failed: no way in"
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        await enter()
    assert entries.failed_in_a_row == ENOUGH


async def test_what_a_room_raises_while_we_are_in_it_is_no_failed_entry() -> None:
    entries = EntryHealth()
    entries.failed("standup", RoomUnreachable("before"))

    class Open:
        def open(self, _job: RoomJob, _offer: object) -> Open:
            return self

        async def __aenter__(self) -> None:
            await trio.lowlevel.checkpoint()

        async def __aexit__(self, *_: object) -> None:
            await trio.lowlevel.checkpoint()

    port: Any = CountedRooms(Open(), entries, lives)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RoomUnreachable, match="it broke"):
        async with port.open(JOB, lambda _: None):
            raise RoomUnreachable("it broke")
    assert (entries.failed_in_a_row, entries.error) == (0, "")


async def test_a_job_that_livekit_ends_while_its_room_is_entered(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    """After a failed entry it is entered again.  A deleted dispatch is honoured."""
    failed, deleted = "entries-failed", "entries-deleted"
    flags = (*NAMES, "--watch", "")
    async with (
        server_api(livekit_server) as api,
        open_proxy(livekit_server.port) as proxy,
        running_agent(livekit_server, tmp_path, *flags, "--url", proxy.url) as agent,
    ):
        await agent.logged("worker_registered")
        proxy.stall(failed, deleted)
        await people.join(failed, "alice")
        await people.join(deleted, "bob")
        await api.create_dispatch(failed, NAMES[1])
        dispatch = await api.create_dispatch(deleted, NAMES[1])
        await api.remove_participant(failed, await agent_of_job(api, failed))
        await agent_of_job(api, deleted)
        await api.delete_dispatch(deleted, dispatch.id)
        await agent.logged("job_terminated", room=failed)
        await agent.logged("job_goes_on", room=failed)
        await agent.logged("session_ended", room=deleted, reason="dispatch_deleted")
        proxy.cut(failed)
        proxy.flow()
        await agent.logged("participant_found", room=failed, identity="alice")
        await agent.stop()
    ended = [(one["room"], one["reason"]) for one in agent.events("session_ended")]
    assert ended == [(deleted, "dispatch_deleted"), (failed, "worker_stopped")]


async def agent_of_job(api: ServerApi, room: str) -> str:
    """The identity of the agent of a room's job, once LiveKit knows which participant it is."""
    with trio.fail_after(WAIT):
        while True:
            dispatches = await api.list_dispatch(room)
            for job in (job for one in dispatches for job in one.state.jobs):
                return job.state.participant_identity
            await trio.sleep(0.1)
