"""The lines of one screen of `top`, and the changes that a key makes in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen
from rich.text import Text

from actors.session import QUALITIES
from actors.session.alerts import open_alerts
from bridge.cli.live_rooms import NOT_REGISTERED, RoomRow, StoreSnapshot
from bridge.cli.reading_tables import local_time
from bridge.output.cells import fit
from bridge.output.durations import age, go_duration
from bridge.output.harmless import harmless
from bridge.output.timeline_text import STYLES

SILENT: Final = 5.0
"""Seconds without a sign of life from which on its age is shown in red; a worker gives one twice
a second."""

# ---------------------------------------------------------------- the head


def worker_line(snapshot: StoreSnapshot, registered: str, now: float) -> Text:
    """One line on the worker.  `now` is Unix seconds."""
    worker = snapshot.worker
    if worker is None:
        return Text("no worker was ever here", "bold red")
    ago = go_duration(now - worker.alive_at)
    if not worker.running:
        last_sign = local_time(worker.alive_at)
        return Text.assemble(
            ("NO WORKER RUNS HERE", "bold red"), f": this is the state of {last_sign}, {ago} ago"
        )
    silent = now - worker.alive_at > SILENT
    lost = sum(one.lost for one in snapshot.live)
    running = [one for one in snapshot.workers if one.running]
    one_runs = len(snapshot.workers) < 2
    lost_names = [one.name or one.instance for one in snapshot.workers if one.state == "lost"]
    return Text.assemble(
        "worker runs " if one_runs else f"{len(running)} workers run, the newest ",
        f"{age(now - worker.started_at)}, ",
        *lost_workers(lost_names),
        (f"last sign {ago} ago", "bold red" if silent else ""),
        ", ",
        (f"lines lost {lost}", "bold red" if lost else ""),
        ", ",
        *_alerts(snapshot),
        (registered, "bold red" if registered == NOT_REGISTERED else ""),
        f", {harmless(worker.instance, 40)} ({worker.pid})",
    )


def _alerts(snapshot: StoreSnapshot) -> list[str | tuple[str, str]]:
    """How many alerts fire, where any does."""
    alerts = open_alerts(one.state for one in snapshot.live)
    return alert_words([one.rule for one in alerts if one.phase == "firing"])


def lost_workers(names: Sequence[str]) -> list[str | tuple[str, str]]:
    """The workers that ended without order, for a head."""
    if not names:
        return []
    shown = fit(", ".join(harmless(name, 30) for name in names), 60).rstrip()
    return [(f"{len(names)} LOST ({shown})", "bold red"), ", "]


def alert_words(firing: Sequence[str]) -> list[str | tuple[str, str]]:
    """The same of the rules of alerts that fire."""
    if not firing:
        return []
    rules = ", ".join(dict.fromkeys(harmless(rule, 30) for rule in firing))
    return [(fit(f"{len(firing)} alerts fire ({rules})", 60).rstrip(), "bold red"), ", "]


def totals_line(rooms: Sequence[RoomRow]) -> str:
    known = [room.messages for room in rooms if room.messages is not None]
    messages = sum(known) if known or not rooms else "-"
    rates = [room.rate for room in rooms if room.rate is not None]
    return (
        f"rooms {len(rooms)}, people {sum(room.people for room in rooms)}, "
        f"tracks {sum(room.tracks for room in rooms)}, "
        f"messages {messages}"
        + (f" ({sum(rates):.1f}/s)" if rates else "")
        + f", talking {sum(len(room.talking) for room in rooms)}"
    )


# ---------------------------------------------------------------- columns


@frozen
class TableColumn:
    title: str
    cells: int
    """The smallest width, in cells."""
    shown: Callable[[RoomRow], str]
    share: int = 0
    """The column's part of the cells that are left over."""
    style: Callable[[RoomRow], str] = lambda _: ""


COLUMNS: Final = (
    TableColumn("room", 10, lambda room: room.name, 3),
    TableColumn("people", 7, lambda room: str(room.people)),
    TableColumn("tracks", 7, lambda room: str(room.tracks)),
    TableColumn("msgs", 6, lambda room: "-" if room.messages is None else _brief(room.messages)),
    TableColumn("/s", 5, lambda room: "-" if room.rate is None else f"{room.rate:.1f}"),
    TableColumn("talks", 10, lambda room: ", ".join(room.talking), 2),
    TableColumn(
        "quality",
        9,
        lambda room: room.quality or "-",
        0,
        lambda room: STYLES.get(room.quality or "", ""),
    ),
    TableColumn("age", 6, lambda room: age(room.age)),
    TableColumn("seen", 4, lambda room: f"{room.coverage:.0%}"),
)
_TEXTS: Final = ("room", "talks", "quality")
"""Columns that are aligned left; the others are numbers."""
_DISPENSABLE: Final = ("seen", "/s", "tracks", "talks", "age", "msgs", "quality")
"""Columns in the order in which a narrow terminal loses them."""


def columns_for(width: int) -> list[tuple[TableColumn, int]]:
    """The columns that fit, with the cells of each."""
    columns = list(COLUMNS)
    for title in _DISPENSABLE:
        if _least(columns) <= width:
            break
        columns = [column for column in columns if column.title != title]
    left = max(width - _least(columns), 0)
    shares = sum(column.share for column in columns)
    return [(column, column.cells + left * column.share // shares) for column in columns]


def _least(columns: Sequence[TableColumn]) -> int:
    return sum(column.cells + 1 for column in columns) - 1


def _brief(count: int) -> str:
    """`9999`, `10.0k`, `123k`, `4.5M`."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size and count >= 10_000:
            return f"{count / size:.{1 if count < 100 * size else 0}f}{name}"
    return str(count)


# ---------------------------------------------------------------- what is looked at


@frozen
class SortOrder:
    title: str
    """The title of its column."""
    key: Callable[[RoomRow], float | str]
    down: bool = True
    """The largest first."""


ORDERS: Final[Mapping[str, SortOrder]] = {
    "r": SortOrder("room", lambda room: room.name.casefold(), down=False),
    "p": SortOrder("people", lambda room: room.people),
    "t": SortOrder("tracks", lambda room: room.tracks),
    "m": SortOrder("msgs", lambda room: room.messages or 0),
    "a": SortOrder("age", lambda room: room.age),
    "w": SortOrder(
        "quality", lambda room: -1 if room.quality is None else QUALITIES.index(room.quality)
    ),
}
"""By its key.  `w` is for the worst quality: `q` leaves."""


@frozen
class TableView:
    """The user's choices for the table."""

    order: str = "p"
    turned: bool = False
    """The other way round."""
    filter: str = ""
    typing: bool = False
    """Keys go to the filter."""
    first: int = 0
    """The row that is shown first."""


def after_key(view: TableView, key: str, page: int) -> TableView | None:
    """The view after a key; None to leave.  `page` is the number of rows on the screen."""
    if key == "interrupt":
        return None
    if view.typing:
        return _typed(view, key)
    if key in ORDERS:
        turned = key == view.order and not view.turned
        return evolve(view, order=key, turned=turned, first=0)
    if key in _MOVES:
        return evolve(view, first=max(0, view.first + _MOVES[key](page)))
    if key == "q":
        return None
    if key == "escape":
        return evolve(view, filter="", first=0)
    return evolve(view, typing=True) if key == "/" else view


_FAR: Final = 10**9
_MOVES: Final[Mapping[str, Callable[[int], int]]] = {
    "up": lambda _: -1,
    "down": lambda _: 1,
    "page_up": lambda page: -page,
    "page_down": lambda page: page,
    "home": lambda _: -_FAR,
    "end": lambda _: _FAR,
}


def _typed(view: TableView, key: str) -> TableView:
    if key == "enter":
        return evolve(view, typing=False)
    if key == "escape":
        return evolve(view, typing=False, filter="", first=0)
    if key == "backspace":
        return evolve(view, filter=view.filter[:-1], first=0)
    return evolve(view, filter=view.filter + key, first=0) if len(key) == 1 else view


def select_rooms(rooms: Iterable[RoomRow], view: TableView) -> list[RoomRow]:
    """The rooms whose name contains the filter, in order; equal ones by name."""
    word, order = view.filter.casefold(), ORDERS[view.order]
    matches = sorted((room for room in rooms if word in room.name.casefold()), key=_by_name)
    return sorted(matches, key=order.key, reverse=order.down != view.turned)


def _by_name(room: RoomRow) -> str:
    return room.name


# ---------------------------------------------------------------- a frame

_AROUND: Final = 4
"""Lines that are not rooms: the worker, the totals, the headings, the keys."""


def page_size(height: int) -> int:
    """The number of rows that fit."""
    return max(height - _AROUND, 1)


def draw_frame(
    rooms: Sequence[RoomRow],
    head: Text,
    trouble: str | None,
    view: TableView,
    width: int,
    height: int,
) -> list[Text]:
    """The lines of one screen, none wider than it."""
    matches = select_rooms(rooms, view)
    columns = columns_for(width)
    first = within_pages(view, len(matches), height).first
    shown = matches[first : first + page_size(height)]
    totals = (
        Text(totals_line(rooms)) if trouble is None else Text(harmless(trouble, 300), "bold red")
    )
    lines = [head, totals, _headings(columns, view)]
    lines += [_row(room, columns) for room in shown]
    if not shown:
        lines.append(Text("no room has that in its name" if rooms else "no room is live", "dim"))
    lines += [Text()] * (height - 1 - len(lines))
    lines = [*lines[: max(height - 1, 0)], _foot(view, first, len(shown), len(matches))]
    for line in lines:
        line.truncate(width)
    return lines[-height:]


def within_pages(view: TableView, count: int, height: int) -> TableView:
    """The view, scrolled not beyond the last page."""
    return evolve(view, first=min(view.first, max(0, count - page_size(height))))


def _headings(columns: Sequence[tuple[TableColumn, int]], view: TableView) -> Text:
    order = ORDERS[view.order]
    mark = "▾" if order.down != view.turned else "▴"
    titles = (
        _cell(column, column.title + (mark if column.title == order.title else ""), cells)
        for column, cells in columns
    )
    return Text(" ".join(titles), "reverse")


def _row(room: RoomRow, columns: Sequence[tuple[TableColumn, int]]) -> Text:
    line = Text()
    for number, (column, cells) in enumerate(columns):
        line.append(" " if number else "")
        line.append(_cell(column, column.shown(room), cells), column.style(room))
    return line


def _cell(column: TableColumn, text: str, cells: int) -> str:
    return fit(text, cells, right=column.title not in _TEXTS)


def _foot(view: TableView, first: int, shown: int, matches: int) -> Text:
    if view.typing:
        return Text.assemble(("/", "bold"), harmless(view.filter), ("_", "blink"))
    where = f"{first + 1}-{first + shown} of {matches}" if shown else "0"
    narrowed = f" with '{harmless(view.filter, 40)}', Esc for all" if view.filter else ""
    keys = "q leave, / filter, sort: RoomRow People Tracks Msgs Age Worst"
    return Text(f"{where}{narrowed}  {keys}", "dim")
