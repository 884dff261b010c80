"""Tests of the three programs, as a user of the library writes them.

pytest -p trio_actors.testing.plugin
"""

from __future__ import annotations

from functools import partial

import crawler
import pytest
import rate_limiter
import trio
from chat_rooms import Join, Line, Rooms, open_lobby
from trio_actors.runtime import ActorDown, AskTimeout, GroupSpec, open_system
from trio_actors.testing import Sim, TestProbe

# ---------------------------------------------------------------- the rate limiter


async def open_limits(sim: Sim) -> rate_limiter.Limits:
    group = sim.system.supervisor.start_group(GroupSpec("limiters"))
    await group.running()
    return rate_limiter.Limits(group, rate=10.0, burst=3)


@pytest.mark.seeds(10)
async def test_after_its_burst_a_client_has_one_call_in_each_interval(sim: Sim) -> None:
    limits = await open_limits(sim)
    times = list[float]()
    for _ in range(6):
        await limits.acquire("ann", timeout=5.0)
        times.append(round(trio.current_time(), 6))
    assert times == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
    await limits.acquire("bob", timeout=0.01)  # A client of its own.


async def test_a_caller_that_gave_up_takes_no_permit(sim: Sim) -> None:
    limits = await open_limits(sim)
    for _ in range(3):
        await limits.acquire("ann", timeout=1.0)
    with pytest.raises(AskTimeout):
        await limits.acquire("ann", timeout=0.05)
    await limits.acquire("ann", timeout=0.06)  # Gets the next one.


async def test_a_limiter_that_crashes_begins_with_a_full_burst(sim: Sim) -> None:
    limits = await open_limits(sim)
    await limits.acquire("ann", timeout=1.0)
    sim.saboteur.raise_at("/limiters/ann", 1)  # The next message: a refill.
    await trio.sleep(0.3)
    for _ in range(3):
        await limits.acquire("ann", timeout=0.01)


async def test_a_client_that_calls_no_more_has_no_actor_any_more(sim: Sim) -> None:
    limits = await open_limits(sim)
    await limits.acquire("ann", timeout=1.0)
    await trio.sleep(rate_limiter.IDLE + 1.0)
    assert list(limits.group.children) == []
    await limits.acquire("ann", timeout=1.0)


# ---------------------------------------------------------------- the crawler

SITE = {
    "/": '<a href="/a">a</a> <a href="/b">b</a> <a href="http://elsewhere.invalid/">other</a>',
    "/a": '<a href="/">home</a> <a href="/b">b</a>',
    "/b": '<a href="c">c</a>',
    "/c": "no links",
}
LINKS = {"/": 3, "/a": 2, "/b": 1, "/c": 0}


async def serve_page(stream: trio.SocketStream) -> None:
    async with stream:
        request = await stream.receive_some(4096)
        path = request.split(b" ")[1].decode()
        body = SITE.get(path)
        status = "404 Not Found" if body is None else "200 OK"
        await stream.send_all(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())


@pytest.mark.trio
async def test_a_site_on_this_machine_is_crawled() -> None:
    """In real time, over sockets, so without `sim`."""
    async with trio.open_nursery() as nursery, open_system() as system:
        serve = partial(trio.serve_tcp, serve_page, host="127.0.0.1")
        (listener,) = await nursery.start(serve, 0)
        port = listener.socket.getsockname()[1]
        home = f"http://127.0.0.1:{port}"
        group = system.supervisor.start_group(crawler.crawler(crawler.fetch))
        pages = await crawler.crawl(group, f"{home}/", timeout=60.0)
        assert pages == {home + path: links for path, links in LINKS.items()}
        nursery.cancel_scope.cancel()


@pytest.mark.seeds(10)
async def test_a_worker_that_crashes_loses_no_page(sim: Sim) -> None:
    async def fetch(url: str) -> str:
        await trio.sleep(0.1)
        return SITE[url.removeprefix("http://site")]

    sim.saboteur.raise_at("/crawler/worker0", 1)
    sim.saboteur.slow_at("/crawler/worker1", 2, 30.0)  # Longer than the frontier waits.
    group = sim.system.supervisor.start_group(crawler.crawler(fetch, workers=2))
    pages = await crawler.crawl(group, "http://site/")
    assert pages == {f"http://site{path}": links for path, links in LINKS.items()}


async def test_a_page_that_never_comes_is_given_up(sim: Sim) -> None:
    async def fetch(url: str) -> str:
        raise ValueError(url)

    sim.expected = (ValueError,)
    group = sim.system.supervisor.start_group(crawler.crawler(fetch))
    assert await crawler.crawl(group, "http://site/") == {"http://site/": -1}


# ---------------------------------------------------------------- the chat rooms


@pytest.mark.seeds(10)
async def test_each_member_reads_each_line(sim: Sim) -> None:
    lobby = await open_lobby(sim.system.supervisor)
    ann, bob = sim.probe("ann"), sim.probe("bob")
    for member in (ann, bob):
        room = await lobby.ask(partial(Join, "garden", member.ref), timeout=1.0)
    room.tell(Line("ann", "hello"))
    assert await ann.receive(Line) == await bob.receive(Line) == Line("ann", "hello")


async def test_a_room_whose_members_have_ended_is_closed_and_opens_again(
    sim: Sim, probe: TestProbe
) -> None:
    lobby = await open_lobby(sim.system.supervisor)
    bob = sim.probe("bob")
    await lobby.ask(partial(Join, "garden", bob.ref), timeout=1.0)
    assert await lobby.ask(Rooms, timeout=1.0) == ("garden",)
    await sim.system.supervisor.stop_child("bob").wait()
    await trio.sleep(1.0)
    assert await lobby.ask(Rooms, timeout=1.0) == ()
    room = await lobby.ask(partial(Join, "garden", probe.ref), timeout=1.0)
    room.tell(Line("bob", "again"))
    assert await probe.receive(Line) == Line("bob", "again")


async def test_the_lobby_survives_a_crash_with_its_rooms_open(sim: Sim, probe: TestProbe) -> None:
    lobby = await open_lobby(sim.system.supervisor)
    await lobby.ask(partial(Join, "garden", probe.ref), timeout=1.0)
    sim.saboteur.raise_at("/lobby", 1)
    with pytest.raises(ActorDown):
        await lobby.ask(Rooms, timeout=1.0)
    assert await lobby.ask(Rooms, timeout=1.0) == ("garden",)
    room = await lobby.ask(partial(Join, "garden", sim.probe("bob").ref), timeout=1.0)
    room.tell(Line("bob", "hello"))
    assert await probe.receive(Line) == Line("bob", "hello")
