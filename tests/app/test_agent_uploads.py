"""What agents upload to the running program becomes sessions, texts and files."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from attrs import define, evolve

from bridge.app.session_source import open_conversations
from bridge.app.simulated_app import SimulatedApp
from bridge.app.text_keeping import start_text_keeper
from bridge.app.upload_role import AgentUploads
from bridge.app.web import application
from bridge.config.http_address import HttpAddress
from bridge.config.settings import load
from bridge.config.store_address import store_address
from bridge.http.server.listener import serve
from bridge.uploads.upload_facts import RunKey
from tests.app.simulated import World, open_world
from tests.uploads.agent_uploads import (
    KEY,
    LOGS,
    REPORT,
    RUN,
    TRACES,
    captured,
    captured_report,
    form,
    header_of,
    otlp_headers,
    report_form,
    report_headers,
)

HANG = 60.0
AUDIO = b"OggS" + bytes(range(256)) * 40
SPOKEN = b"please look it up for amsterdam"


@define(eq=False)
class Place:
    """A world that takes uploads at an address."""

    world: World
    http: httpx2.AsyncClient
    uploads: AgentUploads

    async def send(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        answer = await self.http.post(path, content=body, headers=headers)
        assert answer.status_code == 200

    async def send_all(self) -> None:
        """The captured conversation, and wait until it was read and is on the disk."""
        for body in captured("traces"):
            await self.send(TRACES, body, otlp_headers())
        await self.send(REPORT, report_form(AUDIO), report_headers())
        for body in captured("logs"):
            await self.send(LOGS, body, otlp_headers())
        await self.stored()

    async def stored(self) -> None:
        with trio.fail_after(HANG):
            await self.uploads.desk.drained()
            await self.world.actors.flush()

    async def session(self, room_sid: str) -> dict[str, Any]:
        """The session as the API has it, once the manager has the upload."""
        with trio.fail_after(HANG):
            while (await self.http.get(f"/api/v1/sessions/{room_sid}")).status_code == 404:
                await self.stored()  # a message to the manager may still be under way
        return (await self.http.get(f"/api/v1/sessions/{room_sid}")).json()


@asynccontextmanager
async def open_place(data_dir: Path, **flags: str) -> AsyncGenerator[Place, None]:
    keys = {"api-key": KEY.key, "api-secret": KEY.secret, "data-dir": str(data_dir)}
    settings = load({**keys, "http": "127.0.0.1:0", **flags}, {})
    assert settings.http is not None
    async with open_world(data_dir) as world, httpx2.AsyncClient(timeout=HANG) as http:
        texts = start_text_keeper(
            settings, world.system, trusted_clock=lambda: None, announce=lambda *_, **__: None
        )
        clock = world.actors.clock
        uploads = AgentUploads(settings, world.system, world.actors, texts, clock)
        ports = SimulatedApp(world.actors, world.system, settings).web_ports()
        site = application(settings, evolve(ports, uploads=uploads))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.beside)
            address: HttpAddress = await nursery.start(serve, settings.http, site.app)
            http.base_url = f"http://{address}"
            yield Place(world, http, uploads)
            nursery.cancel_scope.cancel()
        if texts is not None:
            await texts.aclose()


def files_with(data_dir: Path, words: bytes) -> list[str]:
    return sorted(
        path.name for path in data_dir.rglob("*") if path.is_file() and words in path.read_bytes()
    )


async def test_a_report_makes_a_session_with_numbers_only(tmp_path: Path):
    async with open_place(tmp_path) as place:
        await place.send_all()
        session = await place.session(RUN.room_sid)
        assert session["room"] == "first"
        assert session["coverage"] == 0.0  # told as not watched
        [agent] = [one["agent"] for one in session["participants"]]
        [run] = agent["runs"]
        assert (agent["name"], run["turns"], run["interruptions"]) == ("stub-agent", 10, 4)
        assert (run["tool_calls"], run["tool_errors"]) == (2, 1)
        kinds = [entry["event"] for entry in session["timeline"]]
        assert kinds.count("agent_turn") == 10
        assert place.uploads.audio is None
    assert files_with(tmp_path, SPOKEN) == []
    assert not (tmp_path / "agent-audio").exists()


async def test_an_upload_belongs_to_the_room_that_is_watched(tmp_path: Path):
    async with open_place(tmp_path) as place:
        [room] = await place.world.watch("team")
        run = RunKey(room.sid, "AJ_other")
        report = form(
            ("header", header_of(run, agent_name="helper")), ("chat_history", captured_report()[1])
        )
        await place.send(REPORT, report, report_headers())
        await place.stored()
        journal = place.world.record_of(room).journal
        with trio.fail_after(HANG):
            while journal.state.agents is None:  # noqa: ASYNC110 (nothing tells of it)
                await trio.sleep(0.01)
        assert journal.state.agents.runs[run.job_id].turns == 10
        assert journal.state.watching


async def test_texts_and_recordings_are_kept_where_that_is_wanted(tmp_path: Path):
    flags = {"keep-transcripts": "7d", "keep-recordings": "7d"}
    async with open_place(tmp_path, **flags) as place:
        await place.send_all()
        await place.session(RUN.room_sid)
        audio = place.uploads.audio
        assert audio is not None
        recording = audio.find(RUN.room_sid, RUN.job_id)
        assert recording is not None
        assert recording.path.read_bytes() == AUDIO
        await check_ranges(place, f"/api/v1/sessions/{RUN.room_sid}/recordings/{RUN.job_id}")
        assert audio.prune(recording.written_at + 6 * 86_400) == 0
        assert audio.prune(recording.written_at + 8 * 86_400) == 1
        assert audio.find(RUN.room_sid, RUN.job_id) is None
        address = store_address(place.uploads._settings)
    with open_conversations(address) as reader:
        assert reader is not None
        texts = [one.text for one in reader.transcript(RUN.room_sid).texts]
    assert "Welcome to the stub." in texts
    assert {name.partition("-")[0] for name in files_with(tmp_path, b"Welcome to the stub.")} == {
        "texts.db"
    }
    assert files_with(tmp_path, b"SECRET SYSTEM PROMPT") == []


async def test_spans_are_kept_without_content_where_that_is_wanted(tmp_path: Path):
    async with open_place(tmp_path, **{"keep-spans": "7d"}) as place:
        await place.send_all()
        await place.send(TRACES, captured("traces")[0], otlp_headers())  # it comes again
        await place.session(RUN.room_sid)
        await place.stored()
        path = f"/api/v1/sessions/{RUN.room_sid}/spans/{RUN.job_id}"
        spans = (await place.http.get(path)).json()["spans"]
        assert len(spans) == len({span["span_id"] for span in spans}) == 85
        assert [span["name"] for span in spans if span["parent_id"] is None] == ["job_entrypoint"]
        [request] = [one for one in spans if one["name"] == "llm_request" and one["failed"]]
        assert request["words"]["error.type"] == "APIError"
        calls = [one["seconds"] for one in spans if one["name"] == "function_tool"]
        assert calls == pytest.approx([0.305026, 0.008272], abs=2e-6)
        assert (await place.http.get(path + "x")).json()["spans"] == []
        assert (await place.http.get(path.replace("RM_", "XX_"))).status_code == 404
        files = place.uploads.spans
        assert files is not None
        for words in (SPOKEN, b"SECRET SYSTEM PROMPT", b"alice", b"the model is down"):
            assert files_with(tmp_path / "agent-spans", words) == []
        assert files.prune(time.time()) == 0
        assert files.prune(time.time() + 8 * 86_400) == 1


async def check_ranges(place: Place, path: str) -> None:
    """A player that jumps gets the parts that it asks for."""
    size = len(AUDIO)
    for header, status, start, end in (
        ("", 200, 0, size), ("bytes=0-", 206, 0, size), ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, size), ("bytes=-50", 206, size - 50, size),
        ("bytes=-999999", 206, 0, size), (f"bytes={size - 1}-{size + 7}", 206, size - 1, size),
        ("bytes=5-2", 200, 0, size), ("bytes=0-1,4-5", 200, 0, size), ("lines=1-2", 200, 0, size),
        (f"bytes={size}-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
    ):  # fmt: skip
        answer = await place.http.get(path, headers={"range": header} if header else {})
        assert answer.status_code == status, header
        if status == 416:
            assert answer.headers["content-range"] == f"bytes */{size}"
            continue
        assert answer.content == AUDIO[start:end], header
        assert answer.headers["content-type"] == "audio/ogg"
        assert answer.headers["recording-started-at"] == "2026-11-30T00:33:57.948Z"
        wanted = f"bytes {start}-{end - 1}/{size}" if status == 206 else None
        assert answer.headers.get("content-range") == wanted
    head = await place.http.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(size))
    for other in (path + "x", path.replace("RM_", "XX_"), path.replace("AJ_", "..%2F")):
        assert (await place.http.get(other)).status_code == 404
    metrics = (await place.http.get("/metrics")).text
    assert 'room_actors_agent_uploads_total{outcome="report"} 1.0' in metrics
    assert 'room_actors_agent_uploads_total{outcome="dropped"} 0.0' in metrics
    assert 'agent_tokens_total{kind="llm",model="stub/stub-llm",type="input"} 654.0' in metrics
    assert "room_actors_agent_uploaded_runs_dropped_total 0.0" in metrics


async def test_without_an_upload_nothing_runs_for_them(tmp_path: Path):
    async with open_place(tmp_path) as place:
        names = set(place.world.system.supervisor.children)
        assert not names & {"uploads", "uploaded-runs", "otlp-forward", "agent-audio", "texts"}
        await place.send(TRACES, captured("traces")[0], otlp_headers())
        await place.stored()
        assert {"uploads", "uploaded-runs"} <= set(place.world.system.supervisor.children)
