"""`/api/v1/events`: live, from where one was, and what becomes of who cannot follow."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.testing
from attrs import frozen

from actors.journal.archive import Batch
from actors.journal.feed import FeedEntry, Position
from actors.session import entry_view
from bridge.http.api import event_stream
from bridge.http.api.event_stream import EventSource, Lagging, ReplayBuffer, SseEvent
from bridge.store.schema import FILE
from bridge.store.sqlite_feed import SqliteFeed
from tests.http.site import HANG, polite
from tests.http.stored_sessions import HOSTILE, StoredSessions, open_stored
from tests.session.session_story import as_json
from tests.store.memory_feed import MemoryFeed
from tests.store.stored_history import History

PATH = "/api/v1/events"


@frozen
class Message:
    """One event as a browser has it."""

    id: str
    name: str
    data: dict[str, Any]


class Listener:
    """A client, as a browser is one: it knows the last id."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.last_id = ""
        self.comments = 0
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._text = b""

    async def ask(self, last_id: str, query: str) -> h11.Response:
        headers = [("Host", "localhost"), *([("Last-Event-ID", last_id)] if last_id else [])]
        request = h11.Request(method="GET", target=PATH + query, headers=headers)
        data = self._http.send(request) or b""
        await self._stream.send_all(data + (self._http.send(h11.EndOfMessage()) or b""))
        response = await self._event()
        assert isinstance(response, h11.Response)
        return response

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some())
        return event

    async def block(self) -> Message | None:
        """Up to the next empty line; None where that is no event.  EOFError at the end."""
        with trio.fail_after(HANG):
            while b"\n\n" not in self._text:
                event = await self._event()
                if type(event) is h11.EndOfMessage:
                    raise EOFError
                assert isinstance(event, h11.Data)
                self._text += event.data
        block, _, self._text = self._text.partition(b"\n\n")
        name, data = "message", ""
        for line in block.decode().split("\n"):
            field, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data += value
        return Message(self.last_id, name, json.loads(data)) if data else None

    async def next(self, count: int) -> list[Message]:
        found: list[Message] = []
        while len(found) < count:
            message = await self.block()
            if message is not None:
                found.append(message)
        return found


@asynccontextmanager
async def listening(
    stored: StoredSessions, last_id: str = "", query: str = ""
) -> AsyncGenerator[Listener, None]:
    """A client that was let in and has its first id."""
    stream = await stored.site.open()
    async with stream:
        listener = Listener(stream)
        response = await listener.ask(last_id, query)
        headers = dict(response.headers)
        assert response.status_code == 200
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"cache-control"] == b"no-store"
        assert await listener.block() is None
        assert re.fullmatch(r"\d+-\d+", listener.last_id)
        yield listener


async def left(stored: StoredSessions, clients: int = 0) -> None:
    """Wait until so many are."""
    with trio.fail_after(HANG):
        while stored.feed.clients != clients:  # noqa: ASYNC110 (nothing tells of it)
            await trio.sleep(0.01)


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncGenerator[StoredSessions, None]:
    async with open_stored(tmp_path) as running:
        await running.fill(ended=1)
        yield running


# ---------------------------------------------------------------- live


async def test_what_is_told_from_now_on_comes_as_it_is_kept(stored: StoredSessions):
    async with listening(stored) as listener:
        told = len(stored.live.unpublished)
        stored.history.talk(stored.live, 2)
        entries = list(stored.live.unpublished)[told:]
        await stored.write()
        found = await listener.next(len(entries))
    about = {"room": "live", "session": "RM_live"}
    assert [one.data for one in found] == [about | as_json(entry_view(entry)) for entry in entries]
    assert len({one.id for one in found}) == len(found)
    assert {one.name for one in found} == {"message"}


async def test_all_listeners_hear_the_same(stored: StoredSessions):
    async with listening(stored) as one, listening(stored) as other:
        stored.history.talk(stored.live, 5)
        await stored.write()
        assert await one.next(5) == await other.next(5)
        assert stored.feed.clients == 2
    await left(stored)


async def test_rooms_are_chosen_by_a_pattern(stored: StoredSessions):
    async with listening(stored, query="?room=te%5Ba-m%5D*") as listener:
        stored.history.talk(stored.live, 1)
        journal = stored.history.begin("team-1", "RM_team")
        await stored.write()
        (found,) = await listener.next(1)
        assert (found.data["room"], found.data["event"]) == ("team-1", "session_started")
    assert journal.number


async def test_a_hostile_word_stays_within_its_line(stored: StoredSessions):
    async with listening(stored) as listener:
        stored.history.begin(f"{HOSTILE}\n\ndata: forged\r\n", "RM_odd", "a\nid: 1-1")
        await stored.write()
        (found, *_) = await listener.next(2)
    assert found.data["room"] == f"{HOSTILE}\n\ndata: forged\r\n"


# ---------------------------------------------------------------- coming back


async def test_who_comes_back_misses_nothing(stored: StoredSessions):
    async with listening(stored) as listener:
        stored.history.talk(stored.live, 3)
        await stored.write()
        seen = await listener.next(4)
        last_id = seen[-1].id
    await left(stored)
    for _ in range(3):  # nobody listens meanwhile
        stored.history.talk(stored.live, 2)
        await stored.write()
    feed = SqliteFeed(stored.archive.path.parent, trio.Event)
    there = (await feed.after(Position.parse(last_id), 100)).entries
    async with listening(stored, last_id) as listener:
        missed = await listener.next(len(there))
        stored.history.talk(stored.live, 1)
        await stored.write()
        live = await listener.next(1)
    assert [one.id for one in missed] == [str(one.position) for one in there]
    assert len({one.id for one in (*seen, *missed, *live)}) == len(seen) + len(missed) + 1
    assert {one.name for one in missed} == {"message"}


async def test_one_comes_back_while_others_listen(stored: StoredSessions):
    async with listening(stored) as first:
        start = first.last_id
        stored.history.talk(stored.live, 3)
        await stored.write()
        heard = await first.next(5)
        async with listening(stored, start) as second:
            assert await second.next(5) == heard


async def test_more_than_is_read_at_once_comes_in_order(
    stored: StoredSessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_stream, "AT_ONCE", 3)
    async with listening(stored) as listener:
        start = listener.last_id
    await left(stored)
    stored.history.talk(stored.live, 20)
    await stored.write()
    async with listening(stored, start) as listener:
        found = await listener.next(20)
    numbers = [int(one.id.partition("-")[2]) for one in found]
    assert numbers == list(range(1, 21))


async def test_what_the_journal_has_dropped_is_told_as_a_gap(stored: StoredSessions):
    async with listening(stored, "1-1") as listener:
        found = await listener.next(3)
    assert (found[0].name, found[0].data) == ("gap", {})
    assert {one.name for one in found[1:]} == {"message"}


async def test_an_id_of_another_store_is_a_gap_and_goes_on_live(stored: StoredSessions):
    async with listening(stored, f"{'9' * 17}-1") as listener:
        (gap,) = await listener.next(1)
        stored.history.talk(stored.live, 1)
        await stored.write()
        (found,) = await listener.next(1)
    assert gap.name == "gap"
    assert found.data["room"] == "live"


# ---------------------------------------------------------------- who cannot follow


async def test_a_client_that_hardly_reads_is_dropped_and_costs_nobody_anything(tmp_path: Path):
    async with open_stored(tmp_path, ring_bytes=400_000) as stored:
        await stored.fill(ended=0)
        stream = await stored.site.open()
        async with stream:
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
            await stream.send_all(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with listening(stored) as polite_one:
                with trio.fail_after(HANG):
                    while not stored.feed.dropped:
                        stored.history.talk(stored.live, 300)
                        await stored.write()
                        await polite_one.next(300)
                        await take_a_little(stream)
                await left(stored, 1)


async def take_a_little(stream: trio.SocketStream) -> None:
    """Makes the server look at this client again."""
    with trio.move_on_after(0.01):
        await stream.receive_some(4_096)


async def test_a_client_that_vanishes_leaves_its_place(stored: StoredSessions):
    stream = await stored.site.open()
    await stream.send_all(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with stream:
        assert await stream.receive_some(1)
        assert stored.feed.clients == 1
    await left(stored)
    assert stored.feed.dropped == 0


async def test_there_are_places_for_so_many(tmp_path: Path):
    async with open_stored(tmp_path, clients=1) as stored:
        await stored.fill(ended=0)
        async with listening(stored):
            answer = polite(await stored.site.http.get(PATH))
            assert answer.status == 503
            assert answer.headers["retry-after"] == "10"
            assert answer.problem
        await left(stored)
        assert stored.feed.refused == 1
        async with listening(stored):
            pass


def sse_event(batch: int, number: int, size: int) -> SseEvent:
    position = Position.at(batch, number)
    return SseEvent(position, position, "room", b"x" * size)


def test_a_ring_has_the_newest_within_its_bounds():
    ring = ReplayBuffer(Position.at(1, 0), events=3, size=100)
    for number in range(1, 6):
        ring.put(sse_event(1, number, 10))
    found = ring.after(Position.at(1, 2))
    assert [str(event.position) for event in found] == ["1-3", "1-4", "1-5"]
    with pytest.raises(Lagging):
        ring.after(Position.at(1, 1))
    ring.put(sse_event(2, 1, 95))
    assert [str(event.position) for event in ring.after(Position.at(1, 5))] == ["2-1"]


# ---------------------------------------------------------------- several writers


@asynccontextmanager
async def following(feed: MemoryFeed) -> AsyncGenerator[EventSource, None]:
    """A server that follows the feed from now on, because one client stays."""
    source = EventSource(feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run)
        with source.listening():
            async with aclosing(source.pieces(None, None)) as pieces:
                await anext(pieces)
                yield source
        nursery.cancel_scope.cancel()


async def take(source: EventSource, last_id: str | None, count: int) -> list[tuple[str, str]]:
    """The first events of a client that comes with this id: each one's id and data."""
    last = None if last_id is None else Position.parse(last_id)
    events: list[tuple[str, str]] = []
    with trio.fail_after(HANG), source.listening():
        async with aclosing(source.pieces(last, None)) as pieces:
            async for piece in pieces:
                for block in piece.decode().split("\n\n"):
                    found = re.fullmatch(r"id: (\S+)\ndata: (.*)", block)
                    assert found or not block.startswith("event: gap")
                    events += [(found[1], found[2])] if found else []
                if len(events) >= count:
                    break
    return events[:count]


@pytest.mark.parametrize("before", range(1, 9))
async def test_a_client_goes_on_at_a_server_that_got_the_same_batches_in_another_order(
    before: int, autojump_clock: trio.testing.MockClock
) -> None:
    batches: dict[str, list[Batch]] = {"w1": [], "w2": []}
    for writer, written in batches.items():
        history = History()
        journal = history.begin(writer, f"RM_{writer}")
        for _ in range(3):
            history.talk(journal, 2)
            written.append(history.batch())
    orders = ("w1 w2 w1 w2 w1 w2", "w2 w2 w2 w1 w1 w1")
    servers: list[list[tuple[str, str]]] = []
    everything: tuple[FeedEntry, ...] = ()
    for order in orders:
        feed, left = MemoryFeed(), {writer: list(of) for writer, of in batches.items()}
        async with following(feed) as source:
            start = str(Position.at(0, 0, "w1") | Position.at(0, 0, "w2"))
            for writer in order.split():
                feed.add(left[writer].pop(0), writer)
            everything = (await feed.after(Position({}), 1_000)).entries
            await trio.testing.wait_all_tasks_blocked()
            if not servers:
                servers.append(await take(source, start, before))
            else:
                last_id = servers[0][-1][0]
                servers.append(await take(source, last_id, len(everything) - before))
    data = [text for _, text in (*servers[0], *servers[1])]
    assert sorted(data) == sorted(
        json.dumps(
            {"room": one.room, "session": one.room_sid, **as_json(entry_view(one.entry))},
            separators=(",", ":"),
        )
        for one in everything
    )


# ---------------------------------------------------------------- the rest


async def test_a_quiet_stream_shows_that_it_is_there(
    stored: StoredSessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.05)
    async with listening(stored) as listener:
        assert await listener.block() is None
    assert listener.comments == 1


async def test_the_end_of_the_server_ends_every_stream(tmp_path: Path):
    async with open_stored(tmp_path) as stored:
        await stored.fill(ended=0)
        async with listening(stored) as listener:
            stored.stop_feed()
            with pytest.raises(EOFError):
                await listener.block()


async def test_a_store_that_cannot_be_read_for_a_while_is_waited_for(
    stored: StoredSessions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(event_stream, "AGAIN", 0.01)
    async with listening(stored) as listener:
        (tmp_path / FILE).rename(tmp_path / "away")
        stored.history.talk(stored.live, 1)
        stored.history.backlog.batch_written.set()
        (tmp_path / "away").rename(tmp_path / FILE)
        await stored.write()
        assert (await listener.next(1))[0].data["room"] == "live"


@pytest.mark.parametrize("last_id", ["x", "1", "-1-1", "1-", f"{'9' * 30}-1", "\u0661-1"])
async def test_an_id_that_is_none_is_refused(stored: StoredSessions, last_id: str):
    headers = [(b"Last-Event-ID", last_id.encode())]
    answer = polite(await stored.site.http.get(PATH, headers=headers))
    assert answer.status == 400
    assert answer.problem


async def test_head_is_an_answer_without_a_stream(stored: StoredSessions):
    answer = await stored.site.http.head(PATH)
    assert (answer.status_code, stored.feed.clients) == (200, 0)
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("query", ["room=", "room=a&room=b", "session=RM_1"])
async def test_a_wrong_query_is_refused(stored: StoredSessions, query: str):
    assert polite(await stored.site.http.get(f"{PATH}?{query}")).problem["status"] == 400
