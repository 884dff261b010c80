"""The base of all classes of a session's JSON."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Meta(ge=0)]

AFTER_ALL_TIMES: Final = "9999-12-31T23:59:59.999Z"
"""Stands for a time that no calendar has, where a time is required.  A damaged store may have
one."""


class View(Struct, frozen=True, forbid_unknown_fields=True):
    """An object of the API: it always has all of its keys, and no others."""
