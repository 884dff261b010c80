"""The API's answers about conversations with agents."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from csv import DictReader
from io import StringIO
from pathlib import Path

from attrs import evolve
from structlog.testing import capture_logs

from actors.journal.conversation_texts import TextRetention
from actors.session import ParticipantInfo, ParticipantJoined
from actors.session.agent_reports import (
    AgentCall,
    AgentCallReported,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    ModelUsage,
)
from actors.session.time_text import rfc3339
from bridge.store.schema import FILE
from bridge.store.sqlite_texts import SqliteTexts
from tests.http.site import polite
from tests.http.stored_sessions import HOSTILE, StoredSessions, open_stored, spoken_text


async def test_a_transcript_has_the_texts_of_its_session_and_is_read_in_parts(
    tmp_path: Path,
) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        whole = await stored.get("/api/v1/sessions/RM_live/transcript")
        first = await stored.get("/api/v1/sessions/live/transcript", limit=1)
        rest = await stored.get("/api/v1/sessions/live/transcript", limit=1, cursor=first["next"])
        none = await stored.get("/api/v1/sessions/RM_1/transcript")
        missing = await stored.site.http.get("/api/v1/sessions/RM_none/transcript")
        (hostile,) = (await stored.get("/api/v1/sessions/RM_0/transcript"))["texts"]
    assert (whole["session"], whole["room"], whole["next"]) == ("RM_live", "live", None)
    spoken, arguments = whole["texts"]
    assert (spoken["kind"], spoken["speaker"], spoken["text"]) == (
        "speech", "person", "a grand piano",
    )  # fmt: skip
    assert (arguments["tool"], arguments["text"]) == ("weather", '{"city": "delft"}')
    assert [*first["texts"], *rest["texts"]] == whole["texts"]
    assert (none["texts"], none["next"]) == ([], None)
    assert missing.status_code == 404
    assert hostile["text"] == HOSTILE


async def test_a_search_goes_over_all_sessions(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        (one,) = (await stored.get("/api/v1/transcripts", search="PIANO grand"))["texts"]
        page = await stored.get("/api/v1/transcripts", limit=2)
        rest = await stored.get("/api/v1/transcripts", limit=2, cursor=page["next"])
        nobody = await stored.get("/api/v1/transcripts", person="nobody*")
        wrong = await stored.site.http.get("/api/v1/transcripts?cursor=x")
    assert (one["session"], one["text"]) == ("RM_live", "a grand piano")
    assert (len(page["texts"]), len(rest["texts"]), rest["next"]) == (2, 1, None)
    assert nobody["texts"] == []
    assert wrong.status_code == 400


async def test_where_no_text_is_kept_the_answers_are_empty(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        stored.history.begin("shop", "RM_9", "alice")
        await stored.write()
        assert (await stored.get("/api/v1/sessions/shop/transcript"))["texts"] == []
        assert await stored.get("/api/v1/transcripts", search="x") == {"texts": [], "next": None}
    assert not (tmp_path / "texts.db").exists()


async def test_a_session_that_cannot_be_read_is_one_answer_and_one_line(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        stored.history.begin("shop", "RM_9", "alice")
        await stored.write()
        with closing(sqlite3.connect(tmp_path / FILE)) as db:
            db.execute("UPDATE states SET state = x'00'")
            db.commit()
        for part in ("", "/transcript", "/spans/AJ_1", "/recordings/AJ_1"):
            with capture_logs() as logs:
                answer = polite(await stored.site.http.get(f"/api/v1/sessions/RM_9{part}"))
            assert (answer.status, "stored data" in answer.problem["detail"]) == (500, True)
            assert [one["event"] for one in logs] == ["session_unreadable_for_http"]


async def test_turns_runs_and_agents_have_the_numbers_and_the_kept_texts(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        talk_with_agent(stored)
        await stored.write()
        texts = SqliteTexts(tmp_path, TextRetention(spoken=1e9, tools=1e9))
        spoken = spoken_text(stored.history.now, "RM_live", "it is grey", "agent")
        call = evolve(spoken, item="item_c", kind="tool_output", name="weather", text="grey")
        await texts.write([evolve(spoken, item="item_2"), call])
        await texts.aclose()
        turns = await stored.get("/api/v1/sessions/RM_live/turns")
        first = await stored.get("/api/v1/sessions/RM_live/turns", limit=1)
        rest = await stored.get("/api/v1/sessions/RM_live/turns", limit=1, cursor=first["next"])
        runs = await stored.get("/api/v1/sessions/RM_live/runs")
        since = rfc3339(stored.history.now - 86_400) or ""
        agents = await stored.get("/api/v1/agents", since=since)
        nobody = await stored.get("/api/v1/agents", since=since, room="nothing")
        (row,) = (await stored.get("/api/v1/sessions", room="live"))["sessions"]
        (other, *_) = (await stored.get("/api/v1/sessions", room="team-1"))["sessions"]
        csv = await stored.site.http.get("/api/v1/sessions?format=csv&room=live")
    user, agent = turns["turns"]
    assert (user["role"], user["text"], user["end_of_turn_delay"]) == ("user", None, 0.5)
    assert (agent["delay"], agent["first_token"], agent["text"]) == (1.234, 0.2, "it is grey")
    (called,) = agent["calls"]
    assert (called["tool"], called["result"], called["seconds"]) == ("weather", "error", 0.25)
    assert (called["arguments"], called["output"]) == (None, "grey")
    assert [*first["turns"], *rest["turns"]] == turns["turns"]
    (one,) = runs["agents"]
    assert (one["identity"], one["agent"]["name"]) == ("agent-AJ_1", "helper")
    assert one["agent"]["runs"][0]["delay"] == {"p50": 1.234, "p95": 1.234}
    (totals,) = row["agents"]
    assert other["agents"] is None
    assert (totals["turns"], totals["tool_errors"], totals["delays"]["answer"]["p50"]) == (
        2, 1, 1.234,
    )  # fmt: skip
    (helper,) = agents["agents"]
    assert nobody["agents"] == []
    assert (helper["name"], helper["sessions"], helper["tool_errors"]) == ("helper", 1, 1)
    assert helper["delays"]["answer"] == {"number": 1, "p50": 1.24, "p95": 1.24}
    assert helper["usage"] == {"llm": {"input_tokens": 100}}
    (day,) = helper["days"]
    assert (day["sessions"], list(day["delays"])) == (
        1, ["answer", "end_of_turn_delay", "first_token"],
    )  # fmt: skip
    (cells,) = list(DictReader(StringIO(csv.text)))
    assert (cells["agents"], cells["agent_turns"], cells["agent_tool_errors"]) == (
        "helper", "2", "1",
    )  # fmt: skip
    assert (cells["agent_delay_p50"], cells["agent_input_tokens"]) == ("1.234", "100")


def talk_with_agent(stored: StoredSessions) -> None:
    """An agent joins the live session; its user asks, it calls a tool, which fails, and answers."""
    journal, at = stored.live, stored.history.now
    who = "agent-AJ_1"
    info = ParticipantInfo(who, "PA_a", at, kind="agent", attributes={"lk.agent_name": "helper"})
    turn = AgentTurn("item_1", "user", at + 1, at + 2, end_of_turn_delay=0.5)
    answer = AgentTurn("item_2", "agent", at + 4, at + 6, 1.234, first_token=0.2)
    call = AgentCall("item_c", "call_1", "weather", at + 3)
    end = AgentCall("item_c", "call_1", "weather", at + 3, at + 3.25, "error")
    usage = ModelUsage("llm", "openai", "gpt", {"input_tokens": 100.0})
    for event in (
        ParticipantJoined(at, info),
        AgentTurnReported(at + 2, who, at + 2, turn),
        AgentCallReported(at + 3, who, at + 3, call),
        AgentCallReported(at + 3.25, who, at + 3.25, end),
        AgentUsageReported(at + 5, who, at + 5, (usage,)),
        AgentTurnReported(at + 6, who, at + 6, answer),
    ):
        journal.record(event)
    stored.history.now += 7
