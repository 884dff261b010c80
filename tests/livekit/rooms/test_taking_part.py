"""Taking part, on a real server: media that never connects, recorders, telephone calls.

The numbers of a session are the same with LiveKit's webhooks and without.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_asyncio
from attrs import define
from trio_websocket import open_websocket_url

from actors.session import (
    RoomEvent,
    SessionState,
    Watching,
    WebhookJoinAborted,
    WebhookJoined,
    apply,
    begin,
    session_view,
)
from actors.session.events import ParticipantActive, RecorderDetected
from bridge.http.server.routes import app
from bridge.http.webhook_endpoint import WebhookEndpoint
from bridge.lab.people import Grants, open_people
from bridge.lab.server import PrivateServer, find_server
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook
from tests.http.site import open_site
from tests.livekit.rooms.room_stage import RealStage, Recorder
from tests.session.session_story import as_json

BOTH = pytest.mark.parametrize(
    "options", [SdkOptions(), SdkOptions(demux=False)], ids=["demux", "stock"]
)


async def half_join(
    stage: RealStage, identity: str, leave: trio.Event, *, task_status: trio.TaskStatus[None]
) -> None:
    """Open the signalling, never connect media, and close it when `leave` is set."""
    key = ApiKey(stage.server.api_key, stage.server.api_secret)
    token = key.sign({"roomJoin": True, "room": stage.room}, claims={"sub": identity})
    url = f"{stage.server.url}/rtc?access_token={token}&protocol=15"
    async with open_websocket_url(url) as signalling, trio.open_nursery() as nursery:
        await signalling.get_message()

        async def listen() -> None:
            while True:
                await signalling.get_message()

        nursery.start_soon(listen)
        task_status.started()
        await leave.wait()
        nursery.cancel_scope.cancel()


def folded(events: list[RoomEvent]) -> SessionState:
    """The session that these events make, in the order in which they came."""
    first = events[0]
    assert isinstance(first, Watching)
    state = begin("room", first.roster.room_sid, ("AJ_1",), "worker", "agent", first.at)
    for event in events:
        state, _ = apply(state, event)
    return state


def as_json_of(state: SessionState) -> dict[str, Any]:
    return as_json(session_view(state, state.last_at))


@define(eq=False)
class Telling:
    """A stage whose server also tells us by webhooks."""

    stage: RealStage
    recorder: Recorder
    """By webhooks."""
    room_only: Recorder
    """The people in the room."""


@pytest.fixture
async def telling(livekit_server: PrivateServer, tmp_path: Path) -> AsyncGenerator[Telling, None]:
    """Asks for the shared server only because a machine without one cannot run this either."""
    binary = find_server()
    assert binary is not None
    port, recorder, room_only = free_port(socket.SOCK_STREAM), Recorder(), Recorder()

    def hear(webhook: TranslatedWebhook) -> None:
        recorder(webhook.event)

    urls = [f"http://{LOOPBACK}:{port}/livekit/webhook"]
    with PrivateServer.start(binary, tmp_path, webhook_urls=urls) as server:
        key = ApiKey(server.api_key, server.api_secret)
        inbox = WebhookEndpoint(key, "watcher", hear)
        async with (
            open_site(app(inbox.rows, loopback=True), port),
            ServerApi(Endpoint.parse(server.url), key) as api,
            open_people(server.url, server.api_key, server.api_secret) as people,
            trio_asyncio.open_loop(),
            LiveKitRooms() as rooms,
        ):
            yield Telling(RealStage(server, rooms, people, api), recorder, room_only)


async def test_who_never_connects_is_aborted_with_and_without_webhooks(telling: Telling) -> None:
    stage, recorder, room_only = telling.stage, telling.recorder, telling.room_only
    alice = await stage.join("alice")
    await stage.visible(await alice.publish("microphone"))
    early, late = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(half_join, stage, "early", early)
        async with stage.open(room_only):
            await nursery.start(half_join, stage, "late", late)
            assert not (await room_only.joined("late")).participant.active
            bob = await stage.join("bob")
            await bob.publish("microphone")
            await room_only.wait(ParticipantActive, identity="bob")
            state = folded(room_only.events)
            assert set(state.present) == {"alice", "bob", "early", "late"}
            assert (state.current, state.joins, state.aborted_joins) == (2, 2, 0)
            early.set()
            late.set()
            await recorder.until(lambda: aborted(recorder) == {"early", "late"}, "told by webhooks")
            await room_only.until(
                lambda: set(folded(room_only.events).present) == {"alice", "bob"}, "seen to leave"
            )
            await recorder.until(lambda: len(recorder.all(WebhookJoined)) == 2, "alice and bob")
    alone = folded(room_only.events)
    both = folded(sorted([*room_only.events, *recorder.events], key=_when))
    for state in (alone, both):
        assert (state.unique, state.joins, state.aborted_joins) == (2, 2, 2)
    assert both.webhook_received


def _when(event: RoomEvent) -> float:
    """Webhooks from before our entry arrive after it: the order does not matter."""
    return 0.0 if isinstance(event, Watching) else event.at


def aborted(recorder: Recorder) -> set[str]:
    return {event.participant.identity for event in recorder.all(WebhookJoinAborted)}


@BOTH
async def test_who_is_connecting_when_we_come_counts_once_they_are(real: RealStage) -> None:
    recorder, leave = Recorder(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(half_join, real, "dora", leave)
        alice = await real.join("alice")
        await real.visible(await alice.publish("microphone"))
        async with real.open(recorder) as room:
            states = {one.identity: one.active for one in recorder.watching.roster.participants}
            assert states == {"alice": True, "dora": False}
            assert folded(recorder.events).unique == 1
            await real.full_reconnect(room)
            await recorder.until(
                lambda: len(recorder.joins("dora")) > 0, "dora after the reconnect"
            )
            assert folded(recorder.events).unique == 1
            leave.set()


@BOTH
async def test_a_visible_recorder_is_no_person(
    real: RealStage, rooms: LiveKitRooms, api: ServerApi
) -> None:
    asked: list[str] = []

    async def list_recorders(name: str) -> frozenset[str]:
        asked.append(name)
        people = await api.list_participants(name)
        return frozenset(one.sid for one in people if one.permission.recorder)

    rooms.list_recorders = list_recorders
    alice = await real.join("alice")
    await real.visible(await alice.publish("microphone"))
    bot = await real.people.join(real.room, "early", grants=Grants(recorder=True))
    await real.visible(await bot.publish("camera"))
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(RecorderDetected, identity="early")
        late = await real.people.join(real.room, "late", grants=Grants(recorder=True))
        await late.publish("camera")
        await recorder.wait(RecorderDetected, identity="late")
        state = folded(recorder.events)
        assert (state.current, state.unique, state.joins, state.peak) == (1, 1, 1, 1)
        assert {one["identity"]: one["kind"] for one in as_json_of(state)["participants"]} == {
            "alice": "standard",
            "early": "egress",
            "late": "egress",
        }
    assert len(asked) <= 4, "once for each newcomer at most, not for each event"


async def test_nobody_asks_for_recorders_where_nothing_is_recorded(
    real: RealStage, rooms: LiveKitRooms
) -> None:
    async def list_recorders(name: str) -> frozenset[str]:
        raise AssertionError(name)

    rooms.list_recorders = list_recorders
    recorder = Recorder()
    async with real.open(recorder):
        alice = await real.join("alice")
        await alice.publish("microphone")
        await recorder.joined("alice")
    assert not recorder.all(RecorderDetected)


async def test_a_call_is_there_from_when_it_was_answered(real: RealStage) -> None:
    recorder = Recorder()
    attributes = {
        "sip.callID": "SCL_1",
        "sip.callStatus": "dialing",
        "sip.phoneNumber": "+49301",
        "sip.trunkPhoneNumber": "+49302",
        "sip.trunkID": "ST_1",
    }
    async with real.open(recorder):
        call = await real.people.join(real.room, "sip_1", kind="sip", attributes=attributes)
        await call.publish("microphone")
        await recorder.joined("sip_1")
        assert folded(recorder.events).unique == 0
        await call.set_attributes({"sip.callStatus": "active"})
        await recorder.until(lambda: folded(recorder.events).current == 1, "answered")
        await call.leave()
        await recorder.until(lambda: not folded(recorder.events).present, "hung up")
        state = folded(recorder.events)
    (line,) = as_json_of(state)["participants"]
    (join,) = line["joins"]
    assert (line["kind"], join["active"], state.joins) == ("sip", True, 1)
    sip = line["sip"]
    assert (sip["from"], sip["to"], sip["trunk"]) == ("+49302", "+49301", "ST_1")
    assert (sip["status"], sip["hangup_cause"]) == ("active", "client_initiated")
    stay = state.past.get("sip_1")
    assert stay is not None
    (kept,) = stay.joins
    assert kept.answered_at is not None
    assert kept.left_at is not None
    assert 0 < sip["ringing_seconds"] == round(kept.answered_at - kept.joined_at, 3)
    assert line["seconds"] == round(kept.left_at - kept.answered_at, 3)


async def test_the_first_microphone_has_a_time_and_says_how_exact_it_is(real: RealStage) -> None:
    alice = await real.join("alice")
    before = Recorder()
    async with real.open(before, "scout"):
        microphone = await alice.publish("microphone")
        observed = (await before.published(microphone)).at
    recorder = Recorder()
    async with real.open(recorder):
        (track,) = as_json_of(folded(recorder.events))["tracks"]
    state = folded(recorder.events)
    kept = state.tracks.get(microphone) or state.past_tracks.get(microphone)
    assert kept is not None
    assert kept.published_at is not None
    assert track["published_within"] is not None
    assert abs(kept.published_at - observed) <= track["published_within"] + 0.1
