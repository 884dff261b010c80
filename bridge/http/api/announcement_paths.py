"""The addresses of announcements in `/openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.http.api.answer_types import AnnouncementOrder, AnnouncementView
from bridge.http.api.openapi_parts import (
    JSON_TYPE,
    Schema,
    answered,
    content_of,
    get_operation,
    good_answer,
    post_operation,
    problem_answer,
    schema_ref,
)

SOUND_TYPES: Final = ("audio/wav", "audio/ogg", "audio/mpeg", "audio/flac")
"""Types of bodies that are sound files.  The content itself says what it is."""


def _part(name: str, about: str) -> Schema:
    """A part of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string", "minLength": 1},
    }


_ANNOUNCEMENT: Final = _part("id", "An announcement's id.")

ANNOUNCEMENT_PATHS: Final[Mapping[str, Schema]] = {
    "/api/v1/rooms/{room}/announcements": post_operation(
        "Say a text, show a picture or play a sound file in a room; needs a token. "
        "Announcements of one room are played one after another",
        {
            "202": answered(
                "The order was taken", content_of(JSON_TYPE, schema_ref(AnnouncementView))
            )
        },
        (_part("room", "A watched room's name, or a pattern of names as `team-*`."),),
        body=content_of(JSON_TYPE, schema_ref(AnnouncementOrder))
        | {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SOUND_TYPES},
        bad={
            "400": problem_answer("The order is wrong"),
            "404": problem_answer("No such room is watched now"),
            "408": problem_answer("The body did not come in time"),
            "409": problem_answer("It cannot be heard there: the room is encrypted end to end"),
            "413": problem_answer("The body is too long"),
            "415": problem_answer("The body has another type"),
            "429": problem_answer("Too many announcements wait, or the worker stops"),
        },
    ),
    "/api/v1/announcements/{id}": get_operation(
        "What became of an announcement; the newest are remembered",
        good_answer(AnnouncementView),
        (_ANNOUNCEMENT,),
        bad={"404": problem_answer("No such announcement is remembered")},
    ),
    "/api/v1/announcements/{id}/stop": post_operation(
        "Stop an announcement that waits or is played; needs a token",
        good_answer(AnnouncementView),
        (_ANNOUNCEMENT,),
        bad={
            "400": problem_answer("The query is wrong"),
            "404": problem_answer("No such announcement is remembered"),
        },
    ),
}
