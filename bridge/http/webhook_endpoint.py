"""`POST /livekit/webhook`: each of LiveKit's webhooks once, checked and in our words."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bridge.http.server.request_body import body_of, refuse_long
from bridge.http.server.routes import HttpRoute
from bridge.livekit.tokens import ApiKey
from bridge.livekit.webhooks.verify import (
    BODY_LIMIT,
    CONTENT_TYPE,
    WEBHOOK_PATH,
    Refusal,
    read_event,
    read_token,
)
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook, translate

log = structlog.get_logger()

REMEMBERED: Final = 10_000
"""Ids of the newest events.  A replay of an older event is refused for its age."""
LOG_AGAIN: Final = 60.0
"""Seconds until the same refusal is logged again, because forged webhooks may come often."""

_REFUSED: Final[Mapping[Refusal, tuple[int, str]]] = {
    "unsigned": (401, "Authorization with LiveKit's token is missing"),
    "forged": (401, "the token is not one of this LiveKit key and secret, or not of now"),
    "altered": (401, "the token was made for another body"),
    "malformed": (400, "the body is no LiveKit webhook"),
    "old": (400, "the event is too old"),
    "early": (400, "the event is from the future"),
}


@final
class WebhookEndpoint:
    """Takes LiveKit's webhooks and passes the translated ones on.

    `on_webhook` is called in the loop and must not wait; where it raises, LiveKit gets a
    500 and sends the webhook again.  `agent_name` is our own, whose agents are nobody.
    """

    def __init__(
        self,
        api_key: ApiKey,
        agent_name: str,
        on_webhook: Callable[[TranslatedWebhook], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("accepted", "ignored", "duplicate", *_REFUSED), 0)
        )
        """Webhooks by outcome: `accepted`, `ignored` (of no use to us), `duplicate`, or the reason
        of a refusal."""
        self.dropped_by_server = 0
        """Webhooks that LiveKit gave up on, by its own count."""
        self._api_key = api_key
        self._agent_name = agent_name
        self._on_webhook = on_webhook
        self._clock = clock
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        self._logged_at: dict[Refusal, float] = {}

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        """Needs neither token nor a name of ours: a webhook has LiveKit's own signature."""
        return (HttpRoute("POST", WEBHOOK_PATH, self._answer, open=True, any_host=True),)

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != CONTENT_TYPE:
            raise HTTPException(415, f"Content-Type must be {CONTENT_TYPE}")
        refuse_long(request, BODY_LIMIT)
        authorization = request.headers.get("authorization", "")
        promise = read_token(authorization, self._api_key, self._clock())
        if isinstance(promise, str):
            raise self._refused(promise)
        body = await body_of(request, BODY_LIMIT)
        now = self._clock()
        event = read_event(body, promise, now)
        if isinstance(event, str):
            raise self._refused(event)
        if event.id in self._event_ids:
            self.counts["duplicate"] += 1
            return Response()
        webhook = translate(event, self._agent_name, now)
        if webhook is not None:
            self._on_webhook(webhook)
        self.counts["ignored" if webhook is None else "accepted"] += 1
        self.dropped_by_server += event.num_dropped
        self._remember(event.id)
        return Response()

    def _remember(self, event_id: str) -> None:
        self._event_ids[event_id] = None
        if len(self._event_ids) > REMEMBERED:
            self._event_ids.popitem(last=False)

    def _refused(self, reason: Refusal) -> HTTPException:
        self.counts[reason] += 1
        now = self._clock()
        status, detail = _REFUSED[reason]
        if now - self._logged_at.get(reason, float("-inf")) >= LOG_AGAIN:
            self._logged_at[reason] = now
            log.warning("webhook_refused", reason=reason, detail=detail, count=self.counts[reason])
        return HTTPException(status, detail)
