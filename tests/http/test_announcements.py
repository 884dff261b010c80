"""Orders of announcements over HTTP: who may, what is taken, and what each refusal says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import trio

from actors.publishing.announcement_bounds import FILE_SIZE
from actors.publishing.announcements import Announcements
from actors.publishing.publishing_port import SoundData, Speech
from bridge.http.api.announcement_routes import ORDER_BYTES, AnnouncementRoutes
from bridge.http.server.routes import app
from tests.http.site import Site, open_site
from tests.publishing.publishing_stage import Stage, open_stage
from tests.publishing.tones import tone

TOKEN = "a-token-of-the-operator"
ROOM = "/api/v1/rooms/team-1/announcements"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def announcing(*, token: str | None = TOKEN) -> AsyncGenerator[tuple[Site, Stage], None]:
    async with open_stage("team-1", "team-2", "a/b", make=lambda _: tone(60.0)) as stage:

        async def announcements() -> Announcements:
            return stage.announcements

        rows = AnnouncementRoutes(announcements).rows
        async with open_site(app(rows, loopback=True, token=token)) as site:
            yield site, stage
        stage.announcements.close()


async def post(site: Site, path: str, **more: Any) -> httpx2.Response:
    return await site.http.post(path, headers={**BEARER, **more.pop("headers", {})}, **more)


async def test_an_order_is_taken_followed_and_stopped() -> None:
    async with announcing() as (site, stage):
        answer = await post(site, ROOM, json={"text": "Hello.", "voice": "en-us"})
        assert answer.status_code == 202
        record = answer.json()
        assert (record["does"], record["by"], record["over"]) == ("say", "api", False)
        assert [room["room"] for room in record["rooms"]] == ["team-1"]
        own = f"/api/v1/announcements/{record['id']}"
        with trio.fail_after(60):
            while record["rooms"][0]["state"] != "playing":
                record = (await site.http.get(own, headers=BEARER)).json()
        assert record["seconds"] == 60.0
        assert (await post(site, f"{own}/stop")).status_code == 200
        with trio.fail_after(60):
            while not record["over"]:
                record = (await site.http.get(own, headers=BEARER)).json()
        assert record["rooms"][0]["error"] == "it was stopped"
        assert stage.studio.made == [Speech("Hello.", "en-us")]


async def test_a_pattern_and_a_room_with_a_slash_are_found_and_a_body_is_a_file() -> None:
    async with announcing() as (site, stage):
        answer = await post(site, "/api/v1/rooms/team-*/announcements", json={"text": "All."})
        assert [room["room"] for room in answer.json()["rooms"]] == ["team-1", "team-2"]
        answer = await post(
            site,
            "/api/v1/rooms/a%2Fb/announcements",
            content=b"RIFF",
            headers={"Content-Type": "audio/wav"},
        )
        assert (answer.status_code, answer.json()["does"]) == (202, "play")
        assert stage.announcements.open[-1].announcement.content == SoundData(b"RIFF")


async def test_without_a_token_of_the_worker_nobody_announces() -> None:
    async with announcing(token=None) as (site, stage):
        answer = await site.http.post(ROOM, json={"text": "Hello."})
        assert answer.status_code == 403
        assert "start the worker with --http-token" in answer.json()["detail"]
    async with announcing() as (site, stage):
        assert (await site.http.post(ROOM, json={"text": "Hello."})).status_code == 401
        assert not stage.announcements.open


@pytest.mark.parametrize(
    "status, more",
    [
        (400, {"json": {}}),
        (400, {"json": {"text": ""}}),
        (400, {"json": {"text": "..."}}),
        (400, {"json": {"text": "x" * 2_001}}),
        (400, {"json": {"text": "Hello.", "shout": True}}),
        (400, {"json": {"text": "Hello.", "voice": "--path=/"}}),
        (400, {"content": b"\xff", "headers": {"Content-Type": "application/json"}}),
        (400, {"json": {"text": "Hello."}, "params": {"room": "x"}}),
        (
            413,
            {"content": b"x" * (ORDER_BYTES + 1), "headers": {"Content-Type": "application/json"}},
        ),
        (415, {"content": b"text=Hello.", "headers": {"Content-Type": "text/plain"}}),
        (400, {"content": b"", "headers": {"Content-Type": "audio/wav"}}),
        (413, {"content": b"x" * (FILE_SIZE + 1), "headers": {"Content-Type": "audio/wav"}}),
    ],
)
async def test_a_wrong_order_is_a_problem_and_nothing_is_announced(
    status: int, more: dict[str, Any]
) -> None:
    async with announcing() as (site, stage):
        answer = await post(site, ROOM, **more)
        assert answer.status_code == status
        assert answer.json()["detail"]
        assert not stage.announcements.open


async def test_what_cannot_be_announced_has_a_status_of_its_own() -> None:
    async with announcing() as (site, stage):
        stage.watch("secret", encrypted=True)
        orders = {"nowhere": 404, "secret": 409}
        for room, status in orders.items():
            answer = await post(site, f"/api/v1/rooms/{room}/announcements", json={"text": "Hi."})
            assert answer.status_code == status
        answers = [(await post(site, ROOM, json={"text": "Hi."})).status_code for _ in range(12)]
        assert answers == [202] * 11 + [429]
        answer = await site.http.get("/api/v1/announcements/none", headers=BEARER)
        assert answer.status_code == 404
