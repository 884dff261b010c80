"""The live rooms, drawn once a change for everybody who looks.

A session's state is immutable, so a room whose state is the same object as before has not
changed.  A changed room is drawn once for all browsers.  A browser gets only the rooms that are
newer than those it has.  A row has no value that time alone changes: ages and seconds of talk
are given with their begin, and the browser goes on counting.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, Final, TypeAlias, final

import msgspec
import trio
from attrs import define, frozen

from actors.session import QUALITIES, Quality, SessionState
from actors.session.participant import Participant
from actors.session.recordings import OVER
from actors.session.room_info import WEAK_QUALITIES
from actors.session.time_text import rfc3339
from bridge.http.pages.rendering import render
from bridge.http.server.time_slices import TimeSlices

NAMED_PEOPLE: Final = 12
"""People of a room who are named; the others are counted."""
AT_MOST_EVERY: Final = 0.1
"""Seconds between two looks at all rooms."""
ANSWERS: Final = 16
"""Answers that are kept from one look to the next."""


_Session: TypeAlias = tuple[str, str, float]
"""SID and name of the room, begin."""


@frozen
class PersonCell:
    """One person as the page shows them."""

    identity: str
    name: str
    kind: str
    talking: bool
    quality: Quality | None
    devices: tuple[tuple[str, bool], ...]
    """Source and whether it is muted."""


@define(eq=False)
class _Drawn:
    key: str
    """What a browser calls the row."""
    state: SessionState
    version: int
    html: str


@final
class LiveView:
    """Made once; `live` gives the sessions that have not ended."""

    def __init__(
        self,
        live: Callable[[], Iterable[SessionState]],
        clock: Callable[[], float] = time.time,
        *,
        root: str = "",
    ) -> None:
        self._live = live
        self._clock = clock
        self._root = root
        """What links begin with."""
        self._drawn: dict[_Session, _Drawn] = {}
        self._drawing = trio.Lock()
        self._keys = count(1)
        self._version = 0
        self._members = 0
        """The version at which a room came or went last."""
        self._figures = figures(())
        self._answers: dict[int, bytes] = {}
        """Answers by the version that they begin at, until the next look."""
        self._begun = self._done = 0
        """Looks at all rooms.  A browser that asked for one may disconnect before its end."""
        self._refreshed_at = float("-inf")
        """When the last look began."""
        self._process = secrets.token_hex(4)
        """Versions of another process mean nothing here."""

    async def page(self) -> Mapping[str, Any]:
        """Everything, as values."""
        await self._refresh()
        return self._changes(-1)

    async def since(self, place: str) -> bytes:
        """The changes since the `place` of an earlier answer, as JSON; everything if it is none."""
        await self._refresh()
        process, _, version = place.partition("-")
        known = process == self._process and version.isascii() and version.isdigit()
        begin = int(version[:15]) if known else -1
        answer = self._answers.get(begin)
        if answer is None:
            answer = msgspec.json.encode(self._changes(begin))
            if len(self._answers) < ANSWERS:
                self._answers[begin] = answer
        return answer

    def _changes(self, version: int) -> dict[str, Any]:
        drawn = self._drawn.values()
        return {
            "place": f"{self._process}-{self._version}",
            "figures": self._figures,
            "order": [one.key for one in drawn] if self._members > version else None,
            "rows": {one.key: one.html for one in drawn if one.version > version},
            "at": rfc3339(self._clock()),
        }

    async def _refresh(self) -> None:
        """Return once everything is drawn as it was now, or later.

        All browsers that ask within `AT_MOST_EVERY` get the same answer.
        """
        begun = self._begun
        async with self._drawing:
            if self._done <= begun:  # no look that began later has come to its end
                await trio.sleep_until(self._refreshed_at + AT_MOST_EVERY)
                self._begun += 1
                self._refreshed_at = trio.current_time()
                await self._redraw_all()
                self._done = self._begun

    async def _redraw_all(self) -> None:
        live = {(state.room_sid, state.room, state.started_at): state for state in self._live()}
        newest = sorted(live, key=lambda key: (-key[2], key))
        if newest != list(self._drawn):
            self._version += 1
            self._members = self._version
        drawn: dict[_Session, _Drawn] = {}
        turns = TimeSlices()
        for key in newest:
            state, before = live[key], self._drawn.get(key)
            if before is None or before.state is not state:
                before = self._redraw(state, before)
                await turns.may_pass()
            drawn[key] = before
        self._drawn = drawn
        self._figures = figures(one.state for one in drawn.values())
        self._answers.clear()

    def _redraw(self, state: SessionState, before: _Drawn | None) -> _Drawn:
        key = f"r{next(self._keys)}" if before is None else before.key
        html = render("room.html", root=self._root, key=key, **room_values(state))
        if before is not None and before.html == html:
            before.state = state
            return before
        self._version += 1
        return _Drawn(key, state, self._version, html)


def figures(states: Iterable[SessionState]) -> dict[str, int]:
    """The figures at the top of the page."""
    rooms = people = tracks = talking = weak = 0
    for state in states:
        rooms += 1
        people += state.current
        tracks += len(state.tracks)
        talking += state.people_talking
        weak += sum(person.quality.level in WEAK_QUALITIES for person in state.present.values())
    return {"rooms": rooms, "people": people, "tracks": tracks, "talking": talking, "weak": weak}


def room_values(state: SessionState) -> dict[str, Any]:
    """The values for `room.html`."""
    people = sorted(state.present.values(), key=lambda person: person.number)
    levels = {person.quality.level for person in people}
    known = state.watched_from is not None or state.webhook_received
    return {
        "state": state,
        "known": known,
        "watching": state.watching,
        "recording": _recording(state),
        "faces": [_face(state, person) for person in people[:NAMED_PEOPLE]],
        "more": max(0, len(people) - NAMED_PEOPLE),
        "worst": next((level for level in reversed(QUALITIES) if level in levels), None),
        "talk": _talk(state, people),
        "sources": _sources(state),
        "began": rfc3339(state.started_at),
    }


def _recording(state: SessionState) -> str | None:
    """`lost` if one of its recordings is, `recorded` if the room says so, else the newest step of a
    recording that comes or goes."""
    open_ones = [one for one in state.recordings.values() if one.status not in OVER]
    if any(one.lost_at is not None for one in open_ones):
        return "lost"
    if state.recorded_now and state.watching:
        return "recorded"
    if state.recording_intents:
        return "recording requested"
    return f"recording {open_ones[-1].status}" if open_ones else None


def _face(state: SessionState, person: Participant) -> PersonCell:
    tracks = [track for track in state.tracks.values() if track.identity == person.identity]
    devices = {track.source: track.muted.since is not None for track in tracks}
    return PersonCell(
        identity=person.identity,
        name=person.agent_name or person.name,
        kind=person.kind,
        talking=person.identity in state.speaking,
        quality=person.quality.level,
        devices=tuple(sorted(devices.items())),
    )


def _talk(state: SessionState, people: list[Participant]) -> dict[str, float | int] | None:
    """Seconds of people as of `at`, and how many talk on since; None where it is unknown."""
    left = [one for one in state.past.values() if one.identity not in state.present]
    audible = [person for person in (*people, *left) if person.audible and person.counted]
    if not audible and state.truncated.talk is None:
        return None
    open_ones = [person.talk.since for person in audible if person.talk.since is not None]
    at = max(open_ones, default=state.started_at)
    seconds = sum(person.talk.total(at) for person in audible) + (state.truncated.talk or 0.0)
    return {"seconds": round(seconds, 1), "at": round(at, 3), "rate": len(open_ones)}


def _sources(state: SessionState) -> dict[str, int]:
    sources: dict[str, int] = {}
    for track in state.tracks.values():
        sources[track.source] = sources.get(track.source, 0) + 1
    return dict(sorted(sources.items()))
