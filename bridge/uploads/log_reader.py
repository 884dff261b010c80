"""Log records of an agent: its chat items, its report in short, its own judgement, and errors.

Ids are taken from each record: the resource of logs has none.  The text of an ordinary log line is
the agent's developer's, is never redacted by the agent, and is not read: such lines are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from bridge.uploads.bounded_gzip import BadUpload
from bridge.uploads.chat_items import MOST_ID, call_of, output_of, turn_of
from bridge.uploads.otlp_values import as_number, as_text, by_key, flag_of, plain, text_of
from bridge.uploads.protobuf_fields import FieldWalk
from bridge.uploads.run_gathering import GatheredRun, all_facts
from bridge.uploads.upload_facts import RunFacts, RunKey, UploadedUsage

MOST_RECORDS: Final = 8192
"""Of one body.  The chat items of a whole conversation come in batches of 512."""
MOST_RECORD_BYTES: Final = 256 * 1024
MOST_ROOM: Final = 512
"""Characters of a room's name."""
MOST_MODELS: Final = 32
"""Models whose usage one run has."""
MOST_AMOUNTS: Final = 32

_SCOPES: Final = (1, 2)
"""resource_logs, scope_logs (opentelemetry/proto/logs/v1/logs.proto)."""
_SCOPE, _RECORD = 1, 2
"""Fields of scope_logs."""


def read_logs(body: bytes, *, texts: bool) -> tuple[RunFacts, ...]:
    """The facts of one unpacked body, by run; turns have their texts if `texts`.

    Raises `BadUpload` if it is no OTLP.
    """
    runs: dict[RunKey, GatheredRun] = {}
    for record, scope, room in _records(body):
        attributes = by_key(record.attributes)
        room_sid = text_of(attributes, "room_id", MOST_ID)
        job_id = text_of(attributes, "job_id", MOST_ID)
        if not room_sid or not job_id:
            continue
        run = runs.setdefault(RunKey(room_sid, job_id), GatheredRun())
        run.agent_name = run.agent_name or text_of(attributes, "lk.agent_name", MOST_ID)
        run.room = run.room or room
        run.redacted = run.redacted or flag_of(attributes, "lk.redaction.enabled")
        readable = texts and not run.redacted
        if scope == "chat_history" and record.body.string_value == "chat item":
            item = attributes.get("chat.item")
            _add_item(run, {} if item is None else plain(item), texts=readable)
        elif scope == "chat_history":
            run.sdk_version = text_of(attributes, "sdk_version", MOST_ID)
            if (usage := attributes.get("usage")) is not None:
                run.usage = usage_of(plain(usage))
        elif scope == "evaluations":
            outcome = attributes.get("outcome")
            judgement: Any = None if outcome is None else plain(outcome)
            if isinstance(judgement, dict):
                word = as_text(cast("dict[str, Any]", judgement).get("outcome"), MOST_ID)
                run.outcome = word or run.outcome
        elif record.severity_number >= SeverityNumber.SEVERITY_NUMBER_ERROR:
            run.log_errors += 1
    return all_facts(runs)


def usage_of(value: object) -> tuple[UploadedUsage, ...]:
    """The usage by model, out of a list of maps."""
    if not isinstance(value, list):
        return ()
    usage: list[UploadedUsage] = []
    for one in cast("list[object]", value)[:MOST_MODELS]:
        if not isinstance(one, Mapping):
            continue
        model = cast("Mapping[str, object]", one)
        amounts: dict[str, float] = {}
        for key, raw in list(model.items())[:MOST_AMOUNTS]:
            number = as_number(raw)
            if number is not None:
                amounts[key[:MOST_ID]] = number
        usage.append(
            UploadedUsage(
                as_text(model.get("type"), MOST_ID),
                as_text(model.get("provider"), MOST_ID),
                as_text(model.get("model"), MOST_ID),
                amounts,
            )
        )
    return tuple(usage)


def _records(body: bytes) -> Iterator[tuple[LogRecord, str, str]]:
    """Each record with the name of its scope, and the room's name where that has it."""
    walk = FieldWalk(body)
    count = 0
    for scope_logs in walk.nested(_SCOPES):
        name = room = ""
        for field, piece in walk.fields(scope_logs):
            if field not in (_SCOPE, _RECORD) or len(piece) > MOST_RECORD_BYTES:
                continue
            try:
                if field == _SCOPE:
                    scope = InstrumentationScope.FromString(bytes(piece))
                    name = scope.name
                    room = text_of(by_key(scope.attributes), "room", MOST_ROOM)
                    continue
                count += 1
                if count > MOST_RECORDS:
                    return
                yield LogRecord.FromString(bytes(piece)), name, room
            except DecodeError:
                raise BadUpload("not protobuf") from None


def _add_item(run: GatheredRun, item: object, *, texts: bool) -> None:
    """`item` has one key, which says what it is."""
    if not isinstance(item, dict):
        return
    for kind, raw in cast("dict[str, object]", item).items():
        if not isinstance(raw, dict):
            continue
        fields = cast("dict[str, Any]", raw)
        if kind == "message":
            turn = turn_of(fields, texts=texts)
            if turn is not None:
                run.turns.append(turn)
        elif kind in ("function_call", "function_call_output"):
            read = call_of if kind == "function_call" else output_of
            call = read(fields, texts=texts)
            if call is not None:
                run.tool_calls.append(call)
