"""Pictures of all pages for the documentation: `python -m tests.browser.screenshots`.

A month of made-up sessions, and a day at work: rooms of all sizes, one that was not watched
for a while, one with somebody whose name is not meant well.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
import trio

from actors.journal.journal import Journal
from actors.runtime import Node
from actors.session import (
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Quality,
    QualityChanged,
    SpeakersChanged,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
)
from actors.session.time_text import rfc3339
from bridge.http.pages.page_routes import Section
from bridge.http.pages.rendering import moment
from tests.browser.driver import Driver, Scheme, Tab
from tests.http.page_stage import DAY, HOSTILE, Stage, open_stage, tell_a_story

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
ROOMS: Final = (
    "standup", "design-review", "support/4711", "support/4712", "interview-anna", "all-hands",
    "retro", "pairing-7", "classroom-b2", "telehealth/118",
)  # fmt: skip
NAMES: Final = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy",
    "mallory", "niaj", "olivia", "peggy", "rupert", "sybil", "trent", "victor", "walter",
)  # fmt: skip
SIZES: Final[Mapping[str, tuple[Scheme, int, int]]] = {
    "light": ("light", 1280, 800),
    "dark": ("dark", 1280, 800),
    "phone": ("light", 390, 844),
}


def a_month(stage: Stage, rng: random.Random) -> None:
    """Ended sessions, more of them on working days."""
    history, now = stage.history, time.time()
    for days_ago in range(29, 0, -1):
        weekend = time.gmtime(now - days_ago * DAY).tm_wday > 4
        for number in range(rng.randint(0, 3) if weekend else rng.randint(6, 14)):
            history.now = now - days_ago * DAY + number * 1_700
            people = rng.sample(NAMES, rng.randint(2, 9))
            journal = history.begin(rng.choice(ROOMS), f"RM_{days_ago}_{number}", *people)
            at = history.now
            for who in people:
                level: Quality = rng.choice(("excellent", "excellent", "good", "poor"))
                journal.record(TrackSubscribed(history.now, who, f"TR_{who}"))
                journal.record(QualityChanged(history.now, who, "", "excellent"))
                at = history.now + rng.randint(100, 900)
                journal.record(QualityChanged(at, who, "", level))
                journal.record(SpeakersChanged(at + rng.randint(1, 60), (who,)))
            history.now += rng.randint(1_000, 5_000)
            journal.record(SpeakersChanged(history.now, ()))
            journal.end(history.now, rng.choice(("room_closed", "room_closed", "room_deleted")))


def today(stage: Stage, rng: random.Random) -> Journal:
    """The live sessions; the first is the room with the story."""
    history, now = stage.history, time.time()
    for number, room in enumerate(ROOMS):
        history.now = now - 3_000 + 250 * number
        people = rng.sample(NAMES, rng.randint(2, 7))
        journal = history.begin(room, f"RM_now_{number}", *people)
        stage.journals.append(journal)
        at = history.now
        for index, who in enumerate(people):
            level: Quality = rng.choice(("excellent", "excellent", "excellent", "good", "poor"))
            journal.record(QualityChanged(at, who, "", level))
            journal.record(TrackSubscribed(at, who, f"TR_{who}"))
            if index % 2 == 0:
                camera = TrackInfo(f"TR_cam_{who}", "video", "camera")
                journal.record(TrackPublished(at, who, camera))
            else:
                journal.record(TrackMuted(at, who, f"TR_{who}"))
        if len(people) > 5:
            screen = TrackInfo("TR_screen", "video", "screen")
            journal.record(TrackPublished(at, people[1], screen))
            journal.record(ParticipantLeft(at, people[2], f"PA_{people[2]}", "client_initiated"))
        history.talk(journal, rng.randint(3, 40), people[0])
        journal.record(SpeakersChanged(history.now + 30, ()))
        talks = people[:1] if number % 3 == 0 else ()
        journal.record(SpeakersChanged(now - rng.randint(5, 60), tuple(talks)))
    hostile = history.begin("support/4713", "RM_hostile", "grace")
    stranger = ParticipantInfo(HOSTILE, "PA_x", history.now, metadata=HOSTILE * 9)
    hostile.record(ParticipantJoined(history.now, stranger))
    stage.journals.append(hostile)
    history.now = now - 640
    told = history.begin("standup", "RM_story", "alice", "bob")
    tell_a_story(history, told)
    told.record(SpeakersChanged(now - 140, ("bob",)))
    told.record(SpeakersChanged(now - 60, ()))
    for after in range(0, 160, 13):
        told.record(DataReceived(now - 170 + after, "bob", "whiteboard", 900, "binary"))
    stage.journals.append(told)
    return told


def actors() -> Node:
    """A tree in which one session was restarted."""

    def actor(path: str, restarts: int = 0, handled: int = 40, queued: int = 0) -> Node:
        counters = {"handled": handled, "dropped": 0, "failed": restarts}
        return Node(
            path, "actor", "running", 1 + restarts, restarts, queued, counters,
            ("DataReceived", "SpeakersChanged"), "actors.runtime.mailbox.wait:326",
        )  # fmt: skip

    rooms = tuple(
        Node(
            f"/rooms/RM_now_{n}", "supervisor", "running", 1, 0,
            children=(
                actor(f"/rooms/RM_now_{n}/connection", handled=3),
                actor(f"/rooms/RM_now_{n}/session", n == 3, 812 + n, n == 3),
            ),
        )
        for n in range(240)
    )  # fmt: skip
    services = ("manager", "recovery", "reporter", "worker", "http", "reconciler")
    return Node(
        "/", "supervisor", "running", 1, 0,
        children=(
            actor("/store", handled=96_311),
            Node("/rooms", "supervisor", "running", 1, 0, children=rooms),
            *(actor(f"/{name}", handled=0) for name in services),
        ),
    )  # fmt: skip


async def take(tab: Tab, name: str) -> None:
    """The picture, as small as it gets without a loss that is seen."""
    path = FOLDER / f"{name}.png"
    await tab.order("picture", str(path))
    sys.stdout.write(f"{path.relative_to(FOLDER.parents[1])} {path.stat().st_size // 1024} KiB\n")


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    FOLDER.mkdir(parents=True, exist_ok=True)
    chromium, rng = shutil.which("chromium"), random.Random(7)
    assert chromium is not None
    with tempfile.TemporaryDirectory() as folder, Driver(chromium) as driver:
        async with open_stage(Path(folder) / "full") as stage:
            a_month(stage, rng)
            today(stage, rng)
            stage.tree = actors()
            stage.facts = (
                ("Written last", moment(rfc3339(time.time()))),
                ("Lines written", 96_311),
                ("Lines waiting", 0),
                ("Lines lost", 0),
            )
            worker = (
                ("LiveKit", "https://livekit.example.org"),
                ("Agent name", "simple-room-agent"),
                ("Worker", "0983c8e71403, AW_UWNpELqCbKky"),
                ("Rooms", "240 of at most 500"),
                ("Takes jobs", "yes"),
            )
            stage.parts = (Section("Worker", "registered", None, worker),)
            stage.dead_letters["/rooms/RM_now_3/session Snapshot"] = 2
            await stage.keep()
            pages = {
                "now": "/",
                "history": "/history",
                "session": "/sessions/RM_story",
                "system": "/system",
            }
            for name, path in pages.items():
                for kind, (scheme, width, height) in SIZES.items():
                    async with driver.open(scheme=scheme, width=width, height=height) as tab:
                        await tab.go(f"http://{stage.site.address}{path}")
                        if name != "history":
                            await tab.shows("live", "#link")
                        await take(tab, f"{name}-{kind}")
            async with driver.open() as tab:
                await tab.go(f"http://{stage.site.address}/")
                await tab.shows("live", "#link")
                stage.site.stop()
                await tab.shows("Not connected", "#lost")
                await take(tab, "disconnected")
        async with (
            open_stage(Path(folder) / "empty", token="a token") as stage,
            driver.open() as tab,
        ):
            await stage.keep()
            await tab.go(f"http://{stage.site.address}/")
            await take(tab, "signin")
            await tab.order("fill", "#token", "a token")
            await tab.order("click", ".signin button")
            await tab.shows("live", "#link")
            await take(tab, "empty")
            await tab.go(f"http://{stage.site.address}/sessions/RM_nobody")
            await take(tab, "missing")


if __name__ == "__main__":
    trio.run(main)
