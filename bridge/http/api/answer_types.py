"""The classes of the API's answers, beside those of a session (`actors.session.view_types`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from actors.journal.attendance import AttendanceRow, PersonDay, PersonTotals
from actors.pictures.pattern_names import Pattern
from actors.publishing.announcement_bounds import LONGEST_PICTURE, TEXT_LENGTH
from actors.session import SessionRow, SessionView
from actors.session.entry_types import Time
from actors.session.view_base import Count, Seconds, View


class RoomList(View, frozen=True, kw_only=True):
    """The live sessions."""

    rooms: tuple[SessionRow, ...]
    """One for each live room, the newest first."""


class SessionList(View, frozen=True, kw_only=True):
    """A page of the sessions that are kept."""

    sessions: tuple[SessionRow, ...]
    """The newest first."""
    next: str | None
    """The `cursor` of the next page; null where this is the last."""


class SessionAnswer(SessionView, frozen=True, kw_only=True):
    """One session whole, with a page of its timeline."""

    next: str | None
    """The `cursor` of the next part of `timeline`; null where this is the last."""


class AlertView(View, frozen=True, kw_only=True):
    """One alert: a rule, in a room or on a person, from its begin to its end."""

    rule: str
    """Name of the rule."""
    room: str
    """Name of the room."""
    session: str
    """Id of the session."""
    on: str | None
    """Identity of the person whom it is on; null for the room."""
    state: Literal["pending", "firing", "resolved"]
    """Pending: the rule holds and has not lasted long enough."""
    no_data: bool
    """Nobody watches the room, so the alert stays as it was."""
    text: str | None
    """Its text; null where the rule has none."""
    since: Time | None
    """When it began to fire, or to be pending."""
    until: Time | None
    """When it was resolved; null before."""
    seconds: Seconds | None
    """How long it fired; null before its end."""


class AlertList(View, frozen=True, kw_only=True):
    """A page of the alerts."""

    alerts: tuple[AlertView, ...]
    """Those that are pending, then those that fire or fired, the newest first."""
    next: str | None
    """The `cursor` of the next page; null where this is the last."""


class AttendanceList(View, frozen=True, kw_only=True):
    """The people of some sessions."""

    attendance: tuple[AttendanceRow, ...]
    """One row for each person in each session, the newest session first."""
    next: str | None
    """The `cursor` of the sessions after these; null where there are no more."""


class PersonAnswer(View, frozen=True, kw_only=True):
    """One person over many sessions."""

    person: str
    """The identity or person key that was asked for."""
    totals: PersonTotals
    """The visits below, added up."""
    days: tuple[PersonDay, ...]
    """The visits below by day (UTC), the newest day first."""
    visits: tuple[AttendanceRow, ...]
    """One row for each identity in each session, the newest session first."""
    next: str | None
    """The `cursor` of the sessions after these; null where these are all."""


class DayView(View, frozen=True, kw_only=True):
    """The sessions that began on one day."""

    date: str
    """The day, in UTC."""
    sessions: Count
    """Sessions that began then."""
    people_minutes: Seconds
    """Minutes in which people were present, people added up."""
    peak: Count
    """The most people in one room at the same time."""


class DayList(View, frozen=True, kw_only=True):
    """Totals by day."""

    room: str | None
    """The pattern of the rooms that are counted; null for all rooms."""
    days: tuple[DayView, ...]
    """The oldest first, also days without a session."""


class AddressView(View, frozen=True, kw_only=True):
    """One address of the API."""

    path: str
    """The path; a part in braces is chosen by the client."""
    method: Literal["GET", "POST"]
    """The method of HTTP."""
    about: str
    """What it answers."""
    parameters: tuple[str, ...]
    """Names that may be in the query."""


class ApiIndex(View, frozen=True, kw_only=True):
    """The addresses of the API."""

    version: str
    """Version of this program."""
    addresses: tuple[AddressView, ...]
    """All that can be asked for; `/openapi.json` describes each answer."""


BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class AnnouncementOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order to say a text in a room, or to show something: one of `text`, `card`, `image` and
    `pattern`."""

    text: Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH)] | None = None
    """What is spoken.  It needs a letter or a digit."""
    card: Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH)] | None = None
    """A text that is shown."""
    image: Annotated[str, Meta(pattern=BASE64)] | None = None
    """A PNG or a lossy WebP that is shown, in base64."""
    pattern: Pattern | None = None
    """A moving pattern that is shown."""
    seconds: Annotated[float, Meta(gt=0, le=LONGEST_PICTURE)] = 10.0
    """For how long it is shown."""
    voice: Annotated[str, Meta(pattern="^[A-Za-z0-9+_-]{0,40}$")] = ""
    """The engine's voice or language, as `en-us`; empty for the configured one."""


class AnnouncementPart(View, frozen=True, kw_only=True):
    """An announcement in one room."""

    room: str
    """Name of the room."""
    state: Literal["waiting", "preparing", "playing", "played", "failed"]
    """What it does now, or what became of it."""
    first_sound: Seconds | None
    """From the order to the first sound; null before."""
    error: str | None
    """Why it failed; null where it did not."""


class AnnouncementView(View, frozen=True, kw_only=True):
    """An announcement: something that is said or played in rooms."""

    id: str
    """Its id."""
    does: Literal["say", "play", "show"]
    """What it does."""
    by: str
    """Who ordered it: `api`, or `rule` and the rule's name."""
    ordered_at: Time | None
    """When it was ordered."""
    seconds: Seconds | None
    """Length of its sound; null before that is made."""
    over: bool
    """Whether it is over in all of its rooms."""
    rooms: tuple[AnnouncementPart, ...]
    """Its rooms: one, or those that the pattern of the order matched."""


class ActorView(View, frozen=True, kw_only=True):
    """One actor or supervisor, with those under it."""

    path: str
    """Where it is in the tree."""
    kind: Literal["actor", "supervisor"]
    """What it is."""
    state: str
    """Its state now."""
    generation: Count
    """How many times it was started, from 0."""
    restarts: Count
    """How many times it was restarted after a failure."""
    queued: Count
    """Messages in its mailbox."""
    counters: Mapping[str, Count] | None
    """Messages by what became of them; null for a supervisor."""
    last: tuple[str, ...]
    """Names of the last messages that it handled."""
    awaiting: str
    """What it waits for."""
    children: tuple[ActorView, ...]
    """The actors under it."""


class DeadLetterView(View, frozen=True, kw_only=True):
    """A message that no actor read."""

    actor: str
    """Path of the actor to which it was sent."""
    what: str
    """What it was."""


class ActorTree(View, frozen=True, kw_only=True):
    """All actors."""

    tree: ActorView
    """The root."""
    dead_letters: Count
    """Messages that no actor read."""
    recent_dead_letters: tuple[DeadLetterView, ...]
    """The newest of them."""


class Alive(View, frozen=True, kw_only=True):
    """The process answers."""

    alive: bool
    """Always true."""


class Ready(View, frozen=True, kw_only=True):
    """The worker's readiness."""

    ready: bool
    """Whether all checks hold."""
    worker: str
    """Id of the worker."""
    checks: Mapping[str, str | None]
    """Of each check why it does not hold; null where it holds."""


class Problem(Struct, frozen=True, kw_only=True):
    """An error, as RFC 9457 has it."""

    type: str
    """Always `about:blank`."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str | UnsetType = UNSET
    """What was wrong, and what to do."""
