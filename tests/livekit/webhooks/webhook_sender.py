"""Webhooks as LiveKit signs them, and as others would like to.

`test_livekit_tells` holds this to a request that a real server made.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
from typing import Any

import jwt
from google.protobuf import json_format
from livekit.protocol import models
from livekit.protocol.webhook import WebhookEvent

from bridge.livekit.tokens import ApiKey
from bridge.livekit.webhooks.verify import CONTENT_TYPE

KEY = ApiKey("APIabcdef", "a secret of at least thirty-two bytes, as LiveKit's are")
OTHER = ApiKey("APIother", "another secret of at least thirty-two bytes, not ours")

_numbers = itertools.count()


def event(name: str = "room_finished", **fields: Any) -> WebhookEvent:
    """An event of the room `lobby` with an id of its own, said now."""
    fields.setdefault("id", f"EV_{next(_numbers)}")
    fields.setdefault("created_at", int(time.time()))
    fields.setdefault("room", models.Room(sid="RM_1", name="lobby"))
    return WebhookEvent(event=name, **fields)


def body_of(webhook: WebhookEvent) -> bytes:
    return json_format.MessageToJson(webhook, indent=None).encode()


def token_for(body: bytes, key: ApiKey = KEY, *, at: float | None = None, **claims: Any) -> str:
    """LiveKit's token for `body`, made now or `at` (Unix seconds).

    `claims` replace its own, None takes one out.
    """
    now = int(time.time() if at is None else at)
    ours = {
        "iss": key.key,
        "exp": now + 300,
        "nbf": now,
        "iat": now,
        "sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    present_claims = {
        name: value for name, value in {**ours, **claims}.items() if value is not None
    }
    return jwt.encode(present_claims, key.secret, algorithm="HS256")


def headers_for(body: bytes, key: ApiKey = KEY, **claims: Any) -> dict[str, str]:
    return {"Authorization": token_for(body, key, **claims), "Content-Type": CONTENT_TYPE}
