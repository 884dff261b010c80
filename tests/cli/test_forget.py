"""`forget`: one person erased from a data directory, also beside a worker that writes."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio
from attrs import evolve

from actors.journal.conversation_texts import ConversationText, TextRetention
from actors.journal.session_filters import Filters
from actors.outlets.outbox_port import Parked
from actors.outlets.outlet_port import Delivery
from actors.session import (
    AttributesChanged,
    DataReceived,
    MetadataChanged,
    NameChanged,
    ParticipantInfo,
    ParticipantJoined,
    QualityChanged,
    SessionRow,
    SpeakersChanged,
    TrackInfo,
)
from actors.session.rule_records import RuleFired
from bridge.cli import main
from bridge.outlets.sqlite_outbox import SqliteOutbox
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from bridge.store.sqlite_texts import SqliteTexts
from bridge.store.text_file import open_texts
from tests.store.stored_history import History

MINE = ("zebediah", "Zebedee the Great", "my-secret-metadata", "my-attribute", "my-own-message")
"""Texts of the person who is forgotten."""
HOUR = 3_600.0


def in_a_room(history: History, sid: str, who: str = "zebediah") -> None:
    journal = history.begin(f"room of {sid}", sid, "bob")
    microphone = TrackInfo("TR_9", "audio", "microphone", name="zebediah's microphone")
    info = ParticipantInfo(who, "PA_9", history.now, tracks=(microphone,))
    for event in (
        ParticipantJoined(history.now, info),
        NameChanged(history.now, who, "Zebedee the Great"),
        MetadataChanged(history.now, who, "my-secret-metadata"),
        AttributesChanged(history.now, who, {"role": "my-attribute"}),
        DataReceived(history.now, who, "chat", 3, "text", content="my-own-message"),
        SpeakersChanged(history.now, (who,)),
    ):
        journal.record(event)
    for _ in range(20):
        history.talk(journal, 1, "bob")
        journal.record(QualityChanged(history.now, who, "PA_9", "good"))
        journal.record(DataReceived(history.now, who, "chat", 3, "text"))
        journal.record(SpeakersChanged(history.now, (who,)))
    journal.record(
        RuleFired(history.now, "alone", who, alert=True, text="Zebedee the Great is alone")
    )
    if sid != "RM_live":
        journal.end(history.now, "room_closed")


def everything(data_dir: Path) -> bytes:
    """All bytes of the directory, and the content of chunks, which are compressed."""
    raw = b"".join(p.read_bytes() for p in data_dir.iterdir() if p.is_file())
    with closing(sqlite3.connect(f"file:{data_dir / FILE}?mode=ro", uri=True)) as db:
        chunks = [zlib.decompress(lines) for (lines,) in db.execute("SELECT lines FROM chunks")]
    return raw + b"".join(chunks)


def texts_in(data_dir: Path) -> list[str]:
    content = everything(data_dir)
    return [text for text in MINE if text.encode() in content]


def numbers_of(data_dir: Path) -> list[SessionRow]:
    """The sessions of a list without the names in them."""
    with open_reader(data_dir) as reader:
        rows = reader.sessions(filters=Filters(status="ended")).sessions
    silent = [msgspec.structs.replace(row.talk, by_identity={}) for row in rows]
    return [msgspec.structs.replace(row, talk=talk) for row, talk in zip(rows, silent, strict=True)]


async def test_a_person_is_erased_beside_a_worker_and_the_rest_after_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(*args: str) -> tuple[int, str]:
        code = main(["forget", *args, "--data-dir", str(tmp_path)])
        return code, capsys.readouterr().out

    outbox, now = SqliteOutbox(tmp_path), time.time()
    data = {"identity": "zebediah", "name": "Zebedee the Great", "sid": "PA_1"}
    delivery = Delivery("m1", 1, "RM_1", "r", "RM_1", "participant_connected", now, data)
    await outbox.save("crm", parked=[Parked(delivery, 1, now + HOUR, now, error="500")])
    bans = {"a room": {"zebediah": {"rule": "r", "until": now + HOUR}}}
    (tmp_path / "bans.json").write_bytes(msgspec.json.encode(bans))

    async with open_store(tmp_path, instance="w") as archive:
        for sid, age in (("RM_1", 5 * HOUR), ("RM_2", 4 * HOUR), ("RM_live", 0.0)):
            history = History(now - age)
            in_a_room(history, sid)
            await history.write_to(archive)
        others = History(now - 3 * HOUR)
        others.begin("elsewhere", "RM_3", "bob").end(others.now, "room_closed")
        await others.write_to(archive)
        before = numbers_of(tmp_path)
        code, text = await trio.to_thread.run_sync(forget, "zebediah")
        assert (code, text.splitlines()[0].startswith("erased in 2 sessions, ")) == (1, True)
        left = [line for line in text.splitlines() if line.startswith("LEFT: ")]
        assert [line.partition(":  ")[0].split(":")[1] for line in left] == [
            " session RM_live of room room of RM_live", " the ban in room a room",
        ]  # fmt: skip
        # The worker goes on.
        late = History(time.time())
        late.begin("after it", "RM_4", "bob").end(late.now, "room_closed")
        await late.write_to(archive)
    await outbox.aclose()
    assert numbers_of(tmp_path)[1:] == before

    with open_reader(tmp_path) as reader:
        (live,) = reader.live()
        view = reader.session("RM_1")
    assert view is not None
    names = {one.identity: one.name for one in view.participants}
    (pseudonym,) = set(names) - {"bob"}
    assert names == {pseudonym: "", "bob": "Bob"}
    assert {e.identity for e in view.timeline or () if e.event == "data_message"} == set(names)
    assert live.state.present["zebediah"].name == "Zebedee the Great"

    # The live session ends, as at the next start of a worker.
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("UPDATE sessions SET ended_at = ? WHERE ended_at IS NULL", (now - 2 * HOUR,))
    code, text = forget("zebediah", "--json")
    report = json.loads(text)
    assert (code, report["all_erased"], report["bans"]) == (0, True, ["a room"])
    assert report["store"]["sessions"] == 1
    assert texts_in(tmp_path) == []
    assert forget("zebediah") == (1, "")
    assert b"Bob" in everything(tmp_path)


def test_beside_a_worker_no_byte_of_a_session_that_is_over_stays(tmp_path: Path) -> None:
    """Not in free pages and not in the log either, where no live session has the person."""

    async def run() -> None:
        async with open_store(tmp_path, instance="w") as archive:
            for number in range(8):
                history = History(time.time() - (9 - number) * HOUR)
                in_a_room(history, f"RM_{number}")
                await history.write_to(archive)
            assert texts_in(tmp_path) == list(MINE)
            args = ["forget", "zebediah", "--data-dir", str(tmp_path)]
            assert await trio.to_thread.run_sync(main, args) == 0
            assert texts_in(tmp_path) == []

    trio.run(run)


async def test_texts_of_conversations_are_dropped_with_the_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History()
    in_a_room(history, "RM_1")
    history.now += 2 * HOUR
    async with open_store(tmp_path, instance="w") as archive:
        await history.write_to(archive)
    texts = SqliteTexts(tmp_path, TextRetention(spoken=HOUR))
    mine = ConversationText(
        "shop", "RM_1", "AJ_1", "item_1", "speech", "person", "zebediah", 1.0, "my-own-message"
    )
    answer = evolve(mine, item="item_2", speaker="agent", identity="agent-AJ_1")
    await texts.write([mine, answer, evolve(mine, item="item_3", identity="bob", text="hello")])
    await texts.aclose()
    await trio.to_thread.run_sync(main, ["forget", "zebediah", "--data-dir", str(tmp_path)])
    assert "2 texts of conversations" in capsys.readouterr().out
    with open_texts(tmp_path) as reader:
        assert reader is not None
        assert [one.text for one in reader.transcript("RM_1").texts] == ["hello"]


def test_a_person_key_stands_for_all_identities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        history = History(time.time() - HOUR)
        history.person_key = "attributes.user_id"
        journal = history.begin("calls", "RM_1", "bob")
        history.call(journal)
        journal.end(history.now, "room_closed")
        async with open_store(tmp_path, instance="w") as archive:
            await history.write_to(archive)

    trio.run(fill)
    assert main(["forget", "caller 7", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("one person: caller 7, sip_1")
    content = everything(tmp_path)
    assert not [text for text in (b"caller 7", b"sip_1", b"+49301234") if text in content]


def test_who_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", "zoe", "--data-dir", str(tmp_path)]) == 1
    assert "no sessions are kept" in capsys.readouterr().err
    assert main(["forget"]) == 2
    assert "room-actors forget IDENTITY" in capsys.readouterr().err
