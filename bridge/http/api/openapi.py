"""`/openapi.json`: what the API answers, exactly.  A test asks everything it says.

Parameters are those that `api_query` reads; an object has all of its keys, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, get_args

from actors.journal.session_filters import CURSOR, FILTERS, ROOM, Parameter
from actors.session import QUALITIES
from actors.session.events import GapReason, ParticipantKind, TrackKind, TrackSource
from actors.session.state import OTHER
from actors.session.view import MOST_LISTED
from bridge.http.api.query import EVENTS_CURSOR, EVENTS_LIMIT, FORMAT, LIMIT
from bridge.http.server.problem import PROBLEM_JSON

Schema: TypeAlias = dict[str, Any]


def _object(properties: Mapping[str, Schema], *, more: bool | Schema = False) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": more,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Final[Schema] = {"type": "string"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
YES: Final[Schema] = {"type": "boolean"}

_QUALITY: Final = _object({level: _maybe(SECONDS) for level in QUALITIES})

_LARGEST: Final = {
    "description": f"In lists the {MOST_LISTED} largest, and the sum of the others as `{OTHER}`."
}
_ROW: Final[Mapping[str, Schema]] = {
    "id": TEXT,
    "room": TEXT,
    "room_sid": TEXT,
    "job_ids": _list(TEXT),
    "worker": TEXT,
    "agent_name": TEXT,
    "status": {"type": "string", "enum": ["active", "ended"]},
    "end_reason": _maybe(TEXT),
    "started_at": TIME,
    "ended_at": _maybe(TIME),
    "duration": SECONDS,
    "entered_after": _maybe(SECONDS),
    "coverage": SHARE,
    "encrypted": _maybe(YES),
    "gaps": _list(
        _object(
            {
                "from": TIME,
                "to": _maybe(TIME),
                "reason": {"type": "string", "enum": list(get_args(GapReason))},
            }
        )
    ),
    "clock_offset": {"type": ["number", "null"]},
    "metadata": _maybe(TEXT),
    "people": _object(
        dict.fromkeys(("current", "peak", "unique", "joins", "aborted"), _maybe(COUNT))
    ),
    "people_seconds": _maybe(SECONDS),
    "track_counts": _object(
        {"current": _maybe(COUNT), "total": _maybe(COUNT), "by_source": _map(COUNT)}
    ),
    "data_messages": _maybe(
        _object(
            {
                "total": _maybe(COUNT),
                "bytes": _maybe(COUNT),
                "by_topic": _map(COUNT) | _LARGEST,
                "attachments": _maybe(COUNT),
                "lower_bound": _maybe(YES),
            }
        )
    ),
    "truncated": {
        **COUNT,
        "description": "Messages and changes that are only counted: they came too fast, or were "
        "more than a session may write in a minute.",
    },
    "quality": _QUALITY,
    "talk": _object({"seconds": _maybe(SECONDS), "by_identity": _map(SECONDS) | _LARGEST}),
    "recordings": _maybe(
        _list(
            _object(
                {
                    "id": _maybe(TEXT),
                    "kind": _maybe(TEXT),
                    "started_at": _maybe(TIME),
                    "ended_at": _maybe(TIME),
                    "status": _maybe(TEXT),
                    "error": _maybe(TEXT),
                    "file": _maybe(TEXT),
                }
            )
        )
    ),
}
_KIND: Final = {"type": "string", "enum": list(get_args(ParticipantKind))}
_JOIN: Final = _object(
    {
        "sid": TEXT,
        "kind": _KIND,
        "joined_at": TIME,
        "left_at": _maybe(TIME),
        "left_within": _maybe(SECONDS),
        "leave_reason": _maybe(TEXT),
        "active": YES,
    }
)
_CALL: Final = _object(
    {
        "call_id": _maybe(TEXT),
        "status": _maybe(TEXT),
        "from": _maybe(TEXT),
        "to": _maybe(TEXT),
        "trunk": _maybe(TEXT),
        "answered_at": _maybe(TIME),
        "ringing_seconds": _maybe(SECONDS),
        "hangup_cause": _maybe(TEXT),
    }
)
_PERSON: Final = _object(
    {
        "identity": TEXT,
        "person": TEXT | {"description": "Whom the identity counts as (--person-key)."},
        "name": TEXT,
        "kind": _KIND,
        "sids": _list(TEXT),
        "joins": _list(_JOIN),
        "seconds": SECONDS,
        "metadata": _maybe(TEXT),
        "attributes": _maybe(_map(TEXT)),
        "quality": _QUALITY,
        "talk_seconds": _maybe(SECONDS),
        "data_messages": _maybe(COUNT),
        "sip": _maybe(_CALL),
    }
)
_TRACK: Final = _object(
    {
        "sid": TEXT,
        "identity": TEXT,
        "kind": {"type": "string", "enum": list(get_args(TrackKind))},
        "source": {"type": "string", "enum": list(get_args(TrackSource))},
        "published_at": _maybe(TIME),
        "published_within": _maybe(SECONDS),
        "unpublished_at": _maybe(TIME),
        "muted_seconds": SECONDS,
        "encrypted": YES,
        "stats": {"type": "null"},
    }
)
_ENTRY: Final = {
    **_object({"at": TIME, "event": TEXT}, more=True),
    "description": "Texts of participants are cut: names and topics to 256 characters, metadata "
    "and attributes to 4 KB here and to 64 KB in `people`.  A text that was cut ends in its "
    "true length, as in `…[61440 characters]` or `…[65000 bytes]`.",
}
_WORKER: Final = _object(
    {
        "id": TEXT,
        "livekit_id": _maybe(TEXT),
        "agent_name": TEXT,
        "version": TEXT,
        "registered": YES,
        "draining": YES,
        "rooms": COUNT,
        "max_rooms": COUNT,
        "load": SHARE,
        "waiting": _object({"rooms": COUNT, "names": _list(TEXT)})
        | {
            "description": "Rooms that are known and not watched, because there is no place: how "
            "many, and the names of the first 100."
        },
        "store": _object(
            {
                "trouble": _maybe(TEXT),
                "written_at": _maybe(TIME),
                "lines_waiting": COUNT,
                "lines_written": COUNT,
                "lines_lost": COUNT,
            }
        ),
    }
)
_ACTOR: Final = _object(
    {
        "path": TEXT,
        "kind": {"type": "string", "enum": ["actor", "supervisor"]},
        "state": TEXT,
        "generation": COUNT,
        "restarts": COUNT,
        "queued": COUNT,
        "counters": _maybe(_map(COUNT)),
        "last": _list(TEXT),
        "awaiting": TEXT,
        "children": _list(_ref("Actor")),
    }
)
SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": _object(
        {"type": TEXT, "title": TEXT, "status": {"type": "integer"}}, more={"type": "string"}
    ),
    "SessionRow": _object(_ROW),
    "Session": _object(
        {
            **_ROW,
            "participants": _list(_PERSON),
            "tracks": _list(_TRACK),
            "timeline": {
                "type": ["array", "null"],
                "items": _ENTRY,
                "description": "What happened, the oldest first, page by page.",
            },
            "next": {
                **_maybe(TEXT),
                "description": "The `cursor` of the next part of `timeline`; null where this is "
                "the last.",
            },
        }
    ),
    "Rooms": _object({"rooms": _list(_ref("SessionRow"))}),
    "Sessions": _object({"sessions": _list(_ref("SessionRow")), "next": _maybe(TEXT)}),
    "Workers": _object({"workers": _list(_WORKER)}),
    "Actor": _ACTOR,
    "Actors": _object(
        {
            "tree": _ref("Actor"),
            "dead_letters": COUNT,
            "recent_dead_letters": _list(_object({"actor": TEXT, "what": TEXT})),
        }
    ),
    "Alive": _object({"alive": YES}),
    "Ready": _object({"ready": YES, "worker": TEXT, "checks": _map({"type": ["string", "null"]})}),
}


def _content(kind: str, schema: Schema) -> Schema:
    return {kind: {"schema": schema}}


def _answer(about: str, content: Schema, headers: Schema | None = None) -> Schema:
    return {"description": about, "content": content, **({"headers": headers} if headers else {})}


def _problem(about: str) -> Schema:
    return _answer(about, _content(PROBLEM_JSON, _ref("Problem")))


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


def _ok(name: str, **more: Any) -> dict[str, Schema]:
    return {"200": _answer("The answer", _content(_JSON, _ref(name)) | more.pop("or_", {}), **more)}


_ID: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A session's id, or a room's name for its newest session.",
    "schema": {"type": "string", "minLength": 1},
}
_FORMAT: Final = _parameter(FORMAT)

PATHS: Final[Mapping[str, Schema]] = {
    "/api/v1/rooms": _get(
        "Every live session, the newest first",
        _ok("Rooms", or_=_CSV),
        tuple(map(_parameter, (*FILTERS, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions": _get(
        "Sessions that are kept, the newest first; as CSV all of them, unless `limit` or `cursor` "
        "is given",
        _ok("Sessions", or_=_CSV, headers=_LINK),
        tuple(map(_parameter, (*FILTERS, LIMIT, CURSOR, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions/{id}": _get(
        "One session whole; as CSV its people",
        {
            **_ok("Session", or_=_CSV, headers=_ETAG | _LINK),
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
    "/api/v1/workers": _get("The worker that answers", _ok("Workers")),
    "/api/v1/actors": _get(
        "The tree of actors, with the state and counters of each", _ok("Actors")
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
HEALTH: Final[Mapping[str, Schema]] = {
    path: {"get": {"summary": about, "security": [], "responses": responses | _ELSEWHERE}}
    for path, about, responses in (
        ("/healthz", "200 while the process answers", _ok("Alive")),
        (
            "/readyz",
            "200 while registered at LiveKit, able to enter rooms, and writing to the store",
            {
                **_ok("Ready"),
                "503": _answer("Not ready; the answer says why", _content(_JSON, _ref("Ready"))),
            },
        ),
    )
}


def openapi(version: str, cookie: str | None, root: str = "") -> Schema:
    """The document.  `cookie` is the name of a sign-in's where a token is wanted, else None;
    `root` is the path under which a proxy shows us."""
    paths = {path: {"get": dict(item["get"])} for path, item in PATHS.items()}
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
            item["get"]["responses"] = {**item["get"]["responses"], **_NOBODY}
    return {
        "openapi": "3.1.0",
        "info": {"title": "room-actors", "version": version},
        "servers": [{"url": root or "/"}],
        **security,
        "paths": {**paths, **HEALTH},
        "components": {"schemas": dict(SCHEMAS), "securitySchemes": schemes},
    }
