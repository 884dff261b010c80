"""Pieces of `/openapi.json`: answers, parameters, operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from actors.journal.session_filters import Parameter
from bridge.http.api.answer_types import Problem
from bridge.http.server.problem import PROBLEM_JSON

Schema: TypeAlias = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}


def schema_ref(answer: type) -> Schema:
    return {"$ref": f"#/components/schemas/{answer.__name__}"}


def content_of(kind: str, schema: Schema) -> Schema:
    return {kind: {"schema": schema}}


def answered(about: str, content: Schema, headers: Schema | None = None) -> Schema:
    return {"description": about, "content": content, **({"headers": headers} if headers else {})}


def problem_answer(about: str) -> Schema:
    return answered(about, content_of(PROBLEM_JSON, schema_ref(Problem)))


JSON_TYPE: Final = "application/json"
ELSEWHERE: Final = {
    "421": problem_answer("`Host` is neither this machine nor a name of `--http-host`")
}
BAD_QUERY: Final = {
    "400": problem_answer("The query is wrong, or the request has a body"),
    "414": problem_answer("The query is too long"),
    **ELSEWHERE,
}
NO_TOKEN: Final = {
    "403": problem_answer("The worker has no token, or a page of another site asks"),
}


def query_parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": dict(parameter.schema),
    }


def request_header(name: str, about: str, schema: Schema = TEXT) -> Schema:
    return {"name": name, "in": "header", "description": about, "schema": schema}


def get_operation(
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
            "responses": {**good, **BAD_QUERY, **(bad or {})},
        }
    }


def post_operation(
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
            "responses": {**good, **ELSEWHERE, **NO_TOKEN, **bad},
        }
    }


def good_answer(answer: type, **more: Any) -> dict[str, Schema]:
    return {
        "200": answered(
            "The answer", content_of(JSON_TYPE, schema_ref(answer)) | more.pop("or_", {}), **more
        )
    }
