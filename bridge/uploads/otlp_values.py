"""Reads the attributes of OTLP with bounds.  Imported when an agent uploads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MOST_DEPTH: Final = 8
"""Of nested maps and lists; a chat item has four."""

Attributes = Mapping[str, AnyValue]


def by_key(attributes: Iterable[KeyValue]) -> dict[str, AnyValue]:
    """Attributes by their keys; of equal keys the last."""
    return {one.key: one.value for one in attributes}


def plain(value: AnyValue, depth: int = MOST_DEPTH) -> Any:
    """The value as dicts, lists, numbers and texts.  None for bytes, and below `depth`."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "kvlist_value" if depth:
            return {one.key: plain(one.value, depth - 1) for one in value.kvlist_value.values}
        case "array_value" if depth:
            return [plain(one, depth - 1) for one in value.array_value.values]
        case _:
            return None


def text_of(attributes: Attributes, key: str, most: int) -> str:
    """A text attribute, cut; empty where there is none."""
    value = attributes.get(key)
    return "" if value is None else value.string_value[:most]


def number_of(attributes: Attributes, key: str) -> float | None:
    """A finite number that is not negative; None where there is none."""
    value = attributes.get(key)
    return None if value is None else as_number(plain(value, 0))


def flag_of(attributes: Attributes, key: str) -> bool:
    value = attributes.get(key)
    return value is not None and value.bool_value


def as_number(value: object) -> float | None:
    """A finite number that is not negative (and below 10^15); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e15 else None


def as_time(value: object) -> float | None:
    """Unix seconds out of a number or of RFC 3339 text; None for anything else."""
    if not isinstance(value, str):
        return as_number(value)
    if len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if moment.tzinfo is None else as_number(moment.timestamp())


def as_text(value: object, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def nanoseconds(value: int) -> float:
    """Unix seconds of OTLP's nanoseconds."""
    return value / 1e9
