"""The contract of a store of texts and of its reader, over SQLite and over PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve

from actors.journal.conversation_texts import (
    ConversationText,
    TextFilters,
    TextReader,
    TextRetention,
    TextStore,
)
from actors.journal.session_reader import BadCursor
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_text_reader import (
    erase_person_texts_in_database,
    open_database_texts,
)
from bridge.postgres.postgres_texts import PostgresTexts
from bridge.store.sqlite_texts import SqliteTexts
from bridge.store.text_file import FILE, erase_person_texts, open_texts

T0 = 1_800_000_000.0
DAY = 86_400.0
RETENTION = TextRetention(spoken=7 * DAY, tools=DAY)


@define(eq=False)
class Stored:
    store: TextStore
    directory: Path
    url: str | None = None

    def open(self) -> AbstractContextManager[TextReader | None]:
        return open_texts(self.directory) if self.url is None else open_database_texts(self.url)

    def erase(self, names: set[str], rooms: set[str]) -> int:
        if self.url is not None:
            return erase_person_texts_in_database(self.url, names, rooms)
        return erase_person_texts(self.directory, names, rooms)

    def transcript(self, room_sid: str = "RM_a") -> list[str]:
        with self.open() as reader:
            return [] if reader is None else [one.text for one in reader.transcript(room_sid).texts]

    def found(self, search: str, **filters: Any) -> list[str]:
        with self.open() as reader:
            assert reader is not None
            page = reader.texts(filters=TextFilters(search=search, **filters))
            return [one.text for one in page.texts]


@pytest.fixture(params=["sqlite", "postgresql"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Stored, None]:
    if request.param == "sqlite":
        store = SqliteTexts(tmp_path, RETENTION)
        yield Stored(store, tmp_path)
        await store.aclose()
        return
    url: str = request.getfixturevalue("database_url")
    async with open_database_store(url, instance="w"):
        database = PostgresTexts(url, RETENTION)
        yield Stored(database, tmp_path, url)
        await database.aclose()


def text(words: str, at: float = 0.0, **fields: Any) -> ConversationText:
    agent = fields.get("speaker") == "agent"
    return evolve(
        ConversationText(
            room="shop",
            room_sid="RM_a",
            job_id="AJ_1",
            item=f"item_{words}",
            kind="speech",
            speaker="person",
            identity="agent-AJ_1" if agent else "alice",
            at=T0 + at,
            text=words,
        ),
        **fields,
    )


async def test_a_transcript_has_the_texts_of_a_session_in_their_order(stored: Stored) -> None:
    answer = text("You are Alice.", 2, speaker="agent", ended_at=T0 + 3)
    other = text("elsewhere", room_sid="RM_b")
    await stored.store.write([answer, text("Who am I?", 1), other])
    with stored.open() as reader:
        assert reader is not None
        first = reader.transcript("RM_a", limit=1)
        rest = reader.transcript("RM_a", limit=1, cursor=first.next)
        with pytest.raises(BadCursor):
            reader.transcript("RM_a", cursor="1")
    assert [*first.texts, *rest.texts] == [text("Who am I?", 1), answer]
    assert rest.next is None


async def test_a_text_that_is_written_again_replaces_the_earlier_one_also_in_the_search(
    stored: Stored,
) -> None:
    await stored.store.write([text("helo", item="item_1")])
    await stored.store.write([text("hello", item="item_1")])
    assert stored.transcript() == ["hello"]
    assert (stored.found("helo"), stored.found("hello")) == ([], ["hello"])


async def test_an_item_is_spoken_or_written_by_the_newest_word_on_it(stored: Stored) -> None:
    await stored.store.write([text("hello", item="item_1", kind="chat", identity="")])
    await stored.store.write([text("hello", item="item_1")])
    assert stored.transcript() == ["hello"]


async def test_an_item_takes_the_place_of_its_speakers_segments_until_its_end(
    stored: Stored,
) -> None:
    segment: dict[str, Any] = {"interim": True, "job_id": ""}
    await stored.store.write(
        [
            text("I want", 1, item="SG_1", **segment),
            text("a shoe", 2, item="SG_2", **segment),
            text("and tea", 9, item="SG_3", **segment),
            text("I want a shoe", 5, item="SG_5", **segment),  # recognized late
            text("Certain", 1, item="SG_4", speaker="agent", **segment),
        ]
    )
    await stored.store.write([text("I want a shoe", 1, item="item_1", ended_at=T0 + 3)])
    assert sorted(stored.transcript()) == ["Certain", "I want a shoe", "and tea"]


async def test_a_search_finds_texts_with_all_words_in_any_case_and_order(stored: Stored) -> None:
    await stored.store.write(
        [
            text("Where is the GRAND piano?"),
            text("A piano, please; grand_total: 10", room="music"),
            text("Größe 42 für Zoë"),
        ]
    )
    assert len(stored.found("grand PIANO")) == 2
    assert stored.found("piano grand", room="mus*") == ["A piano, please; grand_total: 10"]
    assert stored.found("größe zoë") == ["Größe 42 für Zoë"]
    assert stored.found("violin") == []
    assert stored.found('"* OR (') == []
    assert stored.found("piano", person="bob") == []
    assert len(stored.found("piano", person="al*", since=T0, until=T0 + 1)) == 2
    assert stored.found("piano", until=T0) == []


async def test_hostile_texts_come_back_as_they_were(stored: Stored) -> None:
    hostile = "'; DROP TABLE texts; -- \x00 <script> %s ? :x \ufdd0 ' \" * NEAR( \u202e"
    await stored.store.write([text(hostile, identity=hostile, name=hostile), text("x" * 16_000)])
    assert hostile in stored.transcript()
    assert stored.found("drop table") == [hostile]


async def test_a_list_is_read_in_parts_the_newest_first(stored: Stored) -> None:
    await stored.store.write([text(f"number {n}") for n in range(5)])
    with stored.open() as reader:
        assert reader is not None
        first = reader.texts(limit=3, filters=TextFilters(search="number"))
        rest = reader.texts(limit=3, cursor=first.next, filters=TextFilters(search="number"))
        with pytest.raises(BadCursor):
            reader.texts(cursor="x")
    got = [one.text for one in (*first.texts, *rest.texts)]
    assert got == [f"number {n}" for n in (4, 3, 2, 1, 0)]
    assert rest.next is None


async def test_each_kind_has_its_own_retention(stored: Stored) -> None:
    arguments = text('{"size": 42}', kind="tool_arguments", speaker="agent", name="find")
    await stored.store.write([text("spoken"), arguments])
    assert await stored.store.prune(T0 + DAY) == 0
    assert await stored.store.prune(T0 + DAY + 1) == 1
    assert stored.transcript() == ["spoken"]
    assert stored.found("42") == []
    assert await stored.store.prune(T0 + 7 * DAY + 1) == 1
    assert stored.transcript() == []


async def test_above_its_size_the_store_drops_the_oldest(
    stored: Stored, request: pytest.FixtureRequest
) -> None:
    small = evolve(RETENTION, size=1.0)
    if stored.url is None:
        store: TextStore = SqliteTexts(stored.directory, small)
    else:
        store = PostgresTexts(request.getfixturevalue("database_url"), small)
    await store.write([text("spoken")])
    assert await store.prune(T0) == 1
    await store.aclose()


async def test_a_run_is_erased_whole_and_others_stay(stored: Stored) -> None:
    await stored.store.write([text("mine"), text("other", job_id="AJ_2")])
    assert await stored.store.erase_run("RM_a", "AJ_1") == 1
    assert stored.transcript() == ["other"]


async def test_a_person_is_erased_with_what_agents_said_in_these_sessions(stored: Stored) -> None:
    agent: dict[str, Any] = {"speaker": "agent", "identity": "agent-AJ_1"}
    await stored.store.write(
        [
            text("My number is seven"),
            text("Seven, thank you", **agent),
            text("Bob was here", identity="bob"),
            text("Somebody else", room_sid="RM_b", identity="bob"),
            text("Answer to silent Alice", room_sid="RM_c", **agent),
            text("Answer to Bob", room_sid="RM_b", **agent),
            text("By nobody knows whom", identity=""),
        ]
    )
    assert stored.erase({"alice"}, {"RM_c"}) == 4
    assert stored.transcript() == ["Bob was here"]
    assert stored.transcript("RM_b") == ["Somebody else", "Answer to Bob"]
    assert stored.transcript("RM_c") == []
    assert stored.found("seven") == []


async def test_words_of_dropped_texts_leave_the_index_within_an_hour(tmp_path: Path) -> None:
    store = SqliteTexts(tmp_path, TextRetention(spoken=DAY))
    for number in range(3):
        await store.write([text("zanzibar", number * 3_600.0, item=f"item_{number}")])
    assert await store.prune(T0 + DAY + 1) == 1  # merges
    assert await store.prune(T0 + DAY + 3_601) == 1  # merges again
    assert await store.prune(T0 + DAY + 7_201) == 1
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("SELECT count(*) FROM texts").fetchone() == (0,)
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, 'row')")
        assert db.execute("SELECT term FROM temp.terms").fetchall() == []


def contents(directory: Path) -> list[bytes]:
    return [one.read_bytes() for one in directory.iterdir()]


async def test_no_byte_of_an_erased_person_is_left_in_the_files(tmp_path: Path) -> None:
    store = SqliteTexts(tmp_path, RETENTION)
    await store.write([text(f"zanzibar {n}", n) for n in range(200)])
    await store.write([text("elsewhere", room_sid="RM_b", identity="bob")])
    assert any(b"zanzibar" in one for one in contents(tmp_path))
    assert erase_person_texts(tmp_path, {"alice"}, set()) == 200
    await store.aclose()
    assert not any(b"zanzibar" in one or b"alice" in one for one in contents(tmp_path))
    with open_texts(tmp_path) as reader:
        assert reader is not None
        assert len(reader.texts(filters=TextFilters(search="elsewhere")).texts) == 1


def test_a_directory_without_texts_has_no_reader_and_nothing_to_erase(tmp_path: Path) -> None:
    with open_texts(tmp_path) as reader:
        assert reader is None
    assert erase_person_texts(tmp_path, {"alice"}, set()) == 0
    assert not (tmp_path / FILE).exists()
