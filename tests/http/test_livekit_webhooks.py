"""A real LiveKit server's webhooks of real people."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import jwt
import pytest
import trio
from attrs import define, field
from trio_websocket import open_websocket_url

from actors.session.recording_reports import RecordingRequest
from actors.session.webhook_reports import (
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from bridge.http.server.exchange import App, Message
from bridge.http.server.routes import app
from bridge.http.webhook_endpoint import WebhookEndpoint
from bridge.lab.egress.standin_egress import StandinEgress
from bridge.lab.people import People, open_people
from bridge.lab.people.process_protocol import Grants
from bridge.lab.server import PrivateServer, find_server
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.livekit_egress import LiveKitEgress
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, ApiKey
from bridge.livekit.webhooks.verify import CONTENT_TYPE
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook
from tests.egress_fixture import EgressServer
from tests.http.site import HANG, Site, open_site
from tests.livekit.webhooks.webhook_sender import OTHER, token_for

AGENT = "watcher"


@define(eq=False)
class Listener:
    """The webhooks of LiveKit, translated and as they came."""

    webhooks: list[TranslatedWebhook] = field(factory=list[TranslatedWebhook])
    requests: list[tuple[dict[str, str], bytearray]] = field(
        factory=list[tuple[dict[str, str], bytearray]]
    )
    _news: trio.Event = field(factory=trio.Event)

    def hear(self, webhook: TranslatedWebhook) -> None:
        self.webhooks.append(webhook)
        self._news.set()
        self._news = trio.Event()

    async def until(
        self, kind: type[WebhookReport], holds: Callable[..., bool]
    ) -> TranslatedWebhook:
        """The first event of this kind that `holds`; waits for it."""
        with trio.fail_after(HANG):
            while True:
                for webhook in self.webhooks:
                    if isinstance(webhook.event, kind) and holds(webhook.event):
                        return webhook
                await self._news.wait()

    async def joined(self, identity: str, sid: str) -> WebhookJoined:
        webhook = await self.until(
            WebhookJoined,
            lambda it: (it.participant.identity, it.participant.sid) == (identity, sid),
        )
        assert isinstance(webhook.event, WebhookJoined)
        return webhook.event

    async def left(self, sid: str) -> WebhookLeft:
        webhook = await self.until(WebhookLeft, lambda it: it.participant.sid == sid)
        assert isinstance(webhook.event, WebhookLeft)
        return webhook.event

    async def track(self, sid: str, *, published: bool) -> WebhookTrack:
        webhook = await self.until(
            WebhookTrack, lambda it: (it.track.sid, it.published) == (sid, published)
        )
        assert isinstance(webhook.event, WebhookTrack)
        return webhook.event

    def recording(self, inner: App) -> App:
        """`inner`, recording every request."""

        async def outer(scope: Message, receive: Callable[..., object], send: object) -> None:
            body = bytearray()
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.requests.append((headers, body))

            async def receive_and_keep() -> Message:
                message = await receive()  # pyright: ignore[reportGeneralTypeIssues]
                body.extend(message.get("body", b""))
                return message

            await inner(scope, receive_and_keep, send)  # pyright: ignore[reportArgumentType]

        return outer


@define(eq=False)
class Stage:
    """A LiveKit server that tells our site of its rooms."""

    server: PrivateServer
    key: ApiKey
    api: ServerApi
    people: People
    site: Site
    inbox: WebhookEndpoint
    listener: Listener


@pytest.fixture
async def stage(livekit_server: PrivateServer, tmp_path: Path) -> AsyncGenerator[Stage, None]:
    """Asks for the shared server only because a machine without one cannot run this either."""
    binary = find_server()
    assert binary is not None
    port = free_port(socket.SOCK_STREAM)
    urls = [f"http://{LOOPBACK}:{port}/livekit/webhook"]
    listener = Listener()
    with PrivateServer.start(binary, tmp_path, webhook_urls=urls) as server:
        key = ApiKey(server.api_key, server.api_secret)
        inbox = WebhookEndpoint(key, AGENT, listener.hear)
        async with (
            open_site(listener.recording(app(inbox.rows, loopback=True)), port) as site,
            ServerApi(Endpoint.parse(server.url), key) as api,
            open_people(server.url, server.api_key, server.api_secret) as people,
        ):
            yield Stage(server, key, api, people, site, inbox, listener)


async def test_everything_that_happens_in_a_room_is_told_in_our_words(stage: Stage):
    people, listener = stage.people, stage.listener
    alice = await people.join("lobby", "alice", name="Alice", metadata="m", attributes={"k": "v"})
    microphone = await alice.publish("microphone")
    screen = await alice.publish("screen")

    room = await listener.until(WebhookRoomStarted, lambda _: True)
    assert (room.room, room.room_sid) == ("lobby", alice.room_sid)
    assert isinstance(room.event, WebhookRoomStarted)
    assert room.event.created_at == pytest.approx(time.time(), abs=HANG)
    assert room.event.sent_at == pytest.approx(room.event.at, abs=HANG)

    who = (await listener.joined("alice", alice.sid)).participant
    assert (who.name, who.metadata, who.attributes) == ("Alice", "m", {"k": "v"})
    assert (who.kind, who.joined_at) == ("standard", alice.joined_at)

    published = await listener.track(microphone, published=True)
    assert (published.identity, published.sid) == ("alice", alice.sid)
    assert (published.track.kind, published.track.source) == ("audio", "microphone")
    # LiveKit sends no webhook for a track that ended before its media came.
    assert (await listener.track(screen, published=True)).track.source == "screen"
    await alice.unpublish(screen)
    assert (await listener.track(screen, published=False)).sid == alice.sid

    bob = await people.join("lobby", "bob")
    # Of somebody who leaves before the media connection stands it would tell `WebhookJoinAborted`.
    assert (await listener.joined("bob", bob.sid)).participant.kind == "standard"
    await bob.leave()
    assert (await listener.left(bob.sid)).reason == "client_initiated"

    again = await people.join("lobby", "alice")
    await listener.joined("alice", again.sid)
    assert (await listener.left(alice.sid)).reason == "duplicate_identity"

    carol = await people.join("lobby", "carol")
    await listener.joined("carol", carol.sid)
    await stage.api.remove_participant("lobby", "carol")
    assert (await listener.left(carol.sid)).reason == "participant_removed"

    token = stage.key.sign({"roomJoin": True, "room": "lobby"}, claims={"sub": "dora"})
    async with open_websocket_url(f"{stage.server.url}/rtc?access_token={token}") as half_joined:
        await half_joined.get_message()
    aborted = await listener.until(WebhookJoinAborted, lambda it: it.participant.identity == "dora")
    assert isinstance(aborted.event, WebhookJoinAborted)
    assert aborted.event.reason == "signal_close"

    await stage.api.delete_room("lobby")
    ended = await listener.until(WebhookRoomFinished, lambda _: True)
    assert (ended.room, ended.room_sid) == ("lobby", alice.room_sid)
    assert (await listener.left(again.sid)).reason == "room_deleted"
    assert set(+stage.inbox.counts) == {"accepted"}


async def test_agents_are_told_as_such_and_we_and_the_hidden_not_at_all(stage: Stage):
    people, listener = stage.people, stage.listener
    hidden = Grants(hidden=True)
    us = {AGENT_NAME_ATTRIBUTE: AGENT}
    await people.join("lobby", "we", kind="agent", attributes=us, grants=hidden)
    await people.join("lobby", "we, visible", kind="agent", attributes=us)
    await people.join("lobby", "ghost", grants=hidden)
    helper = await people.join(
        "lobby", "helper", kind="agent", attributes={AGENT_NAME_ATTRIBUTE: "helper"}
    )
    assert (await listener.joined("helper", helper.sid)).participant.kind == "agent"
    await stage.api.delete_room("lobby")
    await listener.until(WebhookRoomFinished, lambda _: True)
    await listener.left(helper.sid)
    identities = {
        webhook.event.participant.identity
        for webhook in listener.webhooks
        if isinstance(webhook.event, WebhookJoined | WebhookLeft)
    }
    assert identities == {"helper"}
    assert stage.inbox.counts["ignored"] >= 3


async def test_our_forger_signs_as_livekit_does_and_nobody_else_can(stage: Stage):
    await stage.api.create_room("lobby")
    await stage.listener.until(WebhookRoomStarted, lambda _: True)
    headers, body = stage.listener.requests[0][0], bytes(stage.listener.requests[0][1])
    token = headers["authorization"]
    claims = jwt.decode(token, options={"verify_signature": False}, algorithms=["HS256"])
    times = {name: claims[name] for name in ("exp", "nbf", "iat")}
    assert headers["content-type"] == CONTENT_TYPE
    assert token == token_for(body, stage.key, **times)
    assert times["exp"] - times["iat"] == 300

    async def send(content: bytes, authorization: str) -> int:
        sent = {"Authorization": authorization, "Content-Type": CONTENT_TYPE}
        answer = await stage.site.http.post("/livekit/webhook", content=content, headers=sent)
        return answer.status_code

    assert await send(body, token) == 200
    assert await send(body.replace(b"lobby", b"hobby"), token) == 401
    assert await send(body, token_for(body, OTHER)) == 401
    assert +stage.inbox.counts == {"accepted": 1, "duplicate": 1, "altered": 1, "forged": 1}


async def test_a_recording_of_ours_is_told_of_without_any_setting_of_the_server(
    egress_server: EgressServer, egress_api: ServerApi, standin: StandinEgress
) -> None:
    """The request itself names our inbox, with the key of its intent."""
    listener = Listener()
    inbox = WebhookEndpoint(egress_server.key, AGENT, listener.hear)
    room = await egress_api.create_room("told-of-a-recording")
    async with open_site(app(inbox.rows, loopback=True)) as site:
        url = f"http://{site.address}/livekit/webhook"
        port = LiveKitEgress(egress_api, webhook_url=lambda: url)
        started = await port.start(room.name, RecordingRequest(), "i1")
        active = await listener.until(WebhookEgress, lambda it: it.status == "active")
        assert (active.room, active.room_sid) == (room.name, room.sid)
        assert isinstance(active.event, WebhookEgress)
        assert (active.event.egress_id, active.event.intent) == (started.egress_id, "i1")
        await port.stop(started.egress_id)
        over = await listener.until(WebhookEgress, lambda it: it.status == "complete")
        assert isinstance(over.event, WebhookEgress)
        assert over.event.ended_at is not None
    assert set(+inbox.counts) == {"accepted"}
