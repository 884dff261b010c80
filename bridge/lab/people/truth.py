"""The people's own account of what they did: the true side of every comparison.

A deed is recorded when the person's own SDK confirms it, with that person's own SIDs, and never
by the account of another participant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

DEED_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    # deed         keys of `data`
    "joined": ("joined_at", "name", "metadata", "attributes", "kind", "hidden"),
    "left": ("reason",),
    "published": ("track", "source"),
    "unpublished": ("track",),
    "muted": ("track",),
    "unmuted": ("track",),
    "spoke": ("seconds",),
    "sent": ("topic", "size", "format", "reliable", "stream", "to"),
    "sent_file": ("topic", "size"),
    "name": ("name",),
    "metadata": ("metadata",),
    "attributes": ("changed",),
    "scenario": ("scenario",),
    "reconnected": (),
}
"""Every deed and the keys it always carries.

``left``: the reason as the person's own SDK gave it (``client_initiated``,
``participant_removed``, ``room_deleted``, ``duplicate_identity``), or
``connection_timeout`` for a person whose connection broke: the server's word for it
about 20 s later.  ``sent``: ``size`` in bytes, ``to`` the identities it was for, empty
for everybody; ``format`` is ``json`` (an object or list), ``text`` or ``binary``.
``attributes``: only those that changed, an empty value deletes one.
"""


@frozen
class Deed:
    """One thing that one person did, or that was done to that person."""

    at: float
    """Unix seconds, the people's process' clock (the same machine)."""
    deed: str
    """A key of `DEED_KEYS`."""
    room: str
    room_sid: str
    identity: str
    sid: str
    data: Mapping[str, Any] = field(factory=dict[str, Any])


@frozen
class RoomTruth:
    """Everything that people did in one room instance, in the order it was confirmed."""

    room: str
    room_sid: str
    deeds: tuple[Deed, ...]


def by_room(deeds: Iterable[Deed]) -> tuple[RoomTruth, ...]:
    """One truth for each room instance, in the order of the first deed in it."""
    rooms: dict[str, list[Deed]] = {}
    for deed in deeds:
        rooms.setdefault(deed.room_sid, []).append(deed)
    return tuple(RoomTruth(room[0].room, sid, tuple(room)) for sid, room in rooms.items())
