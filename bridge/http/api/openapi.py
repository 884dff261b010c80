"""`/openapi.json`: exactly what the API answers.  A test asks for everything that it says.

Objects are generated from the classes that the API encodes (`actors.session.view_types`,
`bridge.http.api.answer_types`): a class's docstring and the sentence below a field become their
descriptions.  Parameters are those that `bridge.http.api.query` reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

from actors.journal import attendance
from actors.journal.session_filters import CURSOR, FILTERS, ROOM, Parameter
from actors.session import entry_types, view_types
from bridge.http.api import answer_types
from bridge.http.api.answer_types import (
    ActorTree,
    AddressView,
    AlertList,
    Alive,
    AnnouncementOrder,
    AnnouncementView,
    ApiIndex,
    AttendanceList,
    DayList,
    OutboxAnswer,
    PersonAnswer,
    Problem,
    Ready,
    RoomList,
    SessionAnswer,
    SessionList,
    WorkerList,
)
from bridge.http.api.field_sentences import field_sentences
from bridge.http.api.query import (
    ALERT_PARAMETERS,
    ATTENDANCE_PARAMETERS,
    DAY_PARAMETERS,
    EVENTS_CURSOR,
    EVENTS_LIMIT,
    FORMAT,
    LIMIT,
    VISIT_PARAMETERS,
)
from bridge.http.server.problem import PROBLEM_JSON
from bridge.output.text import did_you_mean

Schema: TypeAlias = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}

ANSWERS: Final = (
    ActorTree, AlertList, Alive, AnnouncementOrder, AnnouncementView, ApiIndex, AttendanceList,
    DayList, OutboxAnswer, PersonAnswer, Problem, Ready, RoomList, SessionAnswer, SessionList,
    WorkerList,
)  # fmt: skip
"""The classes of whole answers; those of their parts come with them."""


def _ref(answer: type) -> Schema:
    return {"$ref": f"#/components/schemas/{answer.__name__}"}


@cache
def schemas() -> Mapping[str, Schema]:
    """Every class of an answer as JSON Schema, by its name."""
    _, schemas = msgspec.json.schema_components(ANSWERS, ref_template="#/components/schemas/{name}")
    sentences = field_sentences(entry_types, view_types, attendance, answer_types)
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(schema["description"])
        for key, sentence in sentences[name].items():
            # OpenAPI 3.1 allows a description beside a reference.
            schema["properties"][key] = {**schema["properties"][key], "description": sentence}
    return schemas


def _content(kind: str, schema: Schema) -> Schema:
    return {kind: {"schema": schema}}


def _answer(about: str, content: Schema, headers: Schema | None = None) -> Schema:
    return {"description": about, "content": content, **({"headers": headers} if headers else {})}


def _problem(about: str) -> Schema:
    return _answer(about, _content(PROBLEM_JSON, _ref(Problem)))


_JSON: Final = "application/json"
_CSV: Final = _content("text/csv", TEXT)
_LINK: Final = {"Link": {"description": 'The page after this, as rel="next".', "schema": TEXT}}
_ETAG: Final = {"ETag": {"description": "Of a session that has ended.", "schema": TEXT}}

_UNREADABLE: Final = {"503": _problem("The store cannot be read now")}
_ELSEWHERE: Final = {"421": _problem("`Host` is neither this machine nor a name of `--http-host`")}
_BAD: Final = {
    "400": _problem("The query is wrong, or the request has a body"),
    "414": _problem("The query is too long"),
    **_ELSEWHERE,
}
_NO_TOKEN: Final = {
    "403": _problem("The worker has no token, or a page of another site asks"),
}
_NOBODY: Final = {
    "401": _problem("The token or the cookie of a sign-in is missing or wrong"),
    "429": _problem("Too many wrong tokens came from this address"),
}


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": dict(parameter.schema),
    }


def _header(name: str, about: str, schema: Schema = TEXT) -> Schema:
    return {"name": name, "in": "header", "description": about, "schema": schema}


def _get(
    about: str,
    good: Mapping[str, Schema],
    parameters: Sequence[Schema] = (),
    *,
    bad: Mapping[str, Schema] | None = None,
) -> Schema:
    return {
        "get": {
            "summary": about,
            "parameters": list(parameters),
            "responses": {**good, **_BAD, **(bad or {})},
        }
    }


def _post(
    about: str,
    good: Mapping[str, Schema],
    parameters: Sequence[Schema],
    *,
    bad: Mapping[str, Schema],
    body: Schema | None = None,
) -> Schema:
    described = {} if body is None else {"requestBody": {"required": True, "content": body}}
    return {
        "post": {
            "summary": about,
            "parameters": list(parameters),
            **described,
            "responses": {**good, **_ELSEWHERE, **_NO_TOKEN, **bad},
        }
    }


def _ok(answer: type, **more: Any) -> dict[str, Schema]:
    return {
        "200": _answer("The answer", _content(_JSON, _ref(answer)) | more.pop("or_", {}), **more)
    }


_ID: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A session's id, or a room's name for its newest session.",
    "schema": {"type": "string", "minLength": 1},
}
_IDENTITY: Final[Schema] = {
    "name": "identity",
    "in": "path",
    "required": True,
    "description": "An identity, or a person key.",
    "schema": {"type": "string", "minLength": 1},
}
_FORMAT: Final = _parameter(FORMAT)
_ANNOUNCEMENT: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "An announcement's id.",
    "schema": {"type": "string", "minLength": 1},
}
SOUND_TYPES: Final = ("audio/wav", "audio/ogg", "audio/mpeg", "audio/flac")
"""Types of bodies that are sound files.  The content itself says what it is."""

PATHS: Final[Mapping[str, Schema]] = {
    "/api/v1": _get("The addresses of the API", _ok(ApiIndex)),
    "/api/v1/rooms": _get(
        "Every live session, the newest first",
        _ok(RoomList, or_=_CSV),
        tuple(map(_parameter, (*FILTERS, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions": _get(
        "Sessions that are kept, the newest first; as CSV all of them, unless `limit` or `cursor` "
        "is given",
        _ok(SessionList, or_=_CSV, headers=_LINK),
        tuple(map(_parameter, (*FILTERS, LIMIT, CURSOR, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions/{id}": _get(
        "One session whole; as CSV its people",
        {
            **_ok(SessionAnswer, or_=_CSV, headers=_ETAG | _LINK),
            "304": {
                "description": "Not changed since the answer with that `ETag`",
                "headers": _ETAG,
            },
        },
        (
            _ID,
            *map(_parameter, (EVENTS_LIMIT, EVENTS_CURSOR)),
            _FORMAT,
            _header("If-None-Match", "The `ETag` of an earlier answer."),
        ),
        bad={
            **_UNREADABLE,
            "404": _problem("No such session is kept"),
            "500": _problem("What is kept of it is damaged"),
        },
    ),
    "/api/v1/alerts": _get(
        "Alerts of rules: what is pending or fires, and what fired, the newest first",
        _ok(AlertList, headers=_LINK),
        tuple(map(_parameter, ALERT_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/attendance": _get(
        "Who was in which session, the newest session first; as CSV all of it, unless `limit` or "
        "`cursor` is given",
        _ok(AttendanceList, or_=_CSV, headers=_LINK),
        tuple(map(_parameter, ATTENDANCE_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/people/{identity}": _get(
        "One person over all sessions: visits, totals, days; as CSV the visits",
        _ok(PersonAnswer, or_=_CSV, headers=_LINK),
        (_IDENTITY, *map(_parameter, VISIT_PARAMETERS)),
        bad={**_UNREADABLE, "404": _problem("Nobody of this name is in the store")},
    ),
    "/api/v1/days": _get(
        "Sessions and minutes of people by the day on which the session began; the last 30 days "
        "unless `since` is given",
        _ok(DayList, or_=_CSV),
        tuple(map(_parameter, DAY_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/rooms/{room}/announcements": _post(
        "Say a text or play a sound file in a room; needs a token. Announcements of one room are "
        "played one after another",
        {"202": _answer("The order was taken", _content(_JSON, _ref(AnnouncementView)))},
        (
            {
                "name": "room",
                "in": "path",
                "required": True,
                "description": "A watched room's name, or a pattern of names as `team-*`.",
                "schema": {"type": "string", "minLength": 1},
            },
        ),
        body=_content(_JSON, _ref(AnnouncementOrder))
        | {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SOUND_TYPES},
        bad={
            "400": _problem("The order is wrong"),
            "404": _problem("No such room is watched now"),
            "408": _problem("The body did not come in time"),
            "409": _problem("It cannot be heard there: the room is encrypted end to end"),
            "413": _problem("The body is too long"),
            "415": _problem("The body has another type"),
            "429": _problem("Too many announcements wait, or the worker stops"),
        },
    ),
    "/api/v1/announcements/{id}": _get(
        "What became of an announcement; the newest are remembered",
        _ok(AnnouncementView),
        (_ANNOUNCEMENT,),
        bad={"404": _problem("No such announcement is remembered")},
    ),
    "/api/v1/announcements/{id}/stop": _post(
        "Stop an announcement that waits or is played; needs a token",
        _ok(AnnouncementView),
        (_ANNOUNCEMENT,),
        bad={
            "400": _problem("The query is wrong"),
            "404": _problem("No such announcement is remembered"),
        },
    ),
    "/api/v1/workers": _get("The worker that answers", _ok(WorkerList)),
    "/api/v1/outbox": _get(
        "Outgoing webhooks: the endpoints, and what waits or was given up",
        _ok(OutboxAnswer),
        bad=_UNREADABLE,
    ),
    "/api/v1/actors": _get(
        "The tree of actors, with the state and counters of each", _ok(ActorTree)
    ),
    "/api/v1/events": _get(
        "The events of all sessions as they happen, as server-sent events",
        {
            "200": _answer(
                "A stream without an end; either side may close it",
                _content("text/event-stream", TEXT),
            )
        },
        (
            _parameter(ROOM),
            _header(
                "Last-Event-ID",
                "The id of the last event seen: those after it come first.",
                {"type": "string", "pattern": "^([0-9]{1,18}-[0-9]{1,9})?$"},
            ),
        ),
        bad={**_UNREADABLE},
    ),
    "/metrics": _get(
        "Metrics for Prometheus; OpenMetrics where `Accept` names it",
        {
            "200": _answer(
                "All metrics",
                _content("text/plain", TEXT) | _content("application/openmetrics-text", TEXT),
            )
        },
    ),
    "/openapi.json": _get(
        "This document", {"200": _answer("OpenAPI 3.1", _content(_JSON, {"type": "object"}))}
    ),
}


def api_index(version: str) -> ApiIndex:
    """The addresses, with the names of their parameters."""
    return ApiIndex(
        version=version,
        addresses=tuple(
            AddressView(
                path=path,
                method="POST" if method == "post" else "GET",
                about=operation["summary"],
                parameters=tuple(
                    one["name"] for one in operation["parameters"] if one["in"] == "query"
                ),
            )
            for path, item in PATHS.items()
            for method, operation in item.items()
        ),
    )


def near_address(path: str) -> str:
    """For a client that asked for a path that does not exist: what there is.

    Nothing of `path` is repeated.
    """
    known = [one for one in PATHS if one.startswith("/api/") and "{" not in one]
    close = did_you_mean(path.rstrip("/"), known)
    return f"no such address{close or '; see /api/v1 for all'}"


HEALTH: Final[Mapping[str, Schema]] = {
    path: {"get": {"summary": about, "security": [], "responses": responses | _ELSEWHERE}}
    for path, about, responses in (
        ("/healthz", "200 while the process answers", _ok(Alive)),
        (
            "/readyz",
            "200 while registered at LiveKit, able to enter rooms, and writing to the store",
            {
                **_ok(Ready),
                "503": _answer("Not ready; the answer says why", _content(_JSON, _ref(Ready))),
            },
        ),
    )
}


def openapi(version: str, cookie: str | None, root: str = "") -> Schema:
    """The document.  `cookie` is the name of a sign-in's where a token is wanted, else None;
    `root` is the path under which a proxy shows us."""
    paths = {
        path: {method: dict(about) for method, about in item.items()}
        for path, item in PATHS.items()
    }
    security: Schema = {}
    schemes: Schema = {}
    if cookie is not None:
        schemes = {
            "token": {"type": "http", "scheme": "bearer"},
            "cookie": {
                "type": "apiKey",
                "in": "cookie",
                "name": cookie,
                "description": "What the form at `/signin` gives for the token.",
            },
        }
        security = {"security": [{name: []} for name in schemes]}
        for item in paths.values():
            for about in item.values():
                about["responses"] = {**_NOBODY, **about["responses"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "room-actors", "version": version},
        "servers": [{"url": root or "/"}],
        **security,
        "paths": {**paths, **HEALTH},
        "components": {"schemas": dict(schemas()), "securitySchemes": schemes},
    }
