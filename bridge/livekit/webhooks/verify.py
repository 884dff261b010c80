"""Decides whether a request is a webhook of our LiveKit server.

Pure: bytes in, an event or the reason of a refusal out.

LiveKit signs with the API key that its configuration names (`webhook.api_key`):
`Authorization` is a JSON Web Token (HS256, no "Bearer" before it) with the key as `iss`,
5 minutes to live, and as `sha256` the body's SHA-256 in base64; the body is a
`WebhookEvent` as protobuf's JSON (livekit/protocol, webhook/url_notifier.go).

A token is valid for minutes, so it alone does not stop a replay.  An event older than `OLDEST` is
refused, and `bridge.http.webhook_endpoint` remembers the ids of the younger ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final, Literal, TypeAlias

from attrs import frozen
from google.protobuf import json_format
from livekit.protocol.webhook import WebhookEvent

from bridge.livekit.tokens import LEEWAY, ApiKey, claims_of

WEBHOOK_PATH: Final = "/livekit/webhook"
"""Where our HTTP server takes them."""
CONTENT_TYPE: Final = "application/webhook+json"
BODY_LIMIT: Final = 1024 * 1024
"""Bytes.  An event with all fields that LiveKit puts into one is far smaller."""
OLDEST: Final = 600.0
"""Seconds.  LiveKit stops sending an event after 30."""

Refusal: TypeAlias = Literal["unsigned", "forged", "altered", "malformed", "old", "early"]
"""`unsigned`: there is no token; `forged`: the token is not of our key and secret, or not valid
now; `altered`: it was signed for another body; `malformed`: the body is no event; `old`: the event
is older than `OLDEST`; `early`: it is of the future, and its room would end in years."""


@frozen
class ClaimedDigest:
    """The digest that LiveKit's token has for the body of its request."""

    sha256: str
    """Base64."""


def read_token(authorization: str, api_key: ApiKey, now: float) -> ClaimedDigest | Refusal:
    """The digest in `authorization`, if LiveKit signed it and it is valid `now` (Unix seconds).

    Called before the body is read, so that nobody else can make us store a megabyte.
    """
    if not authorization:
        return "unsigned"
    claims = claims_of(authorization, api_key, now)
    return "forged" if claims is None else ClaimedDigest(str(claims.get("sha256")))


def read_event(body: bytes, claimed: ClaimedDigest, now: float) -> WebhookEvent | Refusal:
    """The event in `body`, if the body has the claimed digest.  A refusal quotes nothing of it."""
    digest = base64.b64encode(hashlib.sha256(body).digest())
    if not hmac.compare_digest(digest, claimed.sha256.encode("utf-8", "replace")):
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
