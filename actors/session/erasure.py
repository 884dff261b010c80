"""One person taken out of what is stored of a session: identities, names, metadata, messages.

The person becomes a pseudonym, so every count and every time stays, and a journal still folds to
its state.  What they wrote about themselves (display name, metadata, attributes, content of
messages, names of tracks) becomes empty.  In texts of others, as of an alert, an identity is
replaced where it stands as a word.  Room, topics and the metadata of the room stay.

Pure: states, records and entries in, the same without the person out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, Final, TypeVar, cast, final

import attrs

from actors.session.changes import change
from actors.session.participant_maps import text_size
from actors.session.record import Record
from actors.session.state import SessionState
from actors.session.timeline_entry import TimelineEntry

T = TypeVar("T")

SHORTEST_WORD: Final = 3
"""Characters.  A shorter identity is replaced only where it is the whole text: as a word it may be
anything."""

_EMPTY: Final[Mapping[str, object]] = {"name": "", "metadata": "", "content": None}
"""What a person said of themselves, by the name of the field."""
_ATTRIBUTES: Final = frozenset({"attributes", "changed"})
"""Fields with attributes.  Those whose value is the person's key stay, under the pseudonym: the
key says that two identities are one person."""
_IDENTIFIED_MAPS: Final = frozenset({"by_identity"})
"""Keys of a session's JSON whose value has identities as keys."""


_KEEP: Final = object()


@final
class Erasure:
    """Replaces the identities and person keys of one person by pseudonyms."""

    def __init__(self, pseudonyms: Mapping[str, str]) -> None:
        """`pseudonyms`: by identity or person key."""
        self._pseudonyms = dict(pseudonyms)
        words = sorted((one for one in pseudonyms if len(one) >= SHORTEST_WORD), key=len)
        choice = "|".join(map(re.escape, reversed(words)))
        self._words = re.compile(rf"(?<!\w)(?:{choice})(?!\w)") if choice else None

    def state(self, state: SessionState) -> SessionState:
        """The state without the person."""
        without = self._value(state, mine=False)
        size = state.past_text_size + sum(
            text_size(after) - text_size(before)
            for before, after in zip(state.past.values(), without.past.values(), strict=True)
        )
        return change(without, past_text_size=size)

    def record(self, record: Record) -> Record:
        """The record without the person.  It folds as before, but for the pseudonym."""
        return self._value(record, mine=False)

    def entry(self, entry: TimelineEntry) -> TimelineEntry:
        """The entry without the person."""
        return attrs.evolve(entry, data=self.tree(entry.data))

    def tree(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """An object of JSON without the person: keys are names of fields."""
        return self._tree(data, mine=self._is_mine(data.get("identity"), data.get("on")))

    def text(self, text: str) -> str:
        """A text without the identity."""
        whole = self._pseudonyms.get(text)
        if whole is not None or self._words is None:
            return text if whole is None else whole
        return self._words.sub(lambda match: self._pseudonyms[match[0]], text)

    # ------------------------------------------------------------ inside

    def _is_mine(self, *names: object) -> bool:
        return any(isinstance(one, str) and one in self._pseudonyms for one in names)

    def _blank(self, name: str, value: Any, on: object) -> object:
        """The person's own value of a field without what they said; `_KEEP` for any other field."""
        if name in _EMPTY:
            return _EMPTY[name]
        if name in _ATTRIBUTES:
            mine = cast("Mapping[str, str]", value).items()
            return {key: self._pseudonyms[one] for key, one in mine if one in self._pseudonyms}
        return "" if name == "text" and self._is_mine(on) else _KEEP

    def _value(self, value: T, *, mine: bool) -> T:
        """`value` as attrs classes and containers, whose maps have data as keys."""
        return cast("T", self._any(value, mine=mine))

    def _any(self, value: Any, *, mine: bool) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {self._any(k, mine=mine): self._any(v, mine=mine) for k, v in items}
        if isinstance(value, tuple | list):
            return tuple(self._any(one, mine=mine) for one in cast("tuple[Any, ...]", value))
        if isinstance(value, Set):
            return frozenset(self._any(one, mine=mine) for one in cast("Set[Any]", value))
        kind = cast("type[Any]", type(value))
        return self._instance(kind, value, mine=mine) if attrs.has(kind) else value

    def _instance(self, kind: type[Any], value: Any, *, mine: bool) -> Any:
        names = [one.name for one in attrs.fields(kind)]
        identity, on = getattr(value, "identity", None), getattr(value, "on", None)
        mine = self._is_mine(identity, on) or (mine and identity is None)
        changes = {
            name: self._own(name, before, mine=mine, on=on)
            for name in names
            for before in (getattr(value, name),)
        }
        return attrs.evolve(value, **changes)

    def _own(self, name: str, value: Any, *, mine: bool, on: object) -> Any:
        if mine and value is not None:
            blank = self._blank(name, value, on)
            if blank is not _KEEP:
                return blank
        return self._any(value, mine=mine)

    def _tree(self, data: Mapping[str, Any], *, mine: bool) -> dict[str, Any]:
        return {
            key: self._branch(key, value, mine=mine, on=data.get("on"))
            for key, value in data.items()
        }

    def _branch(self, key: str, value: Any, *, mine: bool, on: object) -> Any:
        if mine and value is not None:
            blank = self._blank(key, value, on)
            if blank is not _KEEP:
                return blank
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            if key in _IDENTIFIED_MAPS:
                return {self.text(who): amount for who, amount in inner.items()}
            identity = inner.get("identity")
            mine = self._is_mine(identity, inner.get("on")) or (mine and identity is None)
            return self._tree(inner, mine=mine)
        if isinstance(value, tuple | list):
            items = cast("list[Any]", value)
            parts = [self._branch("", one, mine=mine, on=None) for one in items]
            return tuple(parts) if isinstance(value, tuple) else parts
        return self.text(value) if isinstance(value, str) else value
