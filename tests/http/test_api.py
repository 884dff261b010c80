"""The API: what is kept as JSON and CSV, paged and filtered, and every wrong way to ask."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from structlog.testing import capture_logs

from actors.session import session_row, session_view
from bridge.http.api import endpoints, export
from bridge.http.api.query import MOST, QUERY_BYTES
from bridge.store.schema import FILE
from tests.http.site import HANG, answer_in, polite
from tests.http.stored_sessions import HOSTILE, WORKER, StoredSessions, open_stored
from tests.session.session_story import as_json

LISTS = [
    "/api/v1/rooms",
    "/api/v1/sessions",
    "/api/v1/alerts",
    "/api/v1/workers",
    "/api/v1/actors",
    "/openapi.json",
]


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncGenerator[StoredSessions, None]:
    async with open_stored(tmp_path) as running:
        await running.fill()
        yield running


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


# ---------------------------------------------------------------- what there is


async def test_rooms_are_the_live_sessions(stored: StoredSessions):
    found = await stored.get("/api/v1/rooms")
    assert ids(found["rooms"]) == ["RM_live"]
    assert found["rooms"][0]["people"]["current"] == 2


async def test_a_worker_names_rooms_without_a_place_whatever_they_are_called(
    stored: StoredSessions,
):
    answer = await stored.site.http.get("/api/v1/workers")
    assert answer.status_code == 200
    assert answer.text.isascii()
    assert answer.json() == {"workers": [WORKER]}


async def test_a_live_room_is_as_of_the_newest_batch(stored: StoredSessions):
    stored.history.publish(stored.live, "TR_new")
    before = (await stored.get("/api/v1/rooms"))["rooms"][0]["track_counts"]["current"]
    await stored.write()
    after = (await stored.get("/api/v1/rooms"))["rooms"][0]["track_counts"]["current"]
    assert (before, after) == (2, 3)


async def test_sessions_are_paged_from_the_newest_to_the_oldest(stored: StoredSessions):
    pages, cursor = [], {}
    while True:
        page = await stored.get("/api/v1/sessions", limit=4, **cursor)
        pages.append(ids(page["sessions"]))
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert pages == [["RM_live", "RM_4", "RM_3", "RM_2"], ["RM_1", "RM_0"]]


async def test_the_next_page_is_also_named_by_a_header(stored: StoredSessions):
    answer = await stored.site.http.get("/api/v1/sessions?limit=2&status=ended&format=csv")
    link = answer.headers["link"]
    assert link.endswith('>; rel="next"')
    following = await stored.site.http.get(link[1:].partition(">")[0])
    rows = list(csv.DictReader(io.StringIO(following.text)))
    assert [row["id"] for row in rows] == ["RM_2", "RM_1"]
    last = await stored.site.http.get("/api/v1/sessions")
    assert "link" not in last.headers


@pytest.mark.parametrize(
    "query, found",
    [
        ("room=team-1", ["RM_3", "RM_1"]),
        ("room=team-*", ["RM_4", "RM_3", "RM_2", "RM_1"]),
        ("person=person-3", ["RM_4", "RM_3"]),
        ("status=active", ["RM_live"]),
        ("status=ended&limit=1", ["RM_4"]),
        ("people=4&status=ended", ["RM_4", "RM_3"]),
        ("quality=lost", []),
        ("since=2026-09-21T18:00:00Z", ["RM_live", "RM_4"]),
        ("until=2026-09-21T15:00:00.000%2B00:00", ["RM_0"]),
    ],
)
async def test_sessions_are_filtered(stored: StoredSessions, query: str, found: list[str]):
    assert ids((await stored.get(f"/api/v1/sessions?{query}"))["sessions"]) == found


@pytest.mark.parametrize(
    "query, found",
    [
        ("", ["RM_live"]),
        ("room=live", ["RM_live"]),
        ("room=team-*", []),
        ("person=alice&people=1&status=active", ["RM_live"]),
        ("person=nobody", []),
        ("people=50", []),
        ("status=ended", []),
    ],
)
async def test_live_rooms_have_the_filters_of_sessions(
    stored: StoredSessions, query: str, found: list[str]
):
    assert ids((await stored.get(f"/api/v1/rooms?{query}"))["rooms"]) == found


async def test_a_session_is_the_contracts_object(stored: StoredSessions):
    journal = stored.history.begin("whole", "RM_whole")
    stored.history.talk(journal, 3)
    journal.end(stored.history.now, "room_deleted")
    entries = tuple(journal.unpublished)
    await stored.write()
    view = as_json(session_view(journal.state, stored.history.now, entries))
    whole = {**json.loads(json.dumps(view)), "next": None}
    assert await stored.get("/api/v1/sessions/RM_whole") == whole
    first = await stored.get("/api/v1/sessions/RM_whole", limit=5)
    assert first["timeline"] == whole["timeline"][:5]
    second = await stored.get("/api/v1/sessions/RM_whole", cursor=first["next"])
    assert (second["timeline"], second["next"]) == (whole["timeline"][5:], None)
    for query in ("cursor=5", "cursor=x.1&format=csv"):
        answer = await stored.site.http.get(f"/api/v1/sessions/RM_whole?{query}")
        assert answer.status_code == 400
    row = (await stored.get("/api/v1/sessions", room="whole"))["sessions"]
    assert row == [as_json(session_row(journal.state, stored.history.now))]


async def test_a_rooms_name_is_its_newest_session(stored: StoredSessions):
    assert (await stored.get("/api/v1/sessions/team-1"))["id"] == "RM_3"


async def test_a_name_may_have_any_character(stored: StoredSessions):
    assert (await stored.get(f"/api/v1/sessions/{quote(HOSTILE, safe='')}"))["room"] == HOSTILE
    journal = stored.history.begin("a/b c?d#e%2F", "RM_odd")
    journal.end(stored.history.now, "room_closed")
    await stored.write()
    assert (await stored.get("/api/v1/sessions/a%2Fb%20c%3Fd%23e%252F"))["id"] == "RM_odd"


async def test_the_tree_of_actors_is_told(stored: StoredSessions):
    found = await stored.get("/api/v1/actors")
    assert found["tree"]["path"] == "/"
    assert found["tree"]["kind"] == "supervisor"
    assert found["dead_letters"] == 0


# ---------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    "query, accept, kind",
    [
        ("", "text/csv", "text/csv; charset=utf-8"),
        ("", "text/csv, */*;q=0.1", "text/csv; charset=utf-8"),
        ("", "*/*", "application/json"),
        ("", "text/html, text/csv;q=0.5, application/json;q=0.9", "application/json"),
        ("", "text/csv;q=0", "application/json"),
        ("", "text/csv;q=x", "application/json"),
        ("?format=csv", "application/json", "text/csv; charset=utf-8"),
        ("?format=json", "text/csv", "application/json"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/rooms", "/api/v1/sessions", "/api/v1/sessions/RM_1"])
async def test_csv_is_for_who_names_it(
    stored: StoredSessions, path: str, query: str, accept: str, kind: str
):
    answer = await stored.site.http.get(path + query, headers={"Accept": accept})
    assert answer.headers["content-type"] == kind
    assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/RM_0"])
async def test_no_cell_is_a_formula_or_moves_a_terminal(stored: StoredSessions, path: str):
    answer = await stored.site.http.get(f"{path}?format=csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text


async def test_sessions_as_csv_are_whole_unless_a_limit_is_given(
    stored: StoredSessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(endpoints, "PAGE", 2)
    monkeypatch.setattr(export, "ROWS", 2)
    url = "/api/v1/sessions?format=csv&status=ended"
    answer = await stored.site.http.get(url)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [f"RM_{number}" for number in reversed(range(5))]
    assert "link" not in answer.headers
    answer = await stored.site.http.get(f"{url}&limit=3")
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 3


# ---------------------------------------------------------------- ETags


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_an_ended_session_is_sent_once(stored: StoredSessions, form: str):
    path = f"/api/v1/sessions/RM_2?format={form}"
    first = await stored.site.http.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f'"x", W/{tag}', "*"):
        again = await stored.site.http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await stored.site.http.get(path, headers={"If-None-Match": '"x"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_a_session_that_a_webhook_corrects_has_another_tag(stored: StoredSessions):
    journal = stored.live
    journal.end(stored.history.now, "server_lost")
    await stored.write()
    before = (await stored.site.http.get("/api/v1/sessions/RM_live")).headers["etag"]
    journal.attach(stored.history.now, "AJ_2")
    journal.end(stored.history.now + 1, "room_closed")
    await stored.write()
    after = await stored.site.http.get(
        "/api/v1/sessions/RM_live", headers={"If-None-Match": before}
    )
    assert (after.status_code, after.json()["end_reason"]) == (200, "room_closed")


async def test_a_live_session_has_no_tag(stored: StoredSessions):
    answer = await stored.site.http.get("/api/v1/sessions/RM_live", headers={"If-None-Match": "*"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


# ---------------------------------------------------------------- wrong ways to ask


@pytest.mark.parametrize(
    "query",
    [
        "cursor=",
        "cursor=x",
        "cursor=-1",
        "cursor=1.5",
        f"cursor={'9' * 30}",
        "limit=0",
        "limit=-1",
        f"limit={MOST + 1}",
        "limit=ten",
        "limit=1e2",
        "limit=+5",
        "limit=%D9%A1",
        "limit=",
        f"limit={'9' * 100}",
        "people=1.0",
        "room=",
        f"room={'x' * 301}",
        "person=",
        "status=over",
        "status=Active",
        "quality=fine",
        "since=yesterday",
        "since=1790000000",
        "since=2026-9-21",
        "since=2026-09-21T18:00:00",
        "until=2026-13-21T18:00:00Z",
        "format=xml",
        "limit=1&limit=2",
        "colour=red",
        "=",
    ],
)
async def test_a_query_that_is_not_understood_is_refused_whole(stored: StoredSessions, query: str):
    answer = polite(await stored.site.http.get(f"/api/v1/sessions?{query}"))
    assert answer.status == 400
    assert answer.problem["detail"]


@pytest.mark.parametrize("path", LISTS)
async def test_nobody_is_left_to_believe_in_a_parameter_that_is_none(
    stored: StoredSessions, path: str
):
    answer = polite(await stored.site.http.get(f"{path}?%3Cscript%3E=1"))
    assert answer.status == 400
    assert b"script" not in answer.body


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_another_method_is_told_which_there_are(
    stored: StoredSessions, path: str, method: str
):
    answer = polite(await stored.site.http.request(method, path))
    assert answer.status == 405
    assert answer.problem
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", [*LISTS, "/api/v1/sessions/RM_1", "/api/v1/events"])
@pytest.mark.parametrize(
    "how", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_get_has_no_body(stored: StoredSessions, path: str, how: bytes):
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    answer = answer_in(await stored.site.say(head + how))
    assert answer.status == 400
    assert answer.problem


async def test_a_query_has_an_end(stored: StoredSessions):
    long = f"/api/v1/sessions?room={'x' * QUERY_BYTES}"
    assert polite(await stored.site.http.get(long)).problem["status"] == 414


@pytest.mark.parametrize("name", ["RM_none", "nobody", "", "%2E%2E", "%00", "RM_1/", "RM_1/people"])
async def test_an_unknown_session_is_not_found(stored: StoredSessions, name: str):
    answer = polite(await stored.site.http.get(f"/api/v1/sessions/{name}"))
    assert answer.status == 404
    assert answer.problem


async def test_head_is_get_without_its_body(stored: StoredSessions):
    for path in [*LISTS, "/api/v1/sessions/RM_1"]:
        got, asked = await stored.site.http.get(path), await stored.site.http.head(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]


async def test_a_store_that_cannot_be_read_is_a_503_and_its_path_is_for_the_log(
    stored: StoredSessions, tmp_path: Path
):
    (tmp_path / FILE).unlink()
    with capture_logs() as logs:
        answer = polite(await stored.site.http.get("/api/v1/sessions"))
    assert answer.status == 503
    assert str(tmp_path).encode() not in answer.body
    assert answer.problem
    assert [entry["event"] for entry in logs] == ["store_unreadable_for_http"]


async def test_what_is_asked_while_the_answer_before_is_read_gets_its_turn(stored: StoredSessions):
    answers: list[int] = []

    async def ask() -> None:
        answers.append((await stored.site.http.get("/api/v1/sessions")).status_code)

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
    assert answers == [200] * 20
