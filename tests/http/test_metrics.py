"""`/metrics`: what is counted, that both formats are right, and that nobody makes series."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncGenerator, Iterable, Iterator
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from actors.journal.journal import Journal
from actors.rooms.run_counters import LEAVE_REASONS, RunCounters
from actors.runtime import Actor, ChildSpec, open_system, receives
from actors.session import (
    DataReceived,
    Disconnected,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    QualityChanged,
    Suspended,
    TimelineEntry,
    TrackInfo,
    TrackPublished,
    TracksMeasured,
    TrackUnpublished,
    session_row,
)
from actors.session.track_stats import TrackWindow
from bridge.http import metric_sources
from bridge.http.api.event_stream import EventSource
from bridge.http.metric_sources import Sources
from bridge.http.metrics import PREFIX, Metrics, names
from bridge.http.server.routes import app
from bridge.store.sqlite_feed import SqliteFeed
from tests.http.site import Site, open_site, polite
from tests.http.stored_sessions import HOSTILE, sources_of
from tests.session.session_story import as_json
from tests.store.stored_history import History

DEPLOY = Path(__file__).parents[2] / "deploy"


@define(eq=False)
class Measured:
    """A worker's sessions and their metrics."""

    sources: Sources
    site: Site
    journals: list[Journal]
    history: History = field(factory=History)

    def begin(self, room: str, sid: str, *people: str) -> Journal:
        journal = self.history.begin(room, sid, *people)
        self.journals.append(journal)
        self.tell(journal)
        return journal

    def tell(self, journal: Journal) -> None:
        """Folds as a session's actor does."""
        while journal.unpublished:
            self.sources.run.offer(journal.state, journal.unpublished.popleft())

    async def scrape(self) -> dict[tuple[str, ...], float]:
        """Samples by name and labels' values, as Prometheus has them."""
        text = (await self.site.http.get("/metrics")).text
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in families(text)
            for sample in family.samples
        }

    async def value(self, name: str, *labels: str) -> float:
        return (await self.scrape())[(PREFIX + name, *labels)]


class Fragile(Actor[str]):
    @receives(str)
    def fail(self, text: str) -> None:
        raise ValueError(text)


@pytest.fixture
async def measured(tmp_path: Path) -> AsyncGenerator[Measured, None]:
    history, journals = History(), list[Journal]()
    async with open_system() as system:
        feed = EventSource(SqliteFeed(tmp_path, lambda: history.backlog.batch_written))
        sources = sources_of(history, system, feed, journals)
        served = sources.requests.around(app(Metrics(sources).rows, loopback=True))
        async with open_site(served) as site:
            yield Measured(sources, site, journals, history)


# ---------------------------------------------------------------- the text


def samples(found: Iterable[Metric]) -> set[tuple[str, ...]]:
    return {
        (sample.name, *sorted(sample.labels.items()), sample.value)  # pyright: ignore[reportReturnType]
        for family in found
        for sample in family.samples
        if not isnan(sample.value)
    }


async def test_prometheus_and_openmetrics_say_the_same(measured: Measured):
    measured.history.talk(measured.begin("atlas", "RM_1"), 3)
    plain = await measured.site.http.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
    modern = await measured.site.http.get("/metrics", headers={"Accept": accept})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.text.endswith("# EOF\n")
    counted = f"{PREFIX}http_requests_total"
    both = [
        {sample for sample in samples(parsed) if sample[0] != counted}
        for parsed in (families(plain.text), open_families(modern.text))
    ]
    assert both[0] == both[1]


async def test_every_family_has_our_prefix_a_help_and_a_name_that_fits_its_kind(
    measured: Measured,
):
    measured.begin("atlas", "RM_1")
    text = (await measured.site.http.get("/metrics")).text
    found = list(families(text))
    assert len({family.name for family in found}) == len(found)
    for family in found:
        assert family.name.startswith(PREFIX)
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name in names()
            assert ("room" in sample.labels) == family.name.startswith(f"{PREFIX}room_")
        if any("room" in sample.labels for sample in family.samples):
            assert family.type == "gauge"
        assert (f"# TYPE {family.name}_total counter" in text) == (family.type == "counter")


WANTED = """
    rooms people joins_total leaves_total tracks tracks_published_total data_messages_total
    data_bytes_total quality_seconds_total talk_seconds_total session_duration_seconds_bucket
    session_coverage_ratio_bucket events_total event_lag_seconds_bucket mailbox_depth
    mailbox_messages_total actor_restarts_total dead_letters_total worker_registered
    worker_load_ratio store_lag_seconds
"""


async def test_what_an_operator_wants_to_know_is_there_from_the_first_scrape_on(
    measured: Measured,
):
    found = {name for name, *_ in await measured.scrape()}
    labelled = {"mailbox_depth", "mailbox_messages_total", "actor_restarts_total"}
    assert {PREFIX + name for name in {*WANTED.split()} - labelled} <= found
    assert {PREFIX + name for name in labelled} <= names()


async def test_promtool_finds_nothing_where_it_can_be_had(measured: Measured):
    promtool = shutil.which("promtool")  # of Debian's package prometheus
    if promtool is None:
        return
    measured.history.talk(measured.begin(HOSTILE, "RM_1"), 3)
    text = (await measured.site.http.get("/metrics")).text
    for about in (["metrics"], ["rules", str(DEPLOY / "alerts.yml")]):
        ran = await trio.run_process(
            [promtool, "check", *about], stdin=text.encode(), capture_stdout=True, check=False
        )
        assert ran.returncode == 0, ran.stdout.decode()


@pytest.mark.parametrize(
    "accept", ["", "text/plain; version=x", "application/openmetrics-text;version=x"]
)
async def test_no_accept_header_breaks_it(measured: Measured, accept: str):
    answer = await measured.site.http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert (await measured.site.http.head("/metrics")).status_code == 200


async def test_wrong_ways_to_ask(measured: Measured):
    assert polite(await measured.site.http.get("/metrics?x=1")).problem["status"] == 400
    assert polite(await measured.site.http.post("/metrics")).problem["status"] == 405
    assert await measured.value("http_requests_total", "400") == 1
    assert await measured.value("http_requests_total", "405") == 1


# ---------------------------------------------------------------- rooms


async def test_a_live_room_has_gauges_until_its_session_ends(measured: Measured):
    journal = measured.begin("atlas", "RM_1")
    assert await measured.value("room_people", "atlas") == 2
    assert await measured.value("room_watched", "atlas") == 1
    assert await measured.value("rooms") == 1
    assert await measured.value("worker_load_ratio") == 1 / 8
    journal.record(Disconnected(measured.history.now, None))
    assert await measured.value("room_watched", "atlas") == 0
    assert await measured.value("rooms_disconnected") == 1
    journal.end(measured.history.now, "room_closed")
    measured.tell(journal)
    found = await measured.scrape()
    assert not [sample for sample in found if "atlas" in sample]
    assert found[f"{PREFIX}rooms",] == 0


async def test_names_of_strangers_make_neither_lines_nor_endless_series(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metric_sources, "ROOMS", 3)
    for number in range(5):
        measured.begin(f'{HOSTILE}"\n\\{number}', f"RM_{number}")
    measured.begin("x" * 1_000, "RM_long")
    found = [sample for sample in await measured.scrape() if sample[0] == f"{PREFIX}room_people"]
    assert len(found) == 3
    assert all(sample[1].isprintable() for sample in found)
    assert await measured.value("rooms") == 6
    assert await measured.value("people") == 12


@pytest.mark.parametrize(
    "one, other",
    [
        ("x" * 128 + "a", "x" * 128 + "b"),
        ("team\u200b", "team\\u200b"),
        ("team\u200b", "team\u200c"),
        ("x" * 200, "x" * 201),
    ],
)
async def test_two_rooms_are_two_series_however_alike_their_names_are(
    one: str, other: str, measured: Measured
):
    assert (
        metric_sources.label_of(one)
        == metric_sources.label_of(one)
        != metric_sources.label_of(other)
    )
    for number, room in enumerate((one, other)):
        measured.begin(room, f"RM_{number}", *("alice", "bob")[: number + 1])
    for number, room in enumerate((one, other)):
        assert await measured.value("room_people", metric_sources.label_of(room)) == number + 1


# ---------------------------------------------------------------- counters


async def test_entries_are_counted_by_what_they_are(measured: Measured):
    journal = measured.begin("atlas", "RM_1", "alice")
    history = measured.history
    history.talk(journal, 3)
    history.publish(journal, "TR_camera")
    for identity, kind in (("bot", "agent"), ("bob", "standard")):
        info = ParticipantInfo(identity, f"PA_{identity}", history.now, kind=kind)  # pyright: ignore[reportArgumentType]
        journal.record(ParticipantJoined(history.now, info))
    for identity, reason in (("bob", "client_initiated"), ("bot", "of_a_newer_server")):
        journal.record(ParticipantLeft(history.now, identity, f"PA_{identity}", reason))
    measured.tell(journal)
    found = await measured.scrape()

    def count(name: str, *labels: str) -> float:
        return found[(f"{PREFIX}{name}_total", *labels)]

    assert (count("joins", "standard"), count("joins", "agent")) == (2, 1)
    assert (count("leaves", "client_initiated"), count("leaves", "other")) == (1, 1)
    assert (count("tracks_published", "microphone"), count("tracks_published", "camera")) == (1, 1)
    assert (count("data_messages"), count("data_bytes")) == (3, 0 + 1 + 2)
    assert count("events", "participant_connected") == 2
    assert count("events", "track_unpublished") == 0
    assert count("webhooks", "accepted") == 2


async def test_an_ended_session_is_in_the_histograms(measured: Measured):
    journal = measured.begin("atlas", "RM_1")
    measured.history.now += 59.0
    journal.record(Suspended(measured.history.now - 10.0, measured.history.now - 11.5))
    journal.end(measured.history.now, "room_deleted")
    measured.tell(journal)
    found = await measured.scrape()
    duration = f"{PREFIX}session_duration_seconds"
    assert found[f"{duration}_bucket", "30.0"] == 0
    assert found[f"{duration}_bucket", "60.0"] == found[f"{duration}_bucket", "+Inf"] == 1
    assert (found[f"{duration}_count",], found[f"{duration}_sum",]) == (1, 59)
    assert found[f"{PREFIX}session_coverage_ratio_bucket", "0.99"] == 1
    assert found[f"{PREFIX}session_coverage_ratio_bucket", "0.95"] == 0
    assert found[f"{PREFIX}sessions_ended_total", "room_deleted"] == 1


async def test_a_measured_track_is_in_the_histograms_when_it_ends(measured: Measured):
    journal = measured.begin("atlas", "RM_1", "alice", "bob")
    now = measured.history.now
    for who in ("alice", "bob"):
        journal.record(TrackPublished(now, who, TrackInfo(f"TR_{who}", "audio", "microphone")))
    for _ in range(3):
        windows = tuple(
            TrackWindow(
                f"TR_{who}", 2.0, 100 - lost, lost, jitter=0.004, samples=96_000, codec="audio/opus"
            )
            for who, lost in (("alice", 20), ("bob", 0))
        )
        journal.record(TracksMeasured(now, windows))
    measured.tell(journal)
    loss = f"{PREFIX}track_loss_ratio"
    found = await measured.scrape()
    assert (found[f"{loss}_count",], found[f"{PREFIX}people_poor_audio",]) == (0, 1)
    journal.record(TrackUnpublished(now, "alice", "TR_alice"))
    measured.tell(journal)
    found = await measured.scrape()
    assert (found[f"{loss}_count",], found[f"{loss}_sum",]) == (1, 0.2)
    journal.end(now + 1, "room_closed")
    measured.tell(journal)
    found = await measured.scrape()
    assert (found[f"{loss}_bucket", "0.0"], found[f"{loss}_bucket", "0.2"]) == (1, 2)
    for name in ("concealment_ratio", "jitter_seconds", "mos"):
        assert found[f"{PREFIX}track_{name}_count",] == 2
    assert found[f"{PREFIX}track_mos_bucket", "3.0"] == 1


async def test_the_lag_of_an_event_is_never_negative(measured: Measured):
    for lag in (-5.0, 0.0, 0.02, 1e9):
        measured.sources.run.observe_lag(lag)
    found = await measured.scrape()
    lag = f"{PREFIX}event_lag_seconds"
    assert found[f"{lag}_bucket", "0.001"] == 2
    assert found[f"{lag}_bucket", "0.025"] == 3
    assert found[f"{lag}_bucket", "+Inf"] == found[f"{lag}_count",] == 4


async def test_what_became_of_messages_is_right_also_after_their_actor(measured: Measured):
    system = measured.sources.system
    ref: Any = system.supervisor.start_child(ChildSpec("fragile", Fragile))
    ref.tell("a secret")
    await trio.testing.wait_all_tasks_blocked()
    assert await measured.value("mailbox_messages_total", "fragile", "failed") == 1
    assert await measured.value("actor_crashes_total", "fragile") == 1
    assert await measured.value("actor_restarts_total", "fragile") == 1
    await system.supervisor.stop_child("fragile").wait()
    ref.tell("nobody reads this")
    found = await measured.scrape()
    assert found[f"{PREFIX}mailbox_messages_total", "fragile", "failed"] == 1
    assert found[f"{PREFIX}dead_letters_total",] == 1
    assert (f"{PREFIX}mailbox_depth", "fragile") not in found


async def test_a_rooms_group_has_no_series_of_its_own(measured: Measured):
    assert metric_sources.role_of("/rooms/RM_x") == "room"
    assert metric_sources.role_of("/rooms/RM_x/session") == "session"
    assert metric_sources.role_of("/store") == "store"
    assert metric_sources.role_of("/") == "root"


# ---------------------------------------------------------------- seconds


def seconds(tally: RunCounters) -> tuple[float, float]:
    """Seconds of good quality, and of talk."""
    return round(tally.seconds[1], 3), round(tally.seconds[-1], 3)


@pytest.mark.parametrize("every", [0.3, 1.0, 100.0])
def test_seconds_of_a_session_are_those_of_its_row_however_often_one_looks(every: float):
    history, tally, seen = History(), RunCounters(), [0.0]
    journal = history.begin("atlas", "RM_1")

    def tell() -> None:
        while journal.unpublished:
            tally.offer(journal.state, journal.unpublished.popleft())

    def look(until: float) -> None:
        while history.now + every <= until:
            history.now += every
            tally.advance(journal.state, history.now)
            assert sum(tally.seconds) >= seen[-1]
            seen.append(sum(tally.seconds))
        history.now = until

    tell()
    for round_ in range(3):
        history.talk(journal, 2)
        history.talk(journal, 1, "bob")
        tell()
        look(history.now + 2.0)
        journal.record(
            ParticipantLeft(history.now, "bob", f"PA_bob{round_ or ''}", "client_initiated")
        )
        tell()
        look(history.now + 1.0)
        info = ParticipantInfo("bob", f"PA_bob{round_ + 1}", history.now)
        journal.record(ParticipantJoined(history.now, info))
        tell()
        journal.record(QualityChanged(history.now, "bob", info.sid, "good"))
    look(history.now + 1.0)
    journal.end(history.now, "room_closed")
    tell()
    row = as_json(session_row(journal.state, history.now))
    assert seconds(tally) == (row["quality"]["good"], row["talk"]["seconds"])
    tally.offer(
        journal.state, TimelineEntry(history.now, "session_ended", {"reason": "room_closed"})
    )
    assert seconds(tally) == (row["quality"]["good"], row["talk"]["seconds"])


def test_a_session_of_an_earlier_run_is_counted_from_where_it_goes_on():
    history, tally = History(), RunCounters()
    journal = history.begin("atlas", "RM_1")
    history.talk(journal, 3)
    history.now += 100.0
    tally.advance(journal.state, history.now)
    assert seconds(tally) == (0.0, 0.0)
    tally.advance(journal.state, history.now + 5.0)
    assert seconds(tally)[0] == 5.0


def test_a_tally_forgets_a_session_with_its_end():
    history, tally = History(), RunCounters()
    for number in range(3):
        journal = history.begin("atlas", f"RM_{number}")
        journal.record(DataReceived(history.now, "alice", "chat", 5, "text"))
        tally.advance(journal.state, history.now)
        journal.end(history.now, "room_closed")
        while journal.unpublished:
            tally.offer(journal.state, journal.unpublished.popleft())
    assert (tally._there, tally._silent) == ({}, {})
    assert tally.ends["room_closed"] == 3


def test_the_time_to_the_first_media_counts_joins_that_were_seen():
    """Not people who were there before us, and each join once."""
    history, tally = History(), RunCounters()
    journal = history.begin("atlas", "RM_1")
    at = history.now
    carol = ParticipantInfo("carol", "PA_carol", at + 1)
    for event in (
        TrackPublished(at + 0.5, "alice", TrackInfo("TR_early", "video", "camera")),
        ParticipantJoined(at + 1, carol),
        TrackPublished(at + 1.6, "carol", TrackInfo("TR_1", "audio", "microphone")),
        TrackPublished(at + 9, "carol", TrackInfo("TR_2", "video", "camera")),
    ):
        journal.record(event)
        while journal.unpublished:
            tally.offer(journal.state, journal.unpublished.popleft())
    assert (sum(tally.first_media.counts), round(tally.first_media.sum, 3)) == (1, 0.6)


def test_leave_reasons_are_those_of_livekit():
    from bridge.livekit.webhooks.webhook_events import REASONS

    assert set(REASONS.values()) == set(LEAVE_REASONS) - {"unknown", "other"}


# ---------------------------------------------------------------- what is deployed

_SERIES = re.compile(rf"\b{PREFIX}[a-z0-9_]+")


def expressions(value: Any) -> Iterator[str]:
    """Every query in a dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query") and isinstance(inner, str):
                yield inner
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def test_the_dashboard_asks_only_for_what_there_is():
    board = json.loads((DEPLOY / "grafana.json").read_text())
    found = [name for text in expressions(board) for name in _SERIES.findall(text)]
    assert len(found) > 20
    assert set(found) <= names()
    places = [tuple(sorted(panel["gridPos"].items())) for panel in board["panels"]]
    assert len(set(places)) == len(places)


def test_alerts_are_on_what_there_is():
    text = (DEPLOY / "alerts.yml").read_text()
    rules = [line for line in text.splitlines() if "expr:" in line or _SERIES.search(line)]
    found = [name for line in rules for name in _SERIES.findall(line)]
    assert text.count("- alert:") == text.count("expr:") == text.count("summary:") > 5
    assert found
    assert set(found) <= names()


async def test_the_usage_of_agents_is_measured_by_model(measured: Measured):
    usage = measured.sources.run.usage
    usage.tokens["llm", f"x/{HOSTILE}", "input"] = 7
    usage.characters["tts", "x/voice"] = 12
    usage.seconds["stt", "x/ear"] = 1.5
    usage.versions["1.8.9"] = 2
    found = await measured.scrape()
    (model,) = {labels[1] for name, *labels in found if name == f"{PREFIX}agent_tokens_total"}
    assert "\x1b" not in model
    assert found[f"{PREFIX}agent_tokens_total", "llm", model, "input"] == 7
    assert found[f"{PREFIX}agent_characters_total", "tts", "x/voice"] == 12
    assert found[f"{PREFIX}agent_model_seconds_total", "stt", "x/ear"] == 1.5
    assert found[f"{PREFIX}agent_versions_total", "1.8.9"] == 2


async def test_agents_are_measured_by_their_names(measured: Measured):
    run = measured.sources.run.agents
    state = measured.begin("shop", "RM_a").state
    data = {"agent": HOSTILE, "identity": "agent-AJ_1", "interrupted": True, "delay": 0.6}
    run.offer(state, TimelineEntry(1.0, "agent_turn", data))
    found = await measured.scrape()
    (agent,) = {labels[0] for name, *labels in found if name == f"{PREFIX}agent_turns_total"}
    assert "\x1b" not in agent
    assert found[f"{PREFIX}agent_turns_total", agent] == 1
    assert found[f"{PREFIX}agent_interruptions_total", agent] == 1
    assert found[f"{PREFIX}agent_delay_seconds_bucket", agent, "0.5"] == 0
    assert found[f"{PREFIX}agent_delay_seconds_bucket", agent, "0.75"] == 1
    assert found[f"{PREFIX}agent_problems_total", "missing"] == 0
