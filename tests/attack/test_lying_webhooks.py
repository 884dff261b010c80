"""A LiveKit that lies in its webhooks: one row a lie, each signed and of now.

After each the room that we are in goes on and what is shown of every session is possible.
Bodies that cannot be read, other signatures, replays and old events are in
`tests/livekit/webhooks/test_verify.py` and `tests/http/test_webhook_endpoint.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from livekit.protocol import egress, models
from livekit.protocol.webhook import WebhookEvent

from bridge.livekit.tokens import ApiKey
from tests.app.test_visitors import Visited, visited
from tests.livekit.webhooks.webhook_sender import body_of, event, headers_for

KEY = ApiKey("none", "none-" * 8)
"""The API key of the site that `visited` opens."""
HERE = "here"
"""The room that we are in, with alice."""
FUTURE = 2**62
YEARS = 10**10
"""Seconds, or what a node tells whose clock is in milliseconds."""
LONG = "x" * 100_000
SESSIONS = 60
"""At most, of the room that we are in and of all that were never."""


def of(room: str, sid: str) -> models.Room:
    return models.Room(name=room, sid=sid)


def who(identity: str = "mallory", sid: str = "PA_m", **fields: Any) -> models.ParticipantInfo:
    return models.ParticipantInfo(identity=identity, sid=sid, **fields)


def everything(room: models.Room, **fields: Any) -> Iterator[WebhookEvent]:
    """Every kind of event, in an order of no room."""
    track = models.TrackInfo(sid="TR_m")
    for name in (
        "room_finished", "track_unpublished", "participant_left", "track_published",
        "participant_connection_aborted", "participant_joined", "room_started",
    ):  # fmt: skip
        yield event(name, room=room, participant=who(**fields), track=track)


def egress_of(sid: str, at: int) -> WebhookEvent:
    info = egress.EgressInfo(
        egress_id="EG_1", room_name=HERE, room_id=sid, started_at=at, ended_at=-at, updated_at=at,
        error=LONG,
    )  # fmt: skip
    return event("egress_ended", room=models.Room(), egress_info=info)


Lie = Callable[[str], Iterable[WebhookEvent]]
"""False webhooks, made from the SID of the room that we are in."""

LIES: dict[str, Lie] = {
    "a room that never was": lambda _: everything(of("never", "RM_never")),
    "rooms that never were": lambda _: (
        event("room_started", room=of(f"never-{n}", f"RM_{n}")) for n in range(50)
    ),
    "a room without a name": lambda sid: everything(of("", sid)),
    "a room without a SID": lambda _: everything(of(HERE, "")),
    "another room's name with our SID": lambda sid: everything(of("another", sid)),
    "our name with other SIDs": lambda _: (
        one for n in range(20) for one in everything(of(HERE, f"RM_{n}"))
    ),
    "everything in the wrong order": lambda sid: everything(of(HERE, sid)),
    "everything a hundred times, each with an id of its own": lambda sid: (
        one for _ in range(20) for one in everything(of(HERE, sid))
    ),
    "somebody without an identity": lambda sid: everything(of(HERE, sid), identity=""),
    "somebody without a SID": lambda sid: everything(of(HERE, sid), sid=""),
    "a join before time began": lambda sid: everything(
        of(HERE, sid), joined_at=-FUTURE, joined_at_ms=-FUTURE
    ),
    "a join of the end of time": lambda sid: everything(
        of(HERE, sid), joined_at=FUTURE, joined_at_ms=FUTURE
    ),
    "a join in years, in a room that never was": lambda _: everything(
        of("never", "RM_never"), joined_at=YEARS, joined_at_ms=YEARS * 1000
    ),
    "a room made at the end of time": lambda _: [
        event("room_started", room=models.Room(
            name="never", sid="RM_never", creation_time=FUTURE, creation_time_ms=FUTURE
        )),
        *everything(of("never", "RM_never")),
    ],
    "a room made before time began": lambda _: [
        event("room_started", room=models.Room(
            name="never", sid="RM_never", creation_time=-FUTURE, creation_time_ms=-FUTURE
        )),
        *everything(of("never", "RM_never")),
    ],
    "a room made in years": lambda _: [
        event("room_started", room=models.Room(
            name="never", sid="RM_never", creation_time=YEARS, creation_time_ms=YEARS * 1000
        )),
        *everything(of("never", "RM_never")),
    ],
    "alice has left, who is here": lambda sid: [
        event("participant_left", room=of(HERE, sid), participant=who("alice", "PA_other")),
    ],
    "somebody left who never came": lambda sid: [
        event("participant_left", room=of(HERE, sid),
              participant=who(f"m{n}", f"PA_{n}", joined_at=YEARS)) for n in range(50)
    ],
    "the end of the room that we are in": lambda sid: [event("room_finished", room=of(HERE, sid))],
    "names without end": lambda sid: everything(
        of(HERE, sid), identity=LONG, name=LONG, metadata=LONG, attributes={LONG: LONG}
    ),
    "a room's name without end": lambda _: everything(of(LONG, f"RM_{LONG}")),
    "reasons and kinds that there are not": lambda sid: everything(
        of(HERE, sid), kind=99, disconnect_reason=99, state=99
    ),
    "a recording of the end of time": lambda sid: [egress_of(sid, FUTURE), egress_of(sid, -FUTURE)],
    "webhooks that were dropped, without number": lambda sid: [
        event("room_started", room=of(HERE, sid), num_dropped=2**31 - 1)
    ],
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_leaves_possible_sessions(tmp_path: Path, lie: str) -> None:
    async with visited(tmp_path) as site:
        [room] = await site.world.watch(HERE)
        for report in LIES[lie](room.sid):
            body = body_of(report)
            answer = await site.http.post(
                "/livekit/webhook", content=body, headers=headers_for(body, KEY)
            )
            assert answer.status_code == 200, answer.text
        await site.collects([room], messages=3)
        sessions = await stored_sessions(site)
    assert len(sessions) <= SESSIONS
    [here] = [one for one in sessions if one["id"] == room.sid]
    assert here["status"] == "active"
    assert here["room"] == HERE
    assert here["data_messages"]["total"] == 3
    assert "alice" in [one["identity"] for one in here["participants"]]
    for session in sessions:
        assert list(impossible(session, time.time())) == []


async def stored_sessions(site: Visited) -> list[dict[str, Any]]:
    await site.world.actors.flush()
    listed = (await site.http.get("/api/v1/sessions?limit=500")).raise_for_status().json()
    sessions_json: list[dict[str, Any]] = []
    for one in listed["sessions"]:
        answer = await site.http.get(f"/api/v1/sessions/{one['id']}")
        sessions_json.append(answer.raise_for_status().json())
    return sessions_json


def impossible(session: Mapping[str, Any], now: float) -> Iterator[str]:
    """The reasons why this session cannot have happened."""
    began, ended = at(session["started_at"]), at(session["ended_at"]) or now
    if began is None:
        yield "it never began"
        return
    if not now - 3_600.0 <= began <= ended + 1.0 <= now + 60.0:
        yield f"it lasted from {session['started_at']} to {session['ended_at']}"
    if not 0.0 <= session["duration"] <= 3_600.0 or not 0.0 <= session["coverage"] <= 1.0:
        yield f"duration {session['duration']}, coverage {session['coverage']}"
    for one in session["participants"]:
        if not 0.0 <= one["seconds"] <= session["duration"] + 5.0:
            yield f"{one['identity'][:30]!r} was there for {one['seconds']} s"
        if len(one["identity"]) > 300 or len(one["name"] or "") > 300:
            yield "a name without end"
        for join in one["joins"]:
            came, left = at(join["joined_at"]), at(join["left_at"])
            if came is None or (left is not None and left < came) or came > now + 60.0:
                yield f"a join from {join['joined_at']} to {join['left_at']}"
    if len(session["room"]) > 1_100:
        yield "a room's name without end"


def at(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
