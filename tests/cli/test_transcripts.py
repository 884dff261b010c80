"""`transcripts`: a conversation, and a search over all, from the store and from an API."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve

from actors.journal.conversation_texts import TextRetention
from bridge.cli import main
from bridge.store.sqlite_texts import SqliteTexts
from tests.http.stored_sessions import HOSTILE, open_stored, spoken_text
from tests.http.test_conversations import talk_with_agent


async def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code, and what the command said."""
    code = await trio.to_thread.run_sync(partial(main, ["transcripts", *words]))
    said = capsys.readouterr()
    return code, said.out + said.err


async def test_texts_come_from_the_store_and_from_an_api_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        sources = [("--data-dir", str(tmp_path)), ("--api", f"http://{stored.site.address}")]
        for source in sources:
            code, said = await run(capsys, "live", *source)
            assert code == 0
            head, *lines = said.splitlines()
            assert head.startswith("Session RM_live of room live, ")
            assert [line[10:] for line in lines] == [
                "person-0: a grand piano",
                'agent-AJ_1 calls weather: {"city": "delft"}',
            ]
            code, said = await run(capsys, "--search", "PIANO", *source)
            assert (code, said.count("\n")) == (0, 1)
            assert said.startswith("live RM_live ")
            assert said.endswith("  person-0: a grand piano\n")
            assert await run(capsys, "--search", "violin", *source) == (0, "none\n")
            code, said = await run(capsys, "--room", "live", "--limit", "1", *source)
            assert "older ones are left out: --cursor " in said
            code, said = await run(capsys, "RM_0", *source)
            assert code == 0
            assert "\x1b" not in said
            assert "\u202e" not in said
            code, said = await run(capsys, "RM_1", *source)
            assert said.endswith("no texts of it are kept\n")
            answers = [
                json.loads((await run(capsys, word, "--json", *source))[1])["texts"]
                for word in ("RM_0", "--json")
            ]
            assert answers[0][0]["text"] == HOSTILE
            assert len(answers[1]) == 3


@pytest.mark.parametrize(
    "words, error",
    [
        (("RM_live", "--search", "x"), "SESSION and a filter: give one of them"),
        (("--search", "x" * 301), "--search: give a text of 1 to 300 characters"),
        (("--since", "soon"), "--since: give a time"),
    ],
)
async def test_wrong_use_is_one_line(
    words: tuple[str, ...], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = await run(capsys, *words, "--data-dir", str(tmp_path))
    assert (code, said.count("\n")) == (2, 1)
    assert error in said


async def test_a_store_without_texts_says_which_settings_keep_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_stored(tmp_path) as stored:
        stored.history.begin("shop", "RM_9", "alice")
        await stored.write()
        code, said = await run(capsys, "--search", "x", "--data-dir", str(tmp_path))
    assert code == 1
    assert "--keep-transcripts TIME" in said


async def test_a_report_prints_the_conversation_with_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        talk_with_agent(stored)
        await stored.write()
        texts = SqliteTexts(tmp_path, TextRetention(spoken=1e9, tools=1e9))
        spoken = spoken_text(stored.history.now, "RM_live", f"it is {HOSTILE}", "agent")
        call = evolve(spoken, item="item_c", kind="tool_output", name="weather", text="grey")
        await texts.write([evolve(spoken, item="item_2"), call])
        await texts.aclose()
        reports = list[str]()
        for source in (
            ("--data-dir", str(tmp_path)),
            ("--api", f"http://{stored.site.address}"),
        ):
            assert await trio.to_thread.run_sync(main, ["report", "RM_live", *source]) == 0
            reports.append(capsys.readouterr().out)
    for said in reports:
        assert (
            "\nAgent helper turns 2, delay p50 1.23 s, p95 1.23 s, tool calls 1, tool errors 1\n"
        ) in said
        lines = said.partition("\nConversation\n")[2].partition("\n\n")[0].splitlines()
        assert [line[10:].partition("it is ")[0] for line in lines if "person-0" not in line] == [
            'helper: {"city": "delft"}',
            "person: (the text is not kept)  [end of turn 0.50 s]",
            "helper calls weather -> grey  [error, 0.25 s]",
            "helper: ",
        ]
        assert lines[-1].endswith("[after 1.23 s, first token 0.20 s]")
        assert "\x1b[31m" not in said
