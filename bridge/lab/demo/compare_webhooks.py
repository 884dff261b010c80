"""Compares the webhooks that a receiver got with what the people in the rooms did.

The summary in `session_ended` is compared as the stored session is.  Joins and tracks are
compared event by event; the sequence of each session must ascend.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from actors.session import SessionView
from bridge.lab.demo.differences import Difference, count_values, diff
from bridge.lab.demo.expected_session import Shape, expected
from bridge.lab.demo.play_script import RoomStory
from bridge.lab.demo.side_rooms import SIDE_ROOMS
from bridge.lab.demo.webhook_receiver import WebhookReceiver

JOINS: Final = frozenset({"participant_found", "participant_connected"})


@frozen
class WebhookComparison:
    """The chapter of the webhooks."""

    received: int
    joins: int
    tracks: int
    summaries: int
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


def compare_webhooks(
    stories: Sequence[RoomStory], sessions: Sequence[SessionView], receiver: WebhookReceiver
) -> WebhookComparison:
    """`sessions`: the stored ones, whole, after the worker stopped."""
    by_sid = defaultdict[str, list[dict[str, Any]]](list)
    taken = [body for body in receiver.taken if body["room"] not in SIDE_ROOMS]
    for body in taken:
        by_sid[body["session"]].append(body)
    stored = {session.room_sid: session for session in sessions}
    differences = list(diff("webhooks", {"refused": 0}, {"refused": receiver.refused}))
    numbers, joins, tracks, summaries = 1, 0, 0, 0
    for story in stories:
        sid = story.truth.room_sid
        if sid not in stored:
            continue  # The comparison of the sessions says so.
        wanted, bodies = _wanted(expected(story, stored[sid])), by_sid.pop(sid, [])
        actual = _actual(bodies)
        numbers += count_values(wanted)
        where = f"webhooks of {story.plan.room}"
        differences += diff(where, wanted, actual)
        differences += _disorder(where, bodies)
        joins += len(actual["joins"])
        tracks += len(actual["tracks"])
        summaries += actual["ends"]
    differences += [
        Difference("webhooks", "session", "none", f"{len(bodies)} of {sid}")
        for sid, bodies in by_sid.items()
    ]
    return WebhookComparison(len(taken), joins, tracks, summaries, numbers, tuple(differences))


def _wanted(session: Shape) -> Shape:
    people: Mapping[str, Any] = session["participants"]
    tracks: Mapping[str, Any] = session["tracks"]
    return {
        "begins": 1,
        "ends": 1,
        "joins": sorted(
            f"{identity} {sid}" for identity, person in people.items() for sid in person["sids"]
        ),
        "tracks": sorted(f"{track['identity']} {sid}" for sid, track in tracks.items()),
        "acts": session["acts"],
        "summary": {
            # Acts and mutes are counted in the timeline, which a summary does not have.  A
            # recording may end after its room.
            **{key: value for key, value in session.items() if key not in ("acts", "recordings")},
            "tracks": {
                sid: {key: value for key, value in track.items() if key != "mutes"}
                for sid, track in tracks.items()
            },
        },
    }


def _actual(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    bodies = list({body["id"]: body for body in bodies}.values())
    data = defaultdict[str, list[Any]](list)
    for body in bodies:
        data[body["type"]].append(body["data"])
    ends = [one["summary"] for one in data["session_ended"] if "summary" in one]
    joined = [one for event in sorted(JOINS) for one in data[event]]
    return {
        "begins": len(data["session_started"]),
        "ends": len(ends),
        "joins": sorted(f"{one['identity']} {one['sid']}" for one in joined),
        "tracks": sorted(f"{one['identity']} {one['sid']}" for one in data["track_published"]),
        "acts": dict(
            Counter(
                f"{event} {one['rule']} {one['act']} {one['on']}"
                for event in ("act_done", "act_failed")
                for one in data[event]
            )
        ),
        "summary": _keyed(ends[-1]) if ends else {},
    }


def _keyed(summary: Mapping[str, Any]) -> Shape:
    return {
        **summary,
        "participants": {one["identity"]: one for one in summary["participants"]},
        "tracks": {one["sid"]: one for one in summary["tracks"]},
    }


def _disorder(where: str, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    known, newest = set[str](), -1
    for body in bodies:
        if body["id"] in known:
            continue
        known.add(body["id"])
        if body["sequence"] <= newest:
            yield Difference(where, body["id"], f"after {newest}", str(body["sequence"]))
        newest = body["sequence"]
