"""The acts `say` and `play` of rules: rows for `actors.acting.act_requests.ACT_KINDS`.

They order an announcement in the room of the session and wait until it is over.  They are not
repeated where the worker ended meanwhile: nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from actors.acting.act_requests import ActKind, ActRequest
from actors.publishing.announcements import AnnouncementRefused, Announcements
from actors.publishing.publishing_port import SoundContent, SoundFile, Speech
from actors.rooms.room_control import ControlNotFound, ControlRefused, ControlUnavailable
from actors.rules.acts import PlayFile, SayText

DEADLINE: Final = 600.0
"""Seconds from the order to the end, with what waits before it."""

GetAnnouncements: TypeAlias = Callable[[], Awaitable[Announcements]]


def announcing_kinds(announcements: GetAnnouncements) -> Mapping[str, ActKind]:
    """The rows of both acts."""
    kind = ActKind(
        partial(_announce, announcements), repeatable=False, deadline=DEADLINE, takes_long=True
    )
    return {"say": kind, "play": kind}


async def _announce(announcements: GetAnnouncements, request: ActRequest) -> str:
    content: SoundContent
    match request.act:
        case SayText(text=text, voice=voice):
            content, verb = Speech(text, voice), "said"
        case PlayFile(file=file):
            content, verb = SoundFile(file), "played"
        case _:
            return ""
    desk, room = await announcements(), request.room
    try:
        record = desk.announce(room, content, f"rule {request.open_act.rule}")
    except AnnouncementRefused as refused:
        kinds = {"not_found": ControlNotFound, "busy": ControlUnavailable}
        raise kinds.get(refused.why, ControlRefused)(str(refused)) from None
    try:
        await record.over.wait()
    finally:
        desk.stop(record.id)  # Nothing, where it is over.
    if record.error:
        raise ControlRefused(record.error)
    return f"{verb}, {record.seconds or 0.0:.1f} s"
