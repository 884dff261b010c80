"""The table of the act `record`: what is recorded, and where its files go.  Pure.

    { record = "{room_name}-{time}.mp4" }             # where the egress worker stores files
    { record = { audio_only = true, file = "{room_name}.ogg" } }
    { record = { layout = "grid", outputs = [{ file = "{room_name}.mp4", s3 = {
        bucket = "calls", region = "eu-central-1", access_key = "AKIA...",
        secret_env = "CALLS_S3_SECRET" } }] } }

A secret is never in the file: the table has the name of an environment variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from attrs import frozen

from actors.rules.comparisons import BadComparison
from actors.session.recording_reports import (
    RecordingOutput,
    RecordingRequest,
    StorageService,
    StorageTarget,
)

KEYS: Final = ("layout", "audio_only", "file", "outputs")
MOST_OUTPUTS: Final = 4
TEXT_LENGTH: Final = 1_000
"""Characters of a path, or of the name of a layout, bucket, region."""
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

_Table: TypeAlias = Mapping[str, object]


@frozen
class _Service:
    """The keys of a storage's table, by the field of `StorageTarget`."""

    bucket: str
    secret_env: str
    others: Mapping[str, str]
    flags: Sequence[str] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.bucket, self.secret_env, *self.others.values(), *self.flags)


_SERVICES: Final[Mapping[StorageService, _Service]] = {
    "s3": _Service(
        "bucket",
        "secret_env",
        {"account": "access_key", "region": "region", "endpoint": "endpoint"},
        ("path_style",),
    ),
    "gcs": _Service("bucket", "credentials_env", {}),
    "azure": _Service("container", "key_env", {"account": "account"}),
}


def read_recording(table: _Table) -> RecordingRequest:
    """The request of an act `record`.  Raises `BadComparison`."""
    if "file" in table and "outputs" in table:
        raise BadComparison("it takes file or outputs, not both")
    outputs = (
        tuple(_output(one, number) for number, one in enumerate(_list(table["outputs"])))
        if "outputs" in table
        else (RecordingOutput(_text(table, "file")),)
    )
    return RecordingRequest(outputs, _text(table, "layout"), _flag(table, "audio_only"))


def secret_names(request: RecordingRequest) -> tuple[str, ...]:
    """The environment variables that a request needs."""
    return tuple(one.storage.secret_env for one in request.outputs if one.storage is not None)


def _list(value: object) -> list[object]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    if not 1 <= len(items) <= MOST_OUTPUTS:
        raise BadComparison(f"outputs must be a list of 1 to {MOST_OUTPUTS} tables")
    return items


def _output(value: object, number: int) -> RecordingOutput:
    where = f"outputs[{number}]"
    table = _table(value, where, ("file", *_SERVICES))
    services: list[StorageService] = [one for one in _SERVICES if one in table]
    if len(services) > 1:
        raise BadComparison(f"{where} takes one of {', '.join(_SERVICES)}")
    storage = _storage(services[0], table[services[0]], where) if services else None
    return RecordingOutput(_text(table, "file", where), storage)


def _storage(service: StorageService, value: object, where: str) -> StorageTarget:
    where, keys = f"{where}.{service}", _SERVICES[service]
    table = _table(value, where, keys.keys)
    name = _text(table, keys.secret_env, where, needed=True)
    if not _ENV_NAME.fullmatch(name):
        raise BadComparison(
            f"{where}.{keys.secret_env} must be the name of an environment variable, not a secret"
        )
    others = {field: _text(table, key, where) for field, key in keys.others.items()}
    return StorageTarget(
        service,
        _text(table, keys.bucket, where, needed=True),
        name,
        path_style=any(_flag(table, key, where) for key in keys.flags),
        **others,
    )


def _table(value: object, where: str, keys: Sequence[str]) -> _Table:
    if not isinstance(value, Mapping):
        raise BadComparison(f"{where} must be a table with {', '.join(keys)}")
    table = cast("_Table", value)
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise BadComparison(
            f"{where} has no key {str(unknown[0])[:40]!r}; it takes {', '.join(keys)}"
        )
    return table


def _text(table: _Table, key: str, where: str = "", *, needed: bool = False) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_LENGTH or (needed and not value):
        name = f"{where}.{key}" if where else key
        raise BadComparison(f"{name} must be a text of 1 to {TEXT_LENGTH} characters")
    return value


def _flag(table: _Table, key: str, where: str = "") -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise BadComparison(f"{where}.{key} must be true or false".lstrip("."))
    return value
