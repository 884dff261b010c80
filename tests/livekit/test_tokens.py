"""Tokens as LiveKit's own verifier reads them, each with the least grant."""

from __future__ import annotations

import time

import jwt
from livekit.api import TokenVerifier

from bridge.livekit.tokens import ApiKey, room_token, worker_token

KEY = ApiKey("APIkey", "a-secret-that-is-long-enough-for-sha256")


def claims(token: str) -> dict[str, object]:
    return jwt.decode(token, KEY.secret, algorithms=["HS256"])


def test_a_worker_may_register_and_nothing_else() -> None:
    token = worker_token(KEY)
    verified = TokenVerifier(KEY.key, KEY.secret).verify(token)
    assert verified.video is not None
    assert verified.video.agent
    assert claims(token)["video"] == {"agent": True}


def test_a_room_token_watches_hidden_as_an_agent() -> None:
    token = room_token(KEY, room="standup", identity="agent-1", agent_name="watcher")
    verified = TokenVerifier(KEY.key, KEY.secret).verify(token)
    assert (verified.identity, verified.kind) == ("agent-1", "agent")
    assert verified.attributes == {"lk.agent_name": "watcher"}
    video = verified.video
    assert video is not None
    assert (video.room, video.room_join, video.hidden, video.agent) == ("standup", True, True, True)
    assert (video.can_publish, video.can_publish_data, video.can_subscribe) == (False, False, True)


def test_a_clock_that_runs_ahead_or_behind_by_minutes_still_makes_valid_tokens() -> None:
    payload = claims(worker_token(KEY))
    assert "nbf" not in payload
    assert isinstance(payload["exp"], int)
    assert payload["exp"] - time.time() > 300


def test_the_secret_is_in_no_repr() -> None:
    assert KEY.secret not in repr(KEY)
