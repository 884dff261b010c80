"""`/openapi.json`: exactly what the API answers.  A test asks for everything that it says.

Objects are generated from the classes that the API encodes (`actors.session.view_types`,
`bridge.http.api.answer_types`): a class's docstring and the sentence below a field become their
descriptions.  Parameters are those that `bridge.http.api.query` reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Final

import msgspec

from actors.journal import agent_statistics, attendance, conversations
from actors.journal.agent_statistics import AgentStatisticsList
from actors.journal.session_filters import CURSOR, FILTERS, ROOM
from actors.session import agent_view_types, entry_types, view_types
from bridge.http.api import answer_types, conversation_types, worker_types
from bridge.http.api.announcement_paths import ANNOUNCEMENT_PATHS
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
    PersonAnswer,
    Problem,
    Ready,
    RoomList,
    SessionAnswer,
    SessionList,
)
from bridge.http.api.conversation_types import (
    RunsAnswer,
    SpansAnswer,
    TextList,
    TranscriptAnswer,
    TurnsAnswer,
)
from bridge.http.api.field_sentences import field_sentences
from bridge.http.api.openapi_parts import (
    ELSEWHERE,
    JSON_TYPE,
    TEXT,
    Schema,
    answered,
    content_of,
    get_operation,
    good_answer,
    problem_answer,
    query_parameter,
    request_header,
    schema_ref,
)
from bridge.http.api.query import (
    AGENT_PARAMETERS,
    ALERT_PARAMETERS,
    ATTENDANCE_PARAMETERS,
    DAY_PARAMETERS,
    EVENTS_CURSOR,
    EVENTS_LIMIT,
    FORMAT,
    LIMIT,
    ROOMS_LIMIT,
    TEXT_PARAMETERS,
    TRANSCRIPT_PARAMETERS,
    TURN_PARAMETERS,
    VISIT_PARAMETERS,
)
from bridge.http.api.worker_types import OutboxAnswer, WorkerList
from bridge.output.text import did_you_mean

ANSWERS: Final = (
    ActorTree, AlertList, Alive, AnnouncementOrder, AnnouncementView, ApiIndex, AttendanceList,
    DayList, OutboxAnswer, PersonAnswer, Problem, Ready, RoomList, SessionAnswer, SessionList,
    AgentStatisticsList, RunsAnswer, TextList, TranscriptAnswer, TurnsAnswer, WorkerList,
)  # fmt: skip
"""The classes of whole answers; those of their parts come with them."""


@cache
def schemas() -> Mapping[str, Schema]:
    """Every class of an answer as JSON Schema, by its name."""
    _, schemas = msgspec.json.schema_components(ANSWERS, ref_template="#/components/schemas/{name}")
    sentences = field_sentences(
        entry_types,
        view_types,
        agent_view_types,
        agent_statistics,
        attendance,
        conversations,
        answer_types,
        worker_types,
        conversation_types,
    )
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(schema["description"])
        for key, sentence in sentences[name].items():
            # OpenAPI 3.1 allows a description beside a reference.
            schema["properties"][key] = {**schema["properties"][key], "description": sentence}
    return schemas


_CSV: Final = content_of("text/csv", TEXT)
_LINK: Final = {"Link": {"description": 'The page after this, as rel="next".', "schema": TEXT}}
_ETAG: Final = {"ETag": {"description": "Of a session that has ended.", "schema": TEXT}}

_AUDIO: Final = content_of("audio/ogg", {"type": "string", "format": "binary"})
_RANGES: Final = {
    "Accept-Ranges": {"description": "`bytes`", "schema": TEXT},
    "Recording-Started-At": {"description": "When it begins.", "schema": TEXT},
}
_PART: Final = {"Content-Range": {"description": "Which part it is.", "schema": TEXT}}

_UNREADABLE: Final = {"503": problem_answer("The store cannot be read now")}
_OF_SESSION: Final = {
    **_UNREADABLE,
    "404": problem_answer("No such session is kept"),
    "500": problem_answer("What is kept of it is damaged"),
}
_NOBODY: Final = {
    "401": problem_answer("The token or the cookie of a sign-in is missing or wrong"),
    "429": problem_answer("Too many wrong tokens came from this address"),
}


_ID: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A session's id, or a room's name for its newest session.",
    "schema": {"type": "string", "minLength": 1},
}
_JOB: Final[Schema] = {
    **_ID,
    "name": "job",
    "description": "LiveKit's id of the job (`AJ_…`).",
}
_IDENTITY: Final[Schema] = {
    "name": "identity",
    "in": "path",
    "required": True,
    "description": "An identity, or a person key.",
    "schema": {"type": "string", "minLength": 1},
}
_FORMAT: Final = query_parameter(FORMAT)

PATHS: Final[Mapping[str, Schema]] = {
    "/api/v1": get_operation("The addresses of the API", good_answer(ApiIndex)),
    "/api/v1/rooms": get_operation(
        "Every live session, the newest first",
        good_answer(RoomList, or_=_CSV),
        tuple(map(query_parameter, (*FILTERS, ROOMS_LIMIT, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions": get_operation(
        "Sessions that are kept, the newest first; as CSV all of them, unless `limit` or `cursor` "
        "is given",
        good_answer(SessionList, or_=_CSV, headers=_LINK),
        tuple(map(query_parameter, (*FILTERS, LIMIT, CURSOR, FORMAT))),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions/{id}": get_operation(
        "One session whole; as CSV its people",
        {
            **good_answer(SessionAnswer, or_=_CSV, headers=_ETAG | _LINK),
            "304": {
                "description": "Not changed since the answer with that `ETag`",
                "headers": _ETAG,
            },
        },
        (
            _ID,
            *map(query_parameter, (EVENTS_LIMIT, EVENTS_CURSOR)),
            _FORMAT,
            request_header("If-None-Match", "The `ETag` of an earlier answer."),
        ),
        bad={
            **_UNREADABLE,
            "404": problem_answer("No such session is kept"),
            "500": problem_answer("What is kept of it is damaged"),
        },
    ),
    "/api/v1/sessions/{id}/runs": get_operation(
        "The agents of a session, with the runs of each",
        good_answer(RunsAnswer),
        (_ID,),
        bad=_OF_SESSION,
    ),
    "/api/v1/sessions/{id}/turns": get_operation(
        "The turns of a session's conversations with agents, with delays and calls of tools",
        good_answer(TurnsAnswer, headers=_LINK),
        (_ID, *map(query_parameter, TURN_PARAMETERS)),
        bad=_OF_SESSION,
    ),
    "/api/v1/agents": get_operation(
        "Agents by name and by day: sessions, delays, interruptions, errors, usage; the last 30 "
        "days unless `since` is given",
        good_answer(AgentStatisticsList),
        tuple(map(query_parameter, AGENT_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/sessions/{id}/transcript": get_operation(
        "What was said, written, and given to tools in a session, as far as texts are kept",
        good_answer(TranscriptAnswer, headers=_LINK),
        (_ID, *map(query_parameter, TRANSCRIPT_PARAMETERS)),
        bad=_OF_SESSION,
    ),
    "/api/v1/sessions/{id}/recordings/{job}": get_operation(
        "The recording that an agent uploaded of its job, where recordings are kept: OGG Opus, the "
        "user left and the agent right; answers a `Range`",
        {
            "200": answered("The whole recording", _AUDIO, _RANGES),
            "206": answered("The part that `Range` asks for", _AUDIO, _RANGES | _PART),
        },
        (
            _ID,
            _JOB,
            request_header("Range", "One range of bytes, as `bytes=0-1023`."),
        ),
        bad={
            **_UNREADABLE,
            "404": problem_answer("No such recording is kept"),
            "416": problem_answer("The range is beyond the file"),
        },
    ),
    "/api/v1/sessions/{id}/spans/{job}": get_operation(
        "The spans that an agent uploaded of its job, without content, as far as spans are kept",
        good_answer(SpansAnswer),
        (_ID, _JOB),
        bad=_OF_SESSION,
    ),
    "/api/v1/transcripts": get_operation(
        "A search over the texts of all sessions that are kept, the newest first",
        good_answer(TextList, headers=_LINK),
        tuple(map(query_parameter, TEXT_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/alerts": get_operation(
        "Alerts of rules: what is pending or fires, and what fired, the newest first",
        good_answer(AlertList, headers=_LINK),
        tuple(map(query_parameter, ALERT_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/attendance": get_operation(
        "Who was in which session, the newest session first; as CSV all of it, unless `limit` or "
        "`cursor` is given",
        good_answer(AttendanceList, or_=_CSV, headers=_LINK),
        tuple(map(query_parameter, ATTENDANCE_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    "/api/v1/people/{identity}": get_operation(
        "One person over all sessions: visits, totals, days; as CSV the visits",
        good_answer(PersonAnswer, or_=_CSV, headers=_LINK),
        (_IDENTITY, *map(query_parameter, VISIT_PARAMETERS)),
        bad={**_UNREADABLE, "404": problem_answer("Nobody of this name is in the store")},
    ),
    "/api/v1/days": get_operation(
        "Sessions and minutes of people by the day on which the session began; the last 30 days "
        "unless `since` is given",
        good_answer(DayList, or_=_CSV),
        tuple(map(query_parameter, DAY_PARAMETERS)),
        bad=_UNREADABLE,
    ),
    **ANNOUNCEMENT_PATHS,
    "/api/v1/workers": get_operation("The worker that answers", good_answer(WorkerList)),
    "/api/v1/outbox": get_operation(
        "Outgoing webhooks: the endpoints, and what waits or was given up",
        good_answer(OutboxAnswer),
        bad=_UNREADABLE,
    ),
    "/api/v1/actors": get_operation(
        "The tree of actors, with the state and counters of each", good_answer(ActorTree)
    ),
    "/api/v1/events": get_operation(
        "The events of all sessions as they happen, as server-sent events",
        {
            "200": answered(
                "A stream without an end; either side may close it",
                content_of("text/event-stream", TEXT),
            )
        },
        (
            query_parameter(ROOM),
            request_header(
                "Last-Event-ID",
                "The id of the last event seen: those after it come first.",
                {"type": "string", "pattern": "^([0-9]{1,18}-[0-9]{1,9})?$"},
            ),
        ),
        bad={**_UNREADABLE},
    ),
    "/metrics": get_operation(
        "Metrics for Prometheus; OpenMetrics where `Accept` names it",
        {
            "200": answered(
                "All metrics",
                content_of("text/plain", TEXT) | content_of("application/openmetrics-text", TEXT),
            )
        },
    ),
    "/openapi.json": get_operation(
        "This document", {"200": answered("OpenAPI 3.1", content_of(JSON_TYPE, {"type": "object"}))}
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
    path: {"get": {"summary": about, "security": [], "responses": responses | ELSEWHERE}}
    for path, about, responses in (
        ("/healthz", "200 while the process answers", good_answer(Alive)),
        (
            "/readyz",
            "200 while registered at LiveKit, able to enter rooms, and writing to the store",
            {
                **good_answer(Ready),
                "503": answered(
                    "Not ready; the answer says why", content_of(JSON_TYPE, schema_ref(Ready))
                ),
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
