"""The story of a demo as plain data, drawn from a seed before anything runs.

A plan is a list of rooms, each with timed steps of its people.  Everything random is
decided here, so the same settings and seed tell the same story, and a story that went
wrong can be played again.

Some of the timing follows from LiveKit.  The server announces a person who publishes nothing
on a tick of 3 s.  Such people stay longer than that, and leave long enough before the room
ends.  A message whose sender is not announced yet cannot be attributed, so people publish
before they write.  No person leaves for good shortly before another one comes, so that the
peak is the same for every observer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from glob import escape
from typing import Any, Final, Literal, TypeAlias

from attrs import evolve, field, frozen

from actors.rules.limits import Limit

Ending: TypeAlias = Literal["left", "deleted", "open"]
"""How a room's story ends: everybody leaves and the server closes it, the server deletes
it with people inside, or it is still open when the worker stops."""

LIMIT_NAME: Final = "full house"
"""The limit of the demo's worker."""
GATECRASHER: Final = "gatecrasher"
"""Comes to a room that is full."""
FULL_BEFORE: Final = 3.5
FULL_AFTER: Final = 8.0
"""Seconds around the gatecrasher's join in which nobody else may come or go: all are announced
before, and the removal is known after."""

SERVER: Final = ""
"""The server's administrator, for steps that no person in the room does."""

LEAST_SECONDS: Final = 10
_SCRIPT: Final = 0.8
"""Share of the story's time that one room's steps take; the rest is for the rooms'
different beginnings, for the worker to come, and for the last leaves to be announced."""
_STAGGER: Final = 0.1

_NAMES: Final = (
    "alice bob carol dave erin frank grace heidi ivan judy kevin laura mike nina oscar "
    "peggy quentin rosa sam trudy ursula victor wendy xavier yvonne zoe"
)
_WORDS: Final = "who can see my screen now yes no the numbers look fine to me"
_ROOM_NAMES: Final = ("standup", "design review", "all hands", "café <b>4</b>\x1b[31m", "support")

_HOSTILE_NAME: Final = "Root\r\nParticipant connected: admin (SID: PA_forged)\x1b[2J\u202e"
_HOSTILE_METADATA: Final = json.dumps({"html": "<script>alert('metadata')</script>"})
_HOSTILE_TOPIC: Final = "</td><script>alert('topic')</script>\x1b]0;topic\x07"


class PlanError(ValueError):
    """A story that is impossible.  The text names the setting."""


@frozen
class ScriptStep:
    """One thing that somebody does."""

    at: float
    """Seconds since the room is watched; below 0 for what opens the room, in order."""
    who: str
    """An identity, or `SERVER`."""
    do: str
    """A key of `bridge.lab.demo.play_script.DEEDS`."""
    data: Mapping[str, Any] = field(factory=dict[str, Any])


@frozen
class RoomScript:
    room: str
    starts_at: float
    """Seconds since the story's beginning."""
    before_worker: bool
    """Whether the room is open before the worker starts."""
    ending: Ending
    steps: tuple[ScriptStep, ...]
    """In the order of time."""
    places: int = 0
    """People that the worker lets stay in it; 0: there is no limit."""

    @property
    def people(self) -> tuple[str, ...]:
        """Identities of everyone who joins, in the order of the first join."""
        return tuple(dict.fromkeys(step.who for step in self.steps if step.do == "join"))


@frozen
class Script:
    seed: int
    seconds: float
    """Seconds from the story's beginning to the worker's stop, about."""
    rooms: tuple[RoomScript, ...]


class _Scene:
    """One room while its plan is drawn."""

    def __init__(self, rng: random.Random, length: float, ending: Ending) -> None:
        self.rng = rng
        self.length = length
        self.ending: Ending = ending
        self.steps: list[ScriptStep] = []
        self._openings = 0

    def opening(self, who: str, do: str, **data: Any) -> None:
        self._openings += 1
        self.steps.append(ScriptStep(-1000.0 + self._openings, who, do, data))

    def at(self, share: float) -> float:
        """Seconds at `share` of the script, a little off, as people are."""
        return round(self.length * (share + self.rng.uniform(-0.01, 0.01)), 3)

    def later(self, share: float, who: str, do: str, **data: Any) -> None:
        self.steps.append(ScriptStep(self.at(share), who, do, data))

    def after(self, step: ScriptStep, seconds: float, do: str, **data: Any) -> None:
        self.steps.append(ScriptStep(round(step.at + seconds, 3), step.who, do, data))

    def leave(self, share: float, who: str) -> None:
        """Leave for good, in a room whose people do leave."""
        if self.ending == "left":
            self.later(share, who, "leave")

    def sentence(self) -> str:
        return " ".join(self.rng.choices(_WORDS.split(), k=self.rng.randint(2, 12)))


def _host(scene: _Scene, who: str) -> None:
    """Microphone, camera, then the screen with its sound; polls in JSON."""
    agenda = json.dumps({"role": "host", "items": scene.rng.randint(1, 9)})
    scene.opening(who, "join", name=who.title(), metadata=agenda)
    scene.opening(who, "publish", source="microphone")
    scene.opening(who, "publish", source="camera")
    scene.later(0.03, SERVER, "room_metadata", metadata=json.dumps({"agenda": scene.sentence()}))
    for share in (0.08, 0.42, 0.7):
        poll = json.dumps({"question": scene.sentence(), "id": scene.rng.randint(1, 999)})
        scene.later(share, who, "send_data", payload=poll.encode(), topic="poll")
    scene.later(0.14, who, "talk", seconds=max(2.0, round(0.08 * scene.length, 1)))
    scene.later(0.46, who, "publish", source="screen")
    scene.later(0.5, who, "publish", source="screen_audio")
    scene.later(0.56, who, "send_data", payload=b"between us", topic="private", to=["nobody-here"])
    scene.later(0.62, who, "unpublish", source="screen_audio")
    scene.later(0.65, who, "unpublish", source="screen")
    scene.leave(0.97, who)


def _talker(scene: _Scene, who: str) -> None:
    """Mutes and unmutes, talks, writes in the chat, changes name, metadata and attributes."""
    scene.opening(who, "join", name=who.title(), attributes={"hand": "down", "locale": "de"})
    scene.opening(who, "publish", source="microphone")
    scene.later(0.06, who, "mute", source="microphone")
    scene.later(0.28, who, "unmute", source="microphone")
    scene.later(0.32, who, "talk", seconds=max(2.0, round(0.06 * scene.length, 1)))
    for share in (0.6, 0.64):
        scene.later(share, who, "send_text", text=f"{scene.sentence()} – ok?")
    scene.later(0.68, who, "set_name", name=f"{who.title()} (she/her)")
    scene.later(0.72, who, "set_metadata", metadata=json.dumps({"mood": scene.sentence()}))
    scene.later(0.76, who, "set_attributes", changed={"hand": "up", "locale": ""})
    scene.leave(0.91, who)


def _rejoiner(scene: _Scene, who: str) -> None:
    """Leaves and is back a moment later, with another SID and a camera."""
    scene.opening(who, "join", name=who.title())
    scene.opening(who, "publish", source="microphone")
    scene.later(0.1, who, "send_data", payload=scene.sentence().encode(), topic="")
    scene.later(0.2, who, "leave")
    left = scene.steps[-1]
    scene.after(left, 1.2, "join", name=who.title())
    scene.after(left, 1.3, "publish", source="camera")
    scene.later(0.6, who, "send_text", text=scene.sentence())
    scene.leave(0.88, who)


def _kicked(scene: _Scene, who: str) -> None:
    """Is removed by the server."""
    scene.opening(who, "join", name=who.title())
    scene.opening(who, "publish", source="camera")
    scene.later(0.3, who, "send_text", text=scene.sentence().upper())
    scene.later(0.52, SERVER, "kick", identity=who)


def _silent(scene: _Scene, who: str) -> None:
    """Publishes nothing and says nothing; the metadata is not JSON."""
    scene.opening(who, "join", metadata=f"{{not json: {scene.sentence()}")
    scene.later(0.55, who, "leave")


def _hostile(scene: _Scene, who: str) -> None:
    """Tries to break the terminal, the log and the page with everything a person may choose."""
    identity = f"{who}\x1b]0;owned\x07<script>alert(1)</script>"
    scene.opening(identity, "join", name=_HOSTILE_NAME, metadata=_HOSTILE_METADATA)
    scene.opening(identity, "publish", source="camera")
    html = "<img src=x onerror=alert('data')>\x1b[31m"
    scene.later(0.2, identity, "send_data", payload=html.encode(), topic=_HOSTILE_TOPIC)
    scene.later(0.4, identity, "set_name", name=f"{_HOSTILE_NAME} again")
    scene.later(0.44, identity, "set_metadata", metadata="\x00\x1b[?25l" + "x" * 4000)
    scene.later(0.48, identity, "set_attributes", changed={"<b>key</b>": "\r\nvalue\x9b"})
    scene.leave(0.89, identity)


def _late(scene: _Scene, who: str) -> None:
    """Comes in the middle, camera only, sends bytes that are no text."""
    scene.later(0.36, who, "join", name=who.title())
    scene.after(scene.steps[-1], 0.1, "publish", source="camera")
    scene.later(0.6, who, "send_data", payload=scene.rng.randbytes(64) + b"\xff", reliable=False)
    scene.later(0.64, who, "mute", source="camera")
    scene.later(0.74, who, "unmute", source="camera")
    scene.leave(0.86, who)


def _mobile(scene: _Scene, who: str) -> None:
    """Loses the signalling connection and resumes: no other participant may notice."""
    scene.opening(who, "join", name=who.title())
    scene.opening(who, "publish", source="microphone")
    scene.later(0.24, who, "simulate", scenario="signal_reconnect")
    scene.later(0.8, who, "send_data", payload=b'{"battery": 0.2}', topic="status")
    scene.leave(0.93, who)


def _with_gatecrasher(room: RoomScript, length: float) -> RoomScript:
    """The same room with a limit, and somebody who comes while it is full and is removed.

    The room stays as it is where it is never full for long enough: a person who publishes nothing
    is announced up to 3 s late.
    """
    people = _people_over_time(room.steps)
    places = max((count for _, count in people), default=0)
    for share in range(15, 70, 5):
        at = round(length * share / 100, 3)
        around = [count for time, count in people if at - FULL_BEFORE <= time <= at + FULL_AFTER]
        before = [count for time, count in people if time < at - FULL_BEFORE]
        if at + FULL_AFTER < length and {*before[-1:], *around} == {places}:
            steps = (
                ScriptStep(at, GATECRASHER, "join", {"name": "Gatecrasher"}),
                ScriptStep(at, GATECRASHER, "removed"),
            )
            ordered = sorted((*room.steps, *steps), key=lambda step: step.at)
            return evolve(room, steps=tuple(ordered), places=places)
    return room


def limits_of_script(script: Script) -> tuple[Limit, ...]:
    """The limits that the worker of a story has."""
    return tuple(
        Limit(LIMIT_NAME, (escape(room.room),), people=room.places)
        for room in script.rooms
        if room.places
    )


def _people_over_time(steps: Sequence[ScriptStep]) -> list[tuple[float, int]]:
    """How many people are in the room from each moment on; agents do not count."""
    here, counts = set[str](), list[tuple[float, int]]()
    for step in steps:
        if step.do == "join" and step.data.get("kind", "standard") == "standard":
            here.add(step.who)
        elif step.do in ("leave", "kick"):
            here.discard(step.data.get("identity", step.who))
        counts.append((step.at, len(here)))
    return counts


_ROLES: Final[tuple[Callable[[_Scene, str], None], ...]] = (
    _talker,
    _rejoiner,
    _kicked,
    _silent,
    _hostile,
    _late,
    _mobile,
)
"""Handed out in this order, after one host for each room, and then from the start again."""

_ENDINGS: Final[tuple[Ending, ...]] = ("left", "deleted", "open", "left")


def draw(rooms: int, people: int, seconds: float, seed: int, *, limit: bool = True) -> Script:
    """The story of `people` people in `rooms` rooms, in about `seconds` seconds.

    `limit`: the first room has one, which the worker must keep, if there is a moment for it.
    Raises `PlanError` where there are fewer people than rooms, or too little time.
    """
    if people < rooms:
        raise PlanError(f"--people: a room needs at least one, so at least {rooms}")
    if seconds < LEAST_SECONDS:
        raise PlanError(f"--seconds: a story takes at least {LEAST_SECONDS}")
    rng = random.Random(seed)
    length = _SCRIPT * seconds
    names = _some_names(rng, people)
    scenes = [_Scene(rng, length, _ENDINGS[i % len(_ENDINGS)]) for i in range(rooms)]
    for seat, name in enumerate(names):
        scene = scenes[seat % rooms]
        role = _host if seat < rooms else _ROLES[(seat - rooms) % len(_ROLES)]
        role(scene, name)
    for i, scene in enumerate(scenes):
        if i % 2 == 0:  # a bot of somebody else, which is not one of the people
            scene.opening(f"assistant-{i + 1}", "join", kind="agent")
        if scene.ending == "deleted":
            scene.later(0.95, SERVER, "delete")
    scripts = [
        RoomScript(
            room=_room_name(i),
            starts_at=round(rng.uniform(0, _STAGGER) * seconds, 3) if i else 0.0,
            before_worker=i == 0,
            ending=scene.ending,
            steps=tuple(sorted(scene.steps, key=lambda step: step.at)),
        )
        for i, scene in enumerate(scenes)
    ]
    if limit:
        scripts[0] = _with_gatecrasher(scripts[0], length)
    return Script(seed, seconds, tuple(scripts))


def _some_names(rng: random.Random, count: int) -> list[str]:
    """`count` different identities.  Nobody is in two rooms, so that "unique people" is the
    same number however it is added up."""
    names = _NAMES.split()
    rng.shuffle(names)
    return [
        names[i % len(names)] + (f"-{i // len(names) + 1}" * (i >= len(names)))
        for i in range(count)
    ]


def _room_name(i: int) -> str:
    again = i // len(_ROOM_NAMES)
    return _ROOM_NAMES[i % len(_ROOM_NAMES)] + (f" {again + 1}" if again else "")
