"""People's actions and a worker's records, as the same kind of facts: to be compared.

A fact is a tuple that names one thing that happened once or several times, for example
`("muted", ROOM, TRACK)`.  Both sides become multisets of facts; what one has and the
other has not is missing, or too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from bridge.lab.people import Deed

Fact: TypeAlias = tuple[Any, ...]
Facts: TypeAlias = Counter[Fact]

_DEEDS: Final[Mapping[str, Callable[[Deed], Fact]]] = {
    "joined": lambda deed: (deed.sid,),
    "left": lambda deed: (deed.sid,),
    "published": lambda deed: (deed.data["track"],),
    "unpublished": lambda deed: (deed.data["track"],),
    "muted": lambda deed: (deed.data["track"],),
    "unmuted": lambda deed: (deed.data["track"],),
    "sent": lambda deed: (deed.identity, deed.data["topic"], deed.data["size"]),
    "name": lambda deed: (deed.identity, deed.data["name"]),
    "metadata": lambda deed: (deed.identity, deed.data["metadata"]),
    "attributes": lambda deed: (deed.identity, *sorted(deed.data["changed"].items())),
}
"""By deed.  Speech is left out: it is heard in steps, not as one event."""

_RECORDS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Fact]]]] = {
    "participant_found": ("joined", lambda one: (one["sid"],)),
    "participant_connected": ("joined", lambda one: (one["sid"],)),
    "participant_disconnected": ("left", lambda one: (one["sid"],)),
    "track_published": ("published", lambda one: (one["sid"],)),
    "track_unpublished": ("unpublished", lambda one: (one["sid"],)),
    "track_muted": ("muted", lambda one: (one["sid"],)),
    "track_unmuted": ("unmuted", lambda one: (one["sid"],)),
    "data_message": ("sent", lambda one: (one["identity"], one["topic"], one["size"])),
    "participant_name": ("name", lambda one: (one["identity"], one["name"])),
    "participant_metadata": ("metadata", lambda one: (one["identity"], one["metadata"])),
    "participant_attributes": (
        "attributes",
        lambda one: (one["identity"], *sorted(one["changed"].items())),
    ),
}
"""By the event's name in our JSON log."""


def done(deeds: Iterable[Deed]) -> Facts:
    """What people did.  Who leaves takes the tracks along, without a deed of its own."""
    facts: Facts = Counter()
    tracks: dict[str, set[str]] = {}
    for deed in deeds:
        if deed.deed == "published":
            tracks.setdefault(deed.sid, set()).add(deed.data["track"])
        elif deed.deed == "unpublished":
            tracks[deed.sid].discard(deed.data["track"])
        elif deed.deed == "left":
            facts.update(("unpublished", deed.room, track) for track in tracks.pop(deed.sid, ()))
        if deed.deed in _DEEDS:
            facts[deed.deed, deed.room, *_DEEDS[deed.deed](deed)] += 1
    return facts


def recorded(records: Iterable[Mapping[str, Any]]) -> Facts:
    """The facts that a worker recorded."""
    facts: Facts = Counter()
    for one in records:
        if one["event"] in _RECORDS:
            name, rest = _RECORDS[one["event"]]
            facts[name, one["room"], *rest(one)] += 1
    return facts


@frozen
class Verdict:
    """The number of facts, and those that were not recorded, or not so often."""

    happened: int
    missing: Facts
    surplus: Facts

    @classmethod
    def of(cls, happened: Facts, observed: Facts) -> Verdict:
        return cls(happened.total(), happened - observed, observed - happened)

    def kinds(self, facts: Facts) -> dict[str, int]:
        """The number of each kind."""
        kinds: Counter[str] = Counter()
        for fact, times in facts.items():
            kinds[fact[0]] += times
        return dict(kinds)
