"""The pages as a program reads them: what they say, and that nothing said is obeyed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncGenerator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx2
import pytest
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_filters import Filters
from actors.runtime import Node
from actors.session import (
    DataReceived,
    ParticipantJoined,
    ParticipantLeft,
    RecordingChanged,
    Tick,
    TrackInfo,
    TrackPublished,
    TracksMeasured,
    WebhookEgress,
)
from actors.session.recording_reports import EgressListed, RecordingIntended, RecordingRequest
from actors.session.recordings import LOST_AFTER
from actors.session.room_info import ParticipantInfo
from actors.session.track_stats import TrackWindow
from bridge.http.api import export
from bridge.http.pages import page_routes
from bridge.http.pages.static_files import FOLDER
from bridge.store.sql_reader import SqlReader
from bridge.store.sqlite_reader import open_reader
from tests.http.page_stage import DAY, HOSTILE, Stage, open_stage, tell_a_story
from tests.session.session_story import as_json

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage, None]:
    with capture_logs():
        async with open_stage(tmp_path / "data") as stage:
            yield stage


class Elements(HTMLParser):
    """The elements that a browser would make of a page, with all their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def encrypted_and_recorded(stage: Stage) -> None:
    """A session whose messages are hidden and of which there is a recording with a hostile file."""
    journal = stage.history.begin("vault", "RM_vault", "alice")
    at = stage.history.now
    hidden = TrackInfo("TR_hidden", "video", "camera", encrypted=True)
    journal.record(TrackPublished(at + 1, "alice", hidden))
    journal.record(
        WebhookEgress(
            at + 2, at + 2, "EG_1", "room_composite", "complete", at, at + 2, None, HOSTILE, at
        )
    )


async def test_an_encrypted_session_says_so_and_claims_no_messages(stage: Stage):
    encrypted_and_recorded(stage)
    await stage.keep()
    text = Elements(await stage.get("/sessions/RM_vault")).text
    assert "encrypted end to end" in text
    assert "its messages do not reach this worker" in text
    assert "No message was sent" not in text
    assert "vault" in Elements(await stage.get("/history")).text


async def test_a_recording_is_shown_with_its_file_as_text(stage: Stage):
    encrypted_and_recorded(stage)
    await stage.keep()
    page = await stage.get("/sessions/RM_vault")
    elements = Elements(page)
    assert "EG_1" in elements.text
    assert "room composite" in elements.text
    assert "script" not in elements.tags[elements.tags.index("main") :]
    assert "onload" not in elements.attributes


async def test_a_recording_that_nobody_makes_is_shown_beside_what_the_room_says(stage: Stage):
    journal = stage.history.begin("atlas", "RM_atlas", "alice")
    at = stage.history.now
    journal.record(RecordingIntended(at, "i1", "keep it", RecordingRequest()))
    journal.record(
        EgressListed(at, "EG_1", "template", "active", "i1", started_at=at, updated_at=at)
    )
    journal.record(RecordingChanged(at, True))
    await stage.keep()
    text = " ".join(Elements(await stage.get("/sessions/RM_atlas")).text.split())
    assert "EG_1 template" in text
    assert "keep it" in text
    assert "The room itself says that it is recorded now" in text
    journal.record(RecordingChanged(at + 1, False))
    journal.record(Tick(at + 1 + LOST_AFTER))
    await stage.keep()
    text = " ".join(Elements(await stage.get("/sessions/RM_atlas")).text.split())
    assert "nobody records since" in text
    assert "The room itself says that it is not recorded now" in text


async def test_a_session_says_who_is_whom_and_who_called_whom(stage: Stage):
    stage.history.person_key = "attributes.user_id"
    stage.history.call(stage.history.begin("support", "RM_call", "alice"))
    await stage.keep()
    text = Elements(await stage.get("/sessions/RM_call")).text
    assert "person caller 7" in " ".join(text.split())
    assert "+49301234 to +4930999" in " ".join(text.split())
    assert "person alice" not in " ".join(text.split())


# ---------------------------------------------------------------- now


async def test_now_shows_every_live_room_the_newest_first(stage: Stage):
    for room in ("atlas", "borealis"):
        stage.history.now += 5
        stage.journals.append(stage.history.begin(room, f"RM_{room}", "alice", "bob"))
    text = Elements(await stage.get("/")).text
    assert text.index("borealis") < text.index("atlas")
    assert "No room is live." in text  # there for when the last one ends


async def test_without_a_room_the_page_says_so(stage: Stage):
    page = await stage.get("/")
    assert re.search(r'id="empty" class="empty">', page)


async def test_only_the_rooms_that_changed_are_sent_again(stage: Stage):
    journals = [stage.history.begin(room, f"RM_{room}") for room in ("atlas", "borealis")]
    stage.journals.extend(journals)
    first = (await stage.site.http.get("/now")).json()
    assert len(first["rows"]) == len(first["order"]) == 2

    at = stage.history.now
    journals[0].record(ParticipantJoined(at + 1, ParticipantInfo("carol", "PA_c", at + 1)))
    second = (await stage.site.http.get("/now", params={"since": first["place"]})).json()
    assert second["order"] is None
    [row] = second["rows"].values()
    assert "carol" in row
    assert second["figures"]["people"] == 5

    journals[1].end(at + 2, "room_closed")
    third = (await stage.site.http.get("/now", params={"since": second["place"]})).json()
    assert third["rows"] == {}
    assert len(third["order"]) == 1


@pytest.mark.parametrize("place", ["", "x", "beef-1", "-", "1-99999999999999999999"])
async def test_a_place_of_another_worker_gets_everything(stage: Stage, place: str):
    stage.journals.append(stage.history.begin())
    news = (await stage.site.http.get("/now", params={"since": place})).json()
    assert len(news["rows"]) == 1


# ---------------------------------------------------------------- history


async def test_an_empty_store_has_an_empty_history(stage: Stage):
    await stage.keep()
    assert "No session is stored yet." in await stage.get("/history")


@pytest.mark.parametrize(
    "query, found",
    [
        ("", {"atlas", "borealis"}),
        ("room=tla", {"atlas"}),
        ("room=b*", {"borealis"}),
        ("person=carol", {"borealis"}),
        ("people=3", {"borealis"}),
        ("quality=good", {"atlas"}),
        ("status=ended", {"atlas"}),
        ("room=nothing", set()),
    ],
)
async def test_sessions_are_found_by_what_they_were(stage: Stage, query: str, found: set[str]):
    atlas = stage.history.begin("atlas", "RM_a")
    stage.history.talk(atlas)
    atlas.end(stage.history.now + 1, "room_closed")
    stage.history.now += 5
    stage.history.begin("borealis", "RM_b", "alice", "bob", "carol")
    await stage.keep()
    page = await stage.get(f"/history?{query}")
    assert set(re.findall(r'href="/sessions/[^"]+"><bdi>(\w+)', page)) == found
    assert ("No session matches." in page) is not found


async def test_a_page_goes_on_where_the_one_before_ended(stage: Stage):
    for number in range(60):
        stage.history.now += 1
        stage.history.begin(f"room-{number}", f"RM_{number}")
    await stage.keep()
    page, seen = "/history", list[str]()
    while page:
        text = await stage.get(page)
        seen += re.findall(r"<bdi>(room-\d+)", text)
        older = re.search(r'rel="next" href="([^"]+)"', text)
        page = older[1].replace("&amp;", "&") if older else ""
    assert seen == [f"room-{number}" for number in reversed(range(60))]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
async def test_what_is_saved_of_the_history_is_whole(
    stage: Stage, count: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "ROWS", 2)
    for number in range(count):
        stage.history.now += 1
        stage.history.begin(f"room-{number}", f"RM_{number}")
        stage.history.begin("other", f"RM_other_{number}")
    await stage.keep()
    page = await stage.get("/history?room=room-")
    expected = [f"RM_{number}" for number in reversed(range(count))]
    found: dict[str, list[str]] = {}
    for kind in ("csv", "json"):
        link = re.search(rf'href="(/history\.{kind}[^"]*)" download="sessions\.{kind}"', page)
        assert link is not None
        answer = await stage.site.http.get(link[1].replace("&amp;", "&"))
        assert answer.headers["content-disposition"].endswith(f"sessions.{kind}")
        if kind == "csv":
            rows = csv.DictReader(io.StringIO(answer.text))
            found[kind] = [row["room_sid"] for row in rows]
        else:
            whole = answer.json()
            assert whole["next"] is None
            found[kind] = [row["room_sid"] for row in whole["sessions"]]
    assert found == {"csv": expected, "json": expected}


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
async def test_what_is_saved_of_a_session_is_whole(
    stage: Stage, tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "EVENTS", at_once)
    journal = stage.history.begin("a room", "RM_a")
    tell_a_story(stage.history, journal)
    journal.end(stage.history.now + 1, "room_closed")
    await stage.keep()
    link = re.search(r'href="(/whole/[^"]+)" download', await stage.get("/sessions/RM_a"))
    assert link is not None
    whole = (await stage.site.http.get(link[1])).json()
    with open_reader(tmp_path / "data") as reader:
        kept = reader.session("RM_a")
    assert kept is not None
    assert len(whole["timeline"]) > 2
    assert whole == {**as_json(kept), "next": None}


async def test_files_beyond_those_that_are_written_at_once_are_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "AT_ONCE", 0)
    await stage.keep()
    answer = await stage.site.http.get("/history.csv")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_file_that_cannot_be_read_to_its_end_breaks_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "ROWS", 1)
    for number in range(3):
        stage.history.now += 1
        stage.history.begin(f"room-{number}", f"RM_{number}")
    await stage.keep()
    parts, read_sessions = list[str | None](), export.read_sessions

    def read(
        reader: SqlReader, filters: Filters, cursor: str | None, *, csv: bool
    ) -> export.FilePart:
        parts.append(cursor)
        if len(parts) == 2:
            raise ArchiveTrouble("gone")
        return read_sessions(reader, filters, cursor, csv=csv)

    monkeypatch.setattr(page_routes, "read_sessions", read)
    with pytest.raises(httpx2.RemoteProtocolError):
        await stage.site.http.get("/history.csv")


async def test_days_are_added_up(stage: Stage):
    stage.history.now -= 3 * DAY
    for _ in range(2):
        journal = stage.history.begin("atlas", f"RM_{stage.history.now}")
        stage.history.now += 600
        journal.end(stage.history.now, "room_closed")
    await stage.keep()
    text = " ".join(Elements(await stage.get("/history")).text.split())
    # Over a midnight they are of two days.
    assert re.search(r"\d{4}-\d\d-\d\d 2 40 2", text) or len(re.findall(" 1 20 2 ", text)) == 2


@pytest.mark.parametrize(
    "query", ["since=soon", "until=2026-13-01", "people=-1", "quality=bad", "status=x"]
)
async def test_a_wrong_filter_is_said_in_the_page(stage: Stage, query: str):
    await stage.keep()
    answer = await stage.site.http.get(f"/history?{query}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


# ---------------------------------------------------------------- a session


async def test_a_session_has_its_people_tracks_topics_and_events(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    tell_a_story(stage.history, journal)
    await stage.keep()
    text = " ".join(Elements(await stage.get("/sessions/RM_a")).text.split())
    for said in ("Carol", "client initiated", "microphone", "chat", "participant disconnected"):
        assert said in text


async def test_the_picture_shows_each_thing_that_happened(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    tell_a_story(stage.history, journal)
    await stage.keep()
    answer = await stage.site.http.get("/timelines/RM_a")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''RM_a.svg"
    drawn = {(one.get("class") or "") for one in ET.fromstring(answer.text).iter()}
    wanted = "here excellent good poor talk mic cam muted data leave gap who"
    assert drawn >= set(wanted.split())


async def test_measured_audio_is_a_line_in_the_picture_and_a_number_beside_the_track(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a", "alice")
    now = stage.history.now
    journal.record(TrackPublished(now, "alice", TrackInfo("TR_1", "audio", "microphone")))
    for at in (1, 2, 3):
        window = TrackWindow("TR_1", 1.7, 80, 20, 4000, 0.004, 80_000, 0, codec="audio/opus")
        journal.record(TracksMeasured(now + at, (window,)))
    journal.record(Tick(now + 10))
    await stage.keep()
    drawn = ET.fromstring((await stage.site.http.get("/timelines/RM_a")).text)
    lines = [one for one in drawn.iter() if one.get("class") == "audio-poor"]
    assert [one.findtext(f"{SVG}title") for one in lines] == [
        "audio poor: loss 20.0 %, concealment 0.0 %, jitter 4 ms, MOS 1.0"
    ]
    text = " ".join(Elements(await stage.get("/sessions/RM_a")).text.split())
    assert "poor: loss 20.0 %" in text


async def test_only_a_live_session_is_asked_for_again(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    await stage.keep()
    assert "<body data-live-page>" in await stage.get("/sessions/RM_a")
    journal.end(stage.history.now + 1, "room_closed")
    await stage.keep()
    assert "<body>" in await stage.get("/sessions/RM_a")


async def test_a_session_that_ended_with_its_worker_may_go_on(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    journal.end(stage.history.now + 1, "worker_stopped")
    await stage.keep()
    assert "<body data-live-page>" in await stage.get("/sessions/RM_a")


async def test_events_are_paged(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    stage.history.talk(journal, 200)
    await stage.keep()
    last = await stage.get("/sessions/RM_a?page=999")
    assert "session started" in last
    assert "session started" not in await stage.get("/sessions/RM_a")


async def test_events_are_chosen_and_runs_of_messages_are_one_row(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    for number in range(30):
        at = stage.history.now + number
        journal.record(DataReceived(at, "bob" if number % 3 else "alice", "chat", 5, "text"))
    await stage.keep()
    whole = await stage.get("/sessions/RM_a")
    assert ("30 messages" in whole, "bob 20, alice 10" in whole) == (True, True)
    each = await stage.get("/sessions/RM_a?kind=messages&person=1&fold=no")
    assert (each.count('class="e-data_message"'), "session started" in each) == (20, False)
    assert "No event matches." in await stage.get("/sessions/RM_a?kind=rules")


async def test_a_session_that_is_not_there_is_a_page_that_says_so(stage: Stage):
    await stage.keep()
    answer = await stage.site.http.get("/sessions/RM_x", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "The store has no session with this id" in answer.text
    program = await stage.site.http.get("/sessions/RM_x")
    assert program.headers["content-type"] == "application/problem+json"


# ---------------------------------------------------------------- the system


async def test_of_many_actors_those_that_are_not_well_are_shown(stage: Stage):
    children = tuple(
        Node(f"/rooms/RM_{n}", "actor", "backoff" if n == 77 else "running", 1, n == 77)
        for n in range(100)
    )
    stage.tree = Node(
        "/", "supervisor", "running", 1, 0,
        children=(Node("/rooms", "supervisor", "running", 1, 0, children=children),),
    )  # fmt: skip
    stage.dead_letters["/rooms/RM_77 Tick"] = 3
    stage.trouble = "the disk is full"
    stage.facts = (("Lines written", 96_311), ("Trouble", "of a \u202estranger"))
    text = " ".join(Elements(await stage.get("/system")).text.split())
    assert "RM_77" in text
    assert "88 more" in text
    assert "all well" in text
    assert "/rooms/RM_77 Tick 3" in text
    assert "the disk is full" in text
    assert r"96 311 Trouble of a \u202estranger" in text  # split() takes the thin gap for a space


# ---------------------------------------------------------------- strangers


async def test_what_a_participant_is_called_is_text_everywhere(stage: Stage):
    plain = stage.history.begin("atlas", "RM_plain", "alice")
    hostile = stage.history.begin(HOSTILE, "RM_hostile", HOSTILE)
    for journal in (plain, hostile):
        journal.record(
            ParticipantJoined(
                stage.history.now,
                ParticipantInfo(
                    HOSTILE if journal is hostile else "bob", "PA_h", stage.history.now,
                    name=HOSTILE if journal is hostile else "Bob",
                    metadata=(HOSTILE if journal is hostile else "m") * 500,
                    attributes={"a": HOSTILE} if journal is hostile else {"a": "b"},
                ),
            )
        )  # fmt: skip
        stage.history.talk(journal, 3, next(iter(journal.state.present)))
    stage.journals.extend((plain, hostile))
    await stage.keep()
    for page in ("/", "/history", "/sessions/RM_hostile", "/system"):
        text = await stage.get(page)
        found = Elements(text)
        calm = Elements(await stage.get(page.replace("hostile", "plain")))
        assert set(found.tags) <= set(calm.tags) | {"bdi"}, page
        assert found.attributes <= calm.attributes | {"title"}, (
            page,
            found.attributes ^ calm.attributes,
        )
        assert not re.search("[\u202e\x1b]", text), page
        if page != "/system":
            assert r"<script>alert(1)</script>" in found.text, page
            assert r"\u202egnp.exe\x1b[31m\n" in found.text, page
    picture = await stage.site.http.get("/timelines/RM_hostile")
    kinds = {one.tag.removeprefix(SVG) for one in ET.fromstring(picture.text).iter()}
    assert "script" not in kinds


async def test_everything_a_page_needs_is_ours(stage: Stage):
    stage.journals.append(stage.history.begin("atlas", "RM_a"))
    await stage.keep()
    for page in ("/", "/history", "/sessions/RM_a", "/alerts", "/system", "/signin"):
        answer = await stage.site.http.get(page, follow_redirects=True)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert not re.search(
            r"<style|style=|<script(?! src=)|\son\w+=|(src|href)=.https?:", answer.text
        ), page
        for found in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
            assert (await stage.site.http.get(found)).status_code == 200


async def test_static_files_are_sent_once(stage: Stage):
    first = await stage.site.http.get("/static/page.css")
    again = await stage.site.http.get(
        "/static/page.css", headers={"if-none-match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert not again.content
    for path in FOLDER.iterdir():
        assert (await stage.site.http.get(f"/static/{path.name}")).status_code == 200


async def test_a_store_that_cannot_be_read_is_a_page_that_says_so(tmp_path: Path):
    with capture_logs():
        async with open_stage(tmp_path / "data") as stage:
            for path in (tmp_path / "data").glob("store.db*"):
                path.unlink()
            answer = await stage.site.http.get("/history", headers={"accept": "text/html"})
    assert answer.status_code == 503
    assert "store" in answer.text


async def test_somebody_who_left_is_gone_from_now(stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    stage.journals.append(journal)
    assert "Alice" in await stage.get("/")
    journal.record(ParticipantLeft(stage.history.now, "alice", "PA_alice", "client_initiated"))
    assert "Alice" not in await stage.get("/")
