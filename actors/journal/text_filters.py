"""The filters of a list of texts, as one table: the API's query and the command line's flags."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from actors.journal.session_filters import FILTERS, Parameter, text

_ABOUTS: Final = {
    "room": FILTERS[0].about,
    "person": "Texts that somebody with this identity spoke or wrote; a pattern.",
    "since": "Texts that began then or later: RFC 3339 with a zone, or a date (UTC).",
    "until": "Texts that began before: RFC 3339 with a zone, or a date (UTC).",
}
TEXT_FILTERS: Final[tuple[Parameter, ...]] = (
    text("search", "Texts with all of these words, in any order; case does not matter.", "WORDS"),
    *(evolve(one, about=_ABOUTS[one.name]) for one in FILTERS if one.name in _ABOUTS),
)
"""One row a field of `TextFilters`."""
