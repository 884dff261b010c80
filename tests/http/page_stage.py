"""The pages over a real store, without a server of LiveKit: what tests of the pages look at.

`HOSTILE` is what a participant may call themselves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from actors.journal.conversation_texts import ConversationText, Speaker, TextRetention
from actors.journal.journal import Journal
from actors.runtime import Node
from actors.session import (
    MetadataChanged,
    ParticipantJoined,
    ParticipantLeft,
    QualityChanged,
    Reconnected,
    Reconnecting,
    Roster,
    SpeakersChanged,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackUnmuted,
)
from actors.session.agent_reports import (
    AgentActivity,
    AgentActivityReported,
    AgentCall,
    AgentCallReported,
    AgentErrorReported,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    ModelUsage,
    TurnRole,
)
from actors.session.room_info import ParticipantInfo
from bridge.config.public_address import PublicAddress
from bridge.http.api.alert_routes import AlertSource
from bridge.http.api.audio_routes import AudioRoutes
from bridge.http.api.endpoints import StoreReaders
from bridge.http.pages.agent_pages import AgentPages
from bridge.http.pages.page_routes import Facts, Pages, Section, System, explain
from bridge.http.pages.people_pages import PeoplePages
from bridge.http.server.routes import HttpRoute, app
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_reader import open_reader
from bridge.store.sqlite_texts import SqliteTexts
from bridge.store.text_file import open_texts
from bridge.uploads.audio_files import AudioFiles
from tests.http.site import Site, open_site
from tests.store.stored_history import History

HOSTILE = (
    "<script>alert(1)</script>\"' onload=alert(1) ]]>&lt;\u202egnp.exe\x1b[31m\n"
    '=HYPERLINK("http://x")'
)
DAY = 86_400.0


@define(eq=False)
class Stage:
    """A site, and the history that it shows."""

    site: Site
    history: History
    archive: SqliteArchive
    rows: tuple[HttpRoute, ...]
    journals: list[Journal] = field(factory=list[Journal])
    tree: Node = field(factory=lambda: Node("/", "supervisor", "running", 1, 0))
    dead_letters: dict[str, int] = field(factory=dict[str, int])
    trouble: str | None = None
    facts: Facts = (("Lines written", 7),)
    """Facts of the store."""
    parts: tuple[Section, ...] = ()
    """Other parts than the store."""

    async def keep(self) -> None:
        """Write what happened to the store."""
        await self.history.write_to(self.archive)

    async def get(self, path: str, **headers: str) -> str:
        """A page as text; it must be well."""
        answer = await self.site.http.get(path, headers={"accept": "text/html", **headers})
        assert answer.status_code == 200, answer.text
        return answer.text


@asynccontextmanager
async def open_stage(
    data_dir: Path, *, token: str | None = None, port: int = 0, front: PublicAddress | None = None
) -> AsyncGenerator[Stage, None]:
    """Everything is as of now."""
    async with open_store(data_dir, instance="w") as archive:
        stages: list[Stage] = []

        def parts() -> tuple[Section, ...]:
            store = Section("Store", "writes", stages[0].trouble, stages[0].facts)
            return (*stages[0].parts, store)

        async def tree() -> Node:
            return stages[0].tree

        readers = StoreReaders(lambda: open_reader(data_dir))
        audio = AudioFiles(data_dir, keep=DAY, most_bytes=10**9)
        pages = Pages(
            readers.read,
            lambda: (one.state for one in stages[0].journals if not one.ended),
            System(tree, parts, lambda: stages[0].dead_letters),
            AlertSource(lambda: (one.state for one in stages[0].journals if not one.ended)),
            root=front.root if front else "",
            open_texts=lambda: open_texts(data_dir),
            find_audio=audio.find,
        )
        rows = (
            *pages.rows,
            *PeoplePages(readers.read).rows,
            *AgentPages(readers.read).rows,
            *AudioRoutes(readers, audio.find).rows,
        )
        served = app(rows, loopback=True, token=token, explain=explain, front=front)
        async with open_site(served, port) as site:
            stages.append(Stage(site, History(time.time() - 600), archive, rows))
            yield stages[0]


def tell_a_story(history: History, journal: Journal) -> None:
    """Ten minutes in which everything happens that a timeline shows."""
    start, room_sid = history.now, journal.state.room_sid
    carol = ParticipantInfo("carol", "PA_carol", start + 30, name="Carol")
    robot = ParticipantInfo("scribe", "PA_scribe", start + 40, kind="agent")
    camera = TrackInfo("TR_camera", "video", "camera")
    everyone = journal.state.present
    roster = Roster(
        room_sid,
        "",
        (
            *(
                ParticipantInfo(
                    p.identity,
                    p.joins[-1].sid,
                    p.joins[-1].joined_at,
                    name=p.name,
                    tracks=(TrackInfo(f"TR_{p.identity}", "audio", "microphone"),),
                )
                for p in everyone.values()
            ),
            robot,
        ),
    )
    first = next(iter(everyone))
    for event in (
        TrackSubscribed(start + 1, first, f"TR_{first}"),
        QualityChanged(start + 2, first, "", "excellent"),
        ParticipantJoined(start + 30, carol),
        ParticipantJoined(start + 40, robot),
        MetadataChanged(start + 41, "carol", '{"role": "host"}'),
        TrackPublished(start + 50, "carol", camera),
        SpeakersChanged(start + 60, (first,)),
        SpeakersChanged(start + 110, ("carol",)),
        TrackMuted(start + 120, first, f"TR_{first}"),
        SpeakersChanged(start + 150, ()),
        QualityChanged(start + 160, first, "", "poor"),
        TrackUnmuted(start + 200, first, f"TR_{first}"),
        QualityChanged(start + 230, "carol", "PA_carol", "good"),
        ParticipantLeft(start + 300, "carol", "PA_carol", "client_initiated"),
        Reconnecting(start + 360),
        Reconnected(start + 400, roster),
    ):
        journal.record(event)
    history.now = start + 420
    history.talk(journal, 20, first)


async def tell_of_an_agent(stage: Stage, directory: Path, room_sid: str = "RM_voice") -> None:
    """A conversation of a person with an agent, with its texts and its recording, live."""
    journal = stage.history.begin("front-desk", room_sid, "alice")
    at, who = stage.history.now, "agent-AJ_1"
    attributes = {"lk.agent_name": "receptionist"}
    info = ParticipantInfo(who, "PA_agent", at, kind="agent", attributes=attributes)

    def state(after: float, activity: AgentActivity) -> AgentActivityReported:
        return AgentActivityReported(at + after, who, at + after, activity)

    def turn(after: float, role: TurnRole, seconds: float, **more: Any) -> AgentTurnReported:
        one = AgentTurn(f"item_{after:g}", role, at + after, at + after + seconds, **more)
        return AgentTurnReported(at + after + seconds, who, at + after + seconds, one)

    call = AgentCall("item_c", "call_1", "find_room", at + 26)
    usage = ModelUsage("llm", "openai", "gpt", {"input_tokens": 1_204.0, "output_tokens": 96.0})
    voice = ModelUsage("tts", "cartesia", "sonic", {"characters_count": 412.0})
    for event in (
        ParticipantJoined(at + 1, info),
        state(1.2, "speaking"),
        state(4, "listening"),
        turn(1.2, "agent", 2.8, first_token=0.21, first_byte=0.14),
        turn(12, "user", 4.0, transcription_delay=0.31, end_of_turn_delay=0.52),
        state(16.5, "thinking"),
        state(17.1, "speaking"),
        state(23, "listening"),
        turn(17.1, "agent", 5.9, delay=1.1, first_token=0.3, first_byte=0.12, interrupted=True),
        turn(22, "user", 3.0, transcription_delay=0.28, end_of_turn_delay=0.5),
        state(25.5, "thinking"),
        AgentCallReported(at + 26, who, at + 26, call),
        AgentCallReported(
            at + 26.4, who, at + 26.4, evolve(call, ended_at=at + 26.4, result="error")
        ),
        state(28.2, "speaking"),
        state(33, "listening"),
        turn(28.2, "agent", 4.8, delay=3.2, first_token=0.9, first_byte=0.2),
        AgentUsageReported(at + 33, who, at + 33, (usage, voice)),
        AgentErrorReported(at + 40, who, at + 40, "tts_error", "cartesia.TTS", recoverable=True),
    ):
        journal.record(event)
    texts = SqliteTexts(directory, TextRetention(spoken=DAY, tools=DAY))

    def said(after: float, words: str, speaker: Speaker = "agent") -> ConversationText:
        identity = who if speaker == "agent" else "alice"
        return ConversationText(
            "front-desk", room_sid, "AJ_1", f"item_{after:g}", "speech", speaker, identity,
            at + after, words,
        )  # fmt: skip

    payload = evolve(said(26, '{"day": "friday"}'), item="item_c", name="find_room")
    await texts.write(
        [
            said(1.2, "Good morning, this is the front desk. How can I help?"),
            said(12, "Hello, I would like a room for Friday, please.", "person"),
            said(17.1, "Of course. We have quiet rooms towards the garden, and rooms with a view"),
            said(22, f"Quiet, please. {HOSTILE}", "person"),
            evolve(payload, kind="tool_arguments"),
            evolve(payload, kind="tool_output", text="An internal error occurred"),
            said(28.2, "I am sorry, I cannot look that up right now. May I call you back?"),
        ]
    )
    await texts.aclose()
    folder = directory / "agent-audio"
    folder.mkdir(exist_ok=True)
    (folder / f"{room_sid}.AJ_1.{int(1000 * at)}.ogg").write_bytes(b"OggS" + bytes(200))
    stage.history.now = at + 60
    stage.journals.append(journal)
    await stage.keep()
