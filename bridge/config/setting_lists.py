"""Settings that are lists of tables: `[[webhook]]` and the like in the `--config` file.

A flat setting is a row of `bridge.config.setting_table`.  A list is a `SettingList`: a schema of
keys and the frozen class that one table becomes.  Whatever uses a list registers it.  A list that
nobody has registered is refused, so that no table is written for nothing.

The errors are those of flat settings: the file, the table with its line, the key, what is allowed,
and the nearest known word.  A key that is hidden is a secret: no error shows its value, its class
has it in no `repr`, and the log takes it out of every line.  Such a key may be in a file of its
own, which `KEY-file` names.

    WEBHOOKS = SettingList("webhook", Webhook, (
        ListKey("name", values.text, required=True),
        ListKey("secret", values.secret, required=True, hidden=True),
    ), unique="name")
    register_list(WEBHOOKS)
    ...
    settings.tables(WEBHOOKS)        # a tuple of Webhook
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from attrs import fields_dict, frozen

from bridge.config import values
from bridge.config.setting_files import read_secret
from bridge.config.values import BadValue, SettingsError
from bridge.output.harmless import harmless
from bridge.output.text import did_you_mean

T = TypeVar("T")

MOST_TABLES: Final = 1_000
"""Of one list."""


class BadKey(BadValue):
    """A key of a table is not well; `key` is its path, as `when.people`."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


@frozen
class ListKey:
    """One key of each table of a list."""

    name: str
    """As in TOML, with dashes; in the class with underscores."""
    parse: values.Parser[Any]
    """Takes what TOML makes of the value; raises `BadValue`."""
    required: bool = False
    default: Any = None
    """What a table without the key has.  Not parsed."""
    hidden: bool = False
    """The value is a secret, or several of them."""
    attribute: str = ""
    """The field of the class, where its name cannot be the key's."""

    @property
    def field(self) -> str:
        return self.attribute or self.name.replace("-", "_")

    @property
    def in_file(self) -> str:
        """The key that names a file with the value of a hidden key."""
        return f"{self.name}-file"


@frozen
class SettingList(Generic[T]):
    """A list of tables, and the class of one of them."""

    name: str
    """As in `[[name]]`."""
    make: type[T]
    """A frozen attrs class with a field for each key."""
    keys: tuple[ListKey, ...]
    unique: str = ""
    """The key of which no two tables have the same value.  Tables without the key do not count."""
    require: Callable[[T], object] | None = None
    """Checks several keys of a table together; raises `BadValue`."""

    def __attrs_post_init__(self) -> None:
        fields = fields_dict(self.make)
        assert fields.keys() == {key.field for key in self.keys}, self.name
        assert not any(fields[key.field].repr for key in self.keys if key.hidden), self.name

    @property
    def title(self) -> str:
        return f"[[{self.name}]]"

    def secrets_of(self, table: T) -> Iterator[str]:
        """The values of a table that must never be shown."""
        for key in self.keys:
            value = getattr(table, key.field) if key.hidden else None
            yield from (value,) if isinstance(value, str) else value or ()


LISTS: Final[dict[str, SettingList[Any]]] = {}
"""By name: the lists that something uses."""


def register_list(row: SettingList[Any]) -> None:
    """Make a list a setting.  Call it when the module that uses the list is imported."""
    assert LISTS.setdefault(row.name, row) is row, f"{row.title} is registered twice"


def is_list(value: object) -> bool:
    """True if TOML made this of tables, in one or two brackets."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, dict) for one in value)
    return isinstance(value, dict)


def refuse_unknown_list(where: str, key: str, value: object) -> None:
    """Raises `SettingsError` for tables under a name that nothing has registered."""
    name = harmless(key, 80)
    title = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
    known = ", ".join(row.title for row in LISTS.values())
    allowed = f"the tables of this version are {known}" if known else "this version has no tables"
    raise SettingsError(
        f"{where} has the unknown key '{name}', written {title}; {allowed}"
        f"{did_you_mean(key, list(LISTS))}"
    )


def read_list(row: SettingList[T], value: object, where: str, text: str) -> tuple[T, ...]:
    """The tables of a list, checked.  `text` is the file, and `where` names it in an error.

    Raises `SettingsError`.
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise SettingsError(f"{where}: '{row.name}' is a list of tables; write {row.title}")
    if len(value) > MOST_TABLES:
        raise SettingsError(f"{where} has {len(value)} of {row.title}; at most {MOST_TABLES}")
    lines = _Lines(row.name, text, len(value))
    tables: list[T] = []
    first_with: dict[object, int] = {}
    for number, table in enumerate(value, 1):
        reading = _Table(row, table, number, where, lines)
        made = reading.read()
        key = getattr(made, row.unique.replace("-", "_")) if row.unique else None
        if key:
            first = first_with.setdefault(key, number)
            if first != number:
                raise reading.error(row.unique, f"is that of {row.title} {first} already")
        tables.append(made)
    return tuple(tables)


def secrets_of_lists(lists: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """The values of all tables that must never be shown."""
    for name, tables in lists.items():
        for table in tables:
            yield from LISTS[name].secrets_of(table)


def first_exposed(file: Mapping[str, object]) -> str | None:
    """The first secret that a file has in a table itself, as `webhook secret`."""
    for row in LISTS.values():
        tables: Any = file.get(row.name, ())
        hidden = {key.name for key in row.keys if key.hidden}
        for table in tables:
            for key in table:
                if key.replace("_", "-") in hidden:
                    return f"{row.name} {key}"
    return None


@frozen
class _Table:
    """One table while it is read."""

    row: SettingList[Any]
    raw: Mapping[str, object]
    number: int
    """From 1."""
    where: str
    lines: _Lines

    def read(self) -> Any:
        given = self._given()
        fields: dict[str, Any] = {}
        for key in self.row.keys:
            fields[key.field] = self._value(key, given)
        made = self.row.make(**fields)
        if self.row.require is not None:
            try:
                self.row.require(made)
            except BadValue as error:
                key = error.key if isinstance(error, BadKey) else ""
                raise self.error(key, str(error)) from None
        return made

    def _given(self) -> dict[str, object]:
        known = [key.name for key in self.row.keys]
        known += [key.in_file for key in self.row.keys if key.hidden]
        given: dict[str, object] = {}
        for key, value in self.raw.items():
            name = key.replace("_", "-")
            if name not in known:
                hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
                raise self.error(key, f"is not known{hint}")
            if name in given:
                raise self.error(key, "is there twice")
            given[name] = value
        return given

    def _value(self, key: ListKey, given: Mapping[str, object]) -> Any:
        by_file = key.in_file if key.hidden else ""
        if key.name in given and by_file in given:
            raise self.error(by_file, f"'{key.name}' is there too: keep one of them")
        name = by_file if by_file in given else key.name
        if name not in given:
            if key.required:
                also = f" or '{by_file}'" if by_file else ""
                raise self.error("", f"'{key.name}'{also} is missing")
            return key.default
        try:
            return key.parse(_in_file(given[name]) if name == by_file else given[name])
        except BadValue as error:
            raise self.error(name, str(error)) from None

    def error(self, key: str, text: str) -> SettingsError:
        """As `--config: FILE: [[webhook]] 2, line 14: 'url' is no URL; give …`."""
        line = self.lines.of(self.number, re.split(r"[.\[]", key)[0])
        at = f", line {line}" if line else ""
        about = f"'{harmless(key, 80)}' " if key else ""
        return SettingsError(f"{self.where}: {self.row.title} {self.number}{at}: {about}{text}")


def _in_file(path: object) -> str:
    if not isinstance(path, str):
        raise BadValue("is not the path of a file; put it in quotes")
    return read_secret(Path(path.strip()))


class _Lines:
    """Where tables and their keys stand in a file, as far as plain text shows it.

    The TOML reader gives no lines.  So a list that is written otherwise than with its heads in
    lines of their own has none.
    """

    def __init__(self, name: str, text: str, count: int) -> None:
        head = re.compile(rf"\s*\[\[\s*(\"|'|){re.escape(name)}\1\s*\]\]\s*(#.*)?")
        self._lines = text.splitlines()
        heads = [number for number, line in enumerate(self._lines) if head.fullmatch(line)]
        self._heads = heads if len(heads) == count else []

    def of(self, number: int, key: str) -> int | None:
        """The line of a table's key, else of its head; from 1."""
        if not self._heads:
            return None
        begin = self._heads[number - 1]
        name = "[-_]".join(re.escape(part) for part in re.split("[-_]", key))
        wanted = re.compile(rf"\s*(\"|'|){name}\1\s*=")
        for at in _until_next_head(self._lines, begin + 1):
            if wanted.match(self._lines[at]):
                return at + 1
        return begin + 1


def _until_next_head(lines: Sequence[str], begin: int) -> Iterable[int]:
    for at in range(begin, len(lines)):
        if lines[at].lstrip().startswith("[["):
            return
        yield at
