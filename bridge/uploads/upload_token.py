"""Decides whether a request is an upload of one of our own agents.

An agent signs a token with its API key, which is ours: HS256, the key as `iss`, an empty `sub`, six
hours to live, and the claim `observability: {write: true}` (livekit-agents 1.8.9,
telemetry/traces.py).  No room is in it: who has the key may write about every room.

Pure: text in, the key or the reason of a refusal out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, cast

from bridge.livekit.tokens import ApiKey, claims_of

UploadRefusal: TypeAlias = Literal["unsigned", "forged", "not_allowed"]
"""`unsigned`: there is no bearer token; `forged`: it is not of our key and secret, or not valid
now; `not_allowed`: it is ours, and does not allow to write observability data."""


def refusal_of(authorization: str, api_key: ApiKey, now: float) -> UploadRefusal | None:
    """Why a request with this `Authorization` is refused at `now` (Unix seconds); None if it may.

    Called before the body is read, so that nobody else can make us read one.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return "unsigned"
    claims = claims_of(token.strip(), api_key, now)
    if claims is None:
        return "forged"
    grant = claims.get("observability")
    if not isinstance(grant, Mapping):
        return "not_allowed"
    return None if cast("Mapping[str, object]", grant).get("write") is True else "not_allowed"
