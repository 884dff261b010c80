"""What the pages say of agents: a session's conversation, and agents by name and day."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.http.page_stage import HOSTILE, Stage, open_stage, tell_of_an_agent


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage, None]:
    with capture_logs():
        async with open_stage(tmp_path) as stage:
            yield stage


async def test_a_session_has_its_conversation_beside_the_timeline(
    stage: Stage, tmp_path: Path
) -> None:
    await tell_of_an_agent(stage, tmp_path)
    page = await stage.get("/sessions/RM_voice")
    turns = re.findall(r'<li class="turn ([a-z -]+)"', page)
    assert turns == [
        "agent k-turn", "person k-turn", "agent k-turn", "person k-turn", "agent k-call",
        "agent k-turn", "agent k-error",
    ]  # fmt: skip
    for words in (
        "I would like a room for Friday",
        "calls find_room",
        "{&#34;day&#34;: &#34;friday&#34;}",
        "An internal error occurred",
        "tts_error of cartesia.TTS",
        '<span class="delay slow">3.20 s</span>',
        '<span class="flag">interrupted</span>',
        "<dt>end of turn</dt><dd>0.520 s</dd>",
        "agent listens",
    ):
        assert words in page, words
    assert re.search(r'class="st-thinking" x=', page)
    assert HOSTILE not in page
    assert "<script>alert" not in page
    audio = re.search(r'<audio [^>]*src="([^"]+)" data-start="([0-9.]+)"', page)
    assert audio is not None
    answer = await stage.site.http.get(audio[1], headers={"range": "bytes=0-3"})
    assert (answer.status_code, answer.content) == (206, b"OggS")


async def test_a_session_without_an_agent_has_no_conversation(stage: Stage) -> None:
    journal = stage.history.begin("atlas", "RM_a", "alice")
    stage.journals.append(journal)
    await stage.keep()
    page = await stage.get("/sessions/RM_a")
    assert "live-talk" not in page
    assert "agent listens" not in page


async def test_agents_are_listed_by_name_and_by_day(stage: Stage, tmp_path: Path) -> None:
    assert "No session of this time had an agent." in await stage.get("/agents")
    await tell_of_an_agent(stage, tmp_path)
    page = await stage.get("/agents?days=1")
    for words in ("receptionist", "by day", ">1.10 <", "/ 3.20", "of 1<", "1\u202f204", "412"):
        assert words in page, words
