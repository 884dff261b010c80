"""One act as requests to the port of acting, and what each of the port's errors means for it.

`ACT_KINDS` has a row for each word of `then` that needs a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from attrs import frozen

from actors.acting.room_texts import RoomTexts
from actors.rooms.room_control import (
    ControlNotFound,
    ControlTimedOut,
    RoomControl,
    RoomControlError,
)
from actors.rules.acts import (
    Act,
    BanPerson,
    EndRoom,
    HoldPerson,
    MuteTracks,
    RemovePerson,
    SendText,
    SetMetadata,
)
from actors.rules.limits import Limit
from actors.session import Permissions, SessionState
from actors.session.rule_state import BAN, HOLD, RELEASE, OpenAct

CHAT_TOPIC: Final = "lk.chat"
"""The topic of the chat of LiveKit's components, which reads text streams."""
DEADLINE: Final = 10.0
"""Seconds for one try of an act."""


@frozen
class ActRequest:
    """One act that is to be carried out now."""

    control: RoomControl
    open_act: OpenAct
    act: Act | Limit | None
    """As it is configured; None for what no rule has in its `then`: a release, a removal of
    somebody who is banned."""
    state: SessionState
    """Of its session, the newest."""
    texts: RoomTexts

    @property
    def room(self) -> str:
        return self.state.room

    @property
    def on(self) -> str:
        return self.open_act.on


RequestAct: TypeAlias = Callable[[ActRequest], Awaitable[str]]
"""Asks the server, and gives the result for the timeline.  Raises `RoomControlError`."""


@frozen
class ActKind:
    """The properties of one kind of act."""

    request: RequestAct
    on_person: bool = False
    """It is on one join, and is fulfilled when that join is over."""
    repeatable: bool = True
    """Two requests have the effect of one, so it is tried again where the answer is not known."""
    not_found: str | None = None
    """The result if the server does not find its object: the wish is fulfilled.  None: it
    failed."""
    deadline: float = DEADLINE
    takes_long: bool = False
    """It may take a minute, and is none of the requests of which few are under way."""


async def _send(request: ActRequest) -> str:
    match request.act:
        case SendText(text=text, topic=topic, to_person=to_person, as_packet=as_packet):
            to = (request.on,) if to_person else ()
        case EndRoom(warn=warn, text=text):
            text, topic, to = text or f"This room closes in {warn:g} s.", CHAT_TOPIC, ()
            as_packet = False
        case _:
            return ""
    return await send_text(request, text, topic=topic, identities=to, as_packet=as_packet)


async def send_text(
    request: ActRequest,
    text: str,
    *,
    topic: str = CHAT_TOPIC,
    identities: tuple[str, ...] = (),
    as_packet: bool = False,
) -> str:
    """Send a text stream, or a data packet where that is wanted or no stream can be sent.  The
    result says to whom, and if it was a packet."""
    to = f"to {', '.join(identities) or 'everybody'}"
    if not as_packet:
        texts, sid = request.texts, request.state.room_sid
        outcome = await texts.send(sid, text, topic=topic, identities=identities)
        if outcome == "unknown":
            raise ControlTimedOut("the text stream was not confirmed")
        if outcome == "sent":
            return to
    await request.control.send(request.room, text.encode(), topic=topic, identities=identities)
    return f"{to}, as a data packet"


async def tell_person(request: ActRequest, text: str) -> None:
    """Send a person why, before the act.  The act itself does not depend on it."""
    if text:
        with suppress(RoomControlError):
            await send_text(request, text, identities=(request.on,))


async def _mute(request: ActRequest) -> str:
    sources = request.act.sources if isinstance(request.act, MuteTracks) else ()
    muted = 0
    for track in request.state.tracks.values():
        if track.identity == request.on and (not sources or track.source in sources):
            try:
                await request.control.mute(request.room, request.on, track.sid)
            except ControlNotFound:
                continue  # It ended meanwhile.
            muted += 1
    return f"tracks: {muted}"


async def _remove(request: ActRequest) -> str:
    if isinstance(request.act, RemovePerson | BanPerson):
        await tell_person(request, request.act.text)
    await request.control.remove(request.room, request.on)
    return "removed"


async def _hold(request: ActRequest) -> str:
    if isinstance(request.act, HoldPerson):
        await tell_person(request, request.act.text)
    await request.control.set_permissions(
        request.room, request.on, Permissions(can_publish=False, can_publish_data=False)
    )
    return "permissions taken"


async def _release(request: ActRequest) -> str:
    before = request.open_act.plan.permissions or Permissions()
    await request.control.set_permissions(request.room, request.on, before)
    return "permissions given back"


async def _set_metadata(request: ActRequest) -> str:
    text = request.act.text if isinstance(request.act, SetMetadata) else ""
    await request.control.set_metadata(request.room, text)
    return "set"


async def _end_room(request: ActRequest) -> str:
    await request.control.end(request.room, request.state.room_sid)
    return "ended"


LEFT: Final = "left"
ROOM_OVER: Final = "the room is over"

ACT_KINDS: Final[Mapping[str, ActKind]] = {
    "send": ActKind(_send, repeatable=False),
    "mute": ActKind(_mute, on_person=True, not_found=LEFT),
    "remove": ActKind(_remove, on_person=True, not_found=LEFT),
    HOLD: ActKind(_hold, on_person=True, not_found=LEFT),
    RELEASE: ActKind(_release, on_person=True, not_found=LEFT),
    BAN: ActKind(_remove, on_person=True, not_found=LEFT),
    "metadata": ActKind(_set_metadata),
    "end_room": ActKind(_end_room, not_found=ROOM_OVER),
}
"""By the word of the act."""
