"""Is this request a webhook of our LiveKit server?  Pure: bytes in, an event or a reason out.

LiveKit signs with the API key that its configuration names (`webhook.api_key`):
`Authorization` is a JSON Web Token (HS256, no "Bearer" before it) with the key as `iss`,
5 minutes to live, and as `sha256` the body's SHA-256 in base64; the body is a
`WebhookEvent` as protobuf's JSON (livekit/protocol, webhook/url_notifier.go).

A token lives for minutes, so it alone does not stop a replay: an event older than
`OLDEST` is refused, and `bridge.http.webhook_endpoint` remembers the ids of the younger ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import jwt
from attrs import frozen
from google.protobuf import json_format
from livekit.protocol.webhook import WebhookEvent

from bridge.livekit.tokens import ApiKey

CONTENT_TYPE: Final = "application/webhook+json"
BODY_LIMIT: Final = 1024 * 1024
"""Bytes.  A room with everything LiveKit puts into an event stays far below."""
LEEWAY: Final = 60.0
"""Seconds the clocks may differ, each way: what LiveKit itself allows."""
OLDEST: Final = 600.0
"""Seconds.  LiveKit gives up on an event after 30."""

Refusal: TypeAlias = Literal["unsigned", "forged", "altered", "malformed", "old", "early"]
"""`unsigned`: no token; `forged`: not by our key and secret, or not now; `altered`: signed
for another body; `malformed`: no event; `old`: an event of long ago;
`early`: of the future, whose room would end in years."""


@frozen
class ClaimedDigest:
    """What LiveKit's token says of the body that comes with it."""

    sha256: str
    """Base64."""


def read_token(authorization: str, api_key: ApiKey, now: float) -> ClaimedDigest | Refusal:
    """What `authorization` promises, if LiveKit signed it and it holds `now` (Unix seconds).

    Before the body is read: nobody else shall make us keep a megabyte.
    """
    if not authorization:
        return "unsigned"
    try:
        claims = jwt.decode(
            authorization,
            api_key.secret,
            algorithms=["HS256"],
            issuer=api_key.key,
            options={
                "require": ["exp", "iss"],
                # By our own clock, below.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.InvalidTokenError, RecursionError):  # the latter: a header of many brackets
        return "forged"
    return ClaimedDigest(str(claims.get("sha256"))) if _holds_at(now, claims) else "forged"


def read_event(body: bytes, promise: ClaimedDigest, now: float) -> WebhookEvent | Refusal:
    """The event in `body`, if that is what was promised.  A refusal tells nothing of it."""
    digest = base64.b64encode(hashlib.sha256(body).digest())
    if not hmac.compare_digest(digest, promise.sha256.encode("utf-8", "replace")):
        return "altered"
    try:
        event = json_format.Parse(body, WebhookEvent(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        return "malformed"
    if not event.id or not event.event:
        return "malformed"
    if event.created_at - now > LEEWAY:
        return "early"
    return event if now - event.created_at <= OLDEST else "old"


def _holds_at(now: float, claims: Mapping[str, Any]) -> bool:
    begins, ends = claims.get("nbf", 0), claims["exp"]
    numbers = isinstance(begins, int | float) and isinstance(ends, int | float)
    return numbers and begins - LEEWAY <= now < ends + LEEWAY
