"""`POST /livekit/webhook` as LiveKit and others use it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

import pytest
import trio
from attrs import define, field
from livekit.protocol import models
from structlog.testing import capture_logs

from actors.session.webhook_reports import WebhookRoomFinished
from bridge.http import webhook_endpoint as inbox_module
from bridge.http.server import request_body as body_module
from bridge.http.server.routes import app
from bridge.http.webhook_endpoint import WebhookEndpoint
from bridge.livekit.webhooks.verify import BODY_LIMIT, CONTENT_TYPE, OLDEST
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook
from tests.http.site import HANG, Answer, Site, answer_in, open_site, polite, read_all
from tests.livekit.webhooks.webhook_sender import KEY, OTHER, body_of, event, headers_for

PATH = "/livekit/webhook"


@define(eq=False)
class Post:
    """A site that takes webhooks, and the webhooks that it took."""

    site: Site
    inbox: WebhookEndpoint
    webhooks: list[TranslatedWebhook]
    broken: bool = False
    """The receiver of webhooks raises."""
    clock: float = field(factory=time.time)

    async def send(self, body: bytes, headers: dict[str, str]) -> Answer:
        return polite(await self.site.http.post(PATH, content=body, headers=headers))

    async def begin(self, *lines: str) -> trio.SocketStream:
        """A connection that has sent the head of a webhook with these lines in it."""
        stream = await self.site.open()
        signed = [f"{name}: {value}" for name, value in headers_for(b"").items()]
        head = [f"POST {PATH} HTTP/1.1", "Host: localhost", *signed, *lines]
        await stream.send_all("\r\n".join([*head, "", ""]).encode())
        return stream


@pytest.fixture
async def post() -> AsyncGenerator[Post, None]:
    webhooks: list[TranslatedWebhook] = []

    def hear(said: TranslatedWebhook) -> None:
        if it.broken:
            raise ZeroDivisionError
        webhooks.append(said)

    inbox = WebhookEndpoint(KEY, "watcher", hear, lambda: it.clock)
    async with open_site(app(inbox.rows, loopback=True, token="operators only")) as site:
        it = Post(site, inbox, webhooks)
        yield it


async def test_a_webhook_of_livekit_is_passed_on_with_its_times(post: Post):
    body = body_of(event(id="EV_1", created_at=int(post.clock)))
    assert (await post.send(body, headers_for(body))).status == 200
    finished = WebhookRoomFinished(post.clock, float(int(post.clock)))
    assert post.webhooks == [TranslatedWebhook("lobby", "RM_1", finished, "EV_1")]
    assert +post.inbox.counts == {"accepted": 1}


async def test_duplicates_and_replays_are_welcome_and_dropped(post: Post):
    body = body_of(event())
    for headers in (headers_for(body), headers_for(body), headers_for(body, exp=2**40)):
        assert (await post.send(body, headers)).status == 200
    assert len(post.webhooks) == 1
    assert +post.inbox.counts == {"accepted": 1, "duplicate": 2}


async def test_memory_for_duplicates_is_bounded_and_age_takes_over(
    post: Post, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inbox_module, "REMEMBERED", 2)
    bodies = [body_of(event()) for _ in range(4)]
    for body in bodies:
        await post.send(body, headers_for(body))
    assert len(post.inbox._event_ids) == 2
    post.clock += OLDEST + 2
    answer = await post.send(bodies[0], headers_for(bodies[0], exp=int(post.clock) + 300))
    assert answer.status == 400
    assert +post.inbox.counts == {"accepted": 4, "old": 1}


async def test_what_says_nothing_to_us_is_welcome_and_ignored(post: Post):
    ours = models.ParticipantInfo(permission=models.ParticipantPermission(hidden=True))
    for webhook in (
        event("ingress_started"),
        event("of_tomorrow"),
        event("participant_joined", participant=ours),
    ):
        body = body_of(webhook)
        assert (await post.send(body, headers_for(body))).status == 200
    assert post.webhooks == []
    assert +post.inbox.counts == {"ignored": 3}


async def test_what_livekit_could_not_deliver_is_counted(post: Post):
    body = body_of(event(num_dropped=7))
    await post.send(body, headers_for(body))
    await post.send(body, headers_for(body))
    assert post.inbox.dropped_by_server == 7


async def test_where_nobody_could_be_told_livekit_tries_again(post: Post):
    body = body_of(event())
    post.broken = True
    with capture_logs() as logs:
        assert (await post.send(body, headers_for(body))).problem["status"] == 500
    assert [line["event"] for line in logs] == ["http_request_failed"]
    post.broken = False
    assert (await post.send(body, headers_for(body))).status == 200
    assert len(post.webhooks) == 1


@pytest.mark.parametrize(
    "reason, status", [("unsigned", 401), ("forged", 401), ("altered", 401), ("malformed", 400)]
)
async def test_a_refusal_is_a_problem_counted_and_logged_without_body_or_token(
    post: Post, reason: str, status: int
):
    body = b"{}" if reason == "malformed" else body_of(event())
    headers = {
        "unsigned": {"Content-Type": CONTENT_TYPE},
        "forged": headers_for(body, OTHER),
        "altered": headers_for(body + b" "),
        "malformed": headers_for(body),
    }[reason]
    with capture_logs() as logs:
        answers = [await post.send(body, headers) for _ in range(3)]
    assert [answer.problem["status"] for answer in answers] == [status] * 3
    assert post.webhooks == []
    assert +post.inbox.counts == {reason: 3}
    (line,) = logs
    assert (line["event"], line["reason"], line["count"]) == ("webhook_refused", reason, 1)
    shown = repr((logs, [answer.body for answer in answers]))
    for word in (headers.get("Authorization", "eyJ"), KEY.secret, "lobby", "EV_"):
        assert word not in shown
    post.clock += 61
    with capture_logs() as later:
        await post.send(body, headers_for(b"x", OTHER))
    assert len(later) == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/webhook+jsonx", "", "multipart/form-data"],
)
async def test_another_content_type_is_415(post: Post, content_type: str):
    body = body_of(event())
    answer = await post.send(body, {**headers_for(body), "Content-Type": content_type})
    assert (answer.status, answer.problem["title"]) == (415, "Unsupported Media Type")


async def test_a_charset_after_the_content_type_is_no_other_type(post: Post):
    body = body_of(event())
    headers = {**headers_for(body), "Content-Type": f"{CONTENT_TYPE}; charset=utf-8"}
    assert (await post.send(body, headers)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_it_only_takes_post(post: Post, method: str):
    response = await post.site.http.request(method, PATH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_a_body_that_is_said_to_be_too_long_is_refused_before_it_comes(post: Post):
    async with await post.begin(
        f"Content-Length: {BODY_LIMIT + 1}", "Expect: 100-continue"
    ) as stream:
        answer = answer_in(await read_all(stream))
    assert answer.problem["status"] == 413
    assert answer.headers["connection"] == "close"


async def test_of_a_stranger_no_body_is_read(post: Post):
    async with await post.site.open() as stream:
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n"
        await stream.send_all(
            f"{head}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert answer_in(await read_all(stream)).problem["status"] == 401


async def test_a_number_of_many_digits_is_too_long_too(post: Post):
    async with await post.begin(f"Content-Length: {'9' * 20}") as stream:
        assert answer_in(await read_all(stream)).problem["status"] == 413


async def test_a_body_of_unknown_length_is_read_up_to_the_limit(post: Post):
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with await post.begin("Transfer-Encoding: chunked") as stream:
        for _ in range(17):
            await stream.send_all(piece)
        answer = answer_in(await read_all(stream))
    assert answer.problem["status"] == 413


async def test_a_large_webhook_within_the_limit_is_read(post: Post):
    room = models.Room(sid="RM_1", name="lobby", metadata="m" * 900_000)
    body = body_of(event("room_started", room=room))
    assert (await post.send(body, headers_for(body))).status == 200
    assert len(post.webhooks) == 1


@pytest.mark.parametrize(
    "lines, sent",
    [
        (("Content-Length: 100",), b'{"event":'),
        (("Transfer-Encoding: chunked",), b"10\r\n{"),
        (("Transfer-Encoding: chunked",), b"no length\r\n"),
    ],
)
async def test_a_body_cut_short_is_400(post: Post, lines: tuple[str], sent: bytes):
    async with await post.begin(*lines) as stream:
        await stream.send_all(sent)
        await stream.send_eof()
        answer = answer_in(await read_all(stream))
    assert answer.problem["detail"] == "the body was cut short"
    assert answer.status == 400


async def test_a_body_that_trickles_is_408(post: Post, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.1)
    async with await post.begin("Content-Length: 100") as stream:
        assert answer_in(await read_all(stream)).problem["status"] == 408


async def test_a_client_that_vanishes_in_its_body_is_nobodys_failure(post: Post):
    with capture_logs() as logs:
        stream = await post.begin("Content-Length: 100")
        await stream.aclose()
        with trio.fail_after(HANG):
            assert (await post.site.http.get("/nowhere")).status_code == 401
            post.site.stop()
            await post.site.over.wait()
    assert logs == []
