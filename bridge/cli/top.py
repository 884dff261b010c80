"""`top`: the live rooms, drawn anew every second from what the store has.

It reads the store as any reader does and needs no worker's help.  What only the worker
knows, whether it is registered at LiveKit, is asked at its `/readyz`.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, final

from attrs import evolve, frozen
from rich.console import Console
from rich.text import Text

from actors.journal.archive import ArchiveTrouble
from actors.session import QUALITIES, SessionState
from actors.session.view import coverage, totals
from bridge.cli.reading import StoreUnavailable, no_store
from bridge.cli.screen import LeaveScreen, Screen, is_ours, whole_screen
from bridge.config.http_address import HttpAddress
from bridge.config.settings import SettingsError, read_settings
from bridge.output.cells import fit
from bridge.output.harmless import harmless
from bridge.output.table import print_table
from bridge.output.text import go_duration
from bridge.output.timeline_text import STYLES
from bridge.store.live_sessions import LiveSession
from bridge.store.reader import NoStore, WorkerRow, open_reader
from bridge.store.schema import FILE
from bridge.store.store_errors import StoreRefused

EVERY: Final = 1.0
"""Seconds from one look at the store to the next."""
RATE_OVER: Final = 10.0
"""Seconds over which a rate is taken."""
SILENT: Final = 5.0
"""Seconds without a sign of life that are told of; a worker gives one twice a second."""


def top(flags: Mapping[str, object]) -> None:
    """Until it is left.  Raises `StoreUnavailable` and `SettingsError`."""
    read = read_settings(flags)
    for name in ("data-dir", "http"):
        if name in read.problems:
            raise SettingsError(read.problems[name])
    data_dir: Path = read.values["data-dir"]
    address: HttpAddress | None = read.values["http"]
    with closing(looks(data_dir)) as following:
        look = next(following)
        if look.trouble is not None:
            raise StoreUnavailable(look.trouble)
        if "once" in flags or not is_ours():
            worker = look.worker if look.runs else None
            _print_once(look, ask(address, worker.instance) if worker and address else UNKNOWN)
            return
        asking = _Asking(address)
        with suppress(LeaveScreen), whole_screen() as screen:
            _run(screen, look, following, asking)


# ---------------------------------------------------------------- what there is


@frozen
class Look:
    """What the store had at one moment."""

    at: float
    """Unix seconds: now, or the last sign of life where no worker runs."""
    worker: WorkerRow | None
    live: Sequence[LiveSession]
    trouble: str | None = None
    """Why the store cannot be read; the rest is then as it was before."""

    @property
    def runs(self) -> bool:
        return self.worker is not None and self.worker.running

    @property
    def now(self) -> float:
        """Unix seconds by the clock of the sessions, which is ours where no session is live."""
        offsets = (one.state.clock_offset for one in self.live)
        return time.time() - next((offset for offset in offsets if offset is not None), 0.0)


def looks(data_dir: Path) -> Generator[Look, None, None]:
    """One each time it is asked for, for ever.

    The file is opened anew where it is another one, and where a worker begins or ends: what
    nobody writes is read without its log (`bridge.store.schema.open_for_reading`).
    """
    look = Look(time.time(), None, ())
    while True:
        try:
            opened = _identity(data_dir)
            with open_reader(data_dir) as reader:
                while True:
                    worker = reader.worker()
                    at = worker.alive_at if worker else time.time()
                    look = Look(at, worker, reader.live())
                    yield look
                    if _identity(data_dir) != opened:
                        break
        except NoStore:
            yield evolve(look, trouble=no_store(data_dir))
        except (StoreRefused, ArchiveTrouble) as error:
            yield evolve(look, trouble=str(error))


def _identity(data_dir: Path) -> tuple[int, int, bool] | None:
    path = data_dir / FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, Path(f"{path}-wal").exists()


@frozen
class Room:
    """One row."""

    name: str
    people: int
    tracks: int
    messages: int | None
    """None where they are encrypted."""
    rate: float | None
    """Messages a second, over the last ten; None until two looks were taken."""
    talking: tuple[str, ...]
    """Identities."""
    quality: str | None
    """The worst that somebody has now."""
    age: float
    """Seconds since the session began."""
    coverage: float


@final
class Rates:
    """How fast messages come: their numbers at earlier looks, the oldest first."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[int, int]]] = deque()

    def take(self, look: Look) -> Mapping[int, float]:
        """Messages a second by session.  Nothing of one that was not there before."""
        counts = {one.number: one.state.data.total for one in look.live}
        while self._looks and not 0.0 <= look.at - self._looks[0][0] <= RATE_OVER:
            self._looks.popleft()
        self._looks.append((look.at, counts))
        since, before = self._looks[0]
        passed = look.at - since
        if not passed:
            return {}
        return {
            number: (count - before[number]) / passed
            for number, count in counts.items()
            if number in before
        }


def rooms_of(look: Look, rates: Mapping[int, float]) -> list[Room]:
    return [_room(one.state, look.at, rates.get(one.number)) for one in look.live]


def _room(state: SessionState, now: float, rate: float | None) -> Room:
    numbers = totals(state, now)
    levels = [person.quality.level for person in state.present.values() if person.quality.level]
    return Room(
        name=state.room,
        people=numbers.participants,
        tracks=numbers.tracks,
        messages=numbers.messages,
        rate=rate,
        talking=tuple(sorted(state.speaking)),
        quality=max(levels, key=QUALITIES.index, default=None),
        age=numbers.duration,
        coverage=coverage(state, now),
    )


# ---------------------------------------------------------------- the worker

UNKNOWN: Final = "registration unknown"
NOT_REGISTERED: Final = "NOT REGISTERED"


def ask(address: HttpAddress, instance: str) -> str:
    """What the worker `instance`, if it listens there, says of its registration at LiveKit."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, address.port, timeout=1.0)
    try:
        connection.request("GET", "/readyz")
        said = json.loads(connection.getresponse().read(10_000))
        who, why = said["worker"], said["checks"]["livekit"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return f"{UNKNOWN} (nothing at {address})"
    finally:
        connection.close()
    if who != instance:
        return f"{UNKNOWN} (another worker is at {address})"
    return "registered" if why is None else NOT_REGISTERED


@final
class _Asking:
    """The same in a thread of its own, so that nothing waits for an answer."""

    def __init__(self, address: HttpAddress | None) -> None:
        self.said = UNKNOWN
        self._address = address
        self._thread: threading.Thread | None = None

    def again(self, look: Look) -> None:
        """Ask the worker, if one runs, unless there is a question already."""
        waits = self._thread is not None and self._thread.is_alive()
        if self._address and look.worker and look.runs and not waits:
            about = (self._address, look.worker.instance)
            self._thread = threading.Thread(target=self._ask, args=about, daemon=True)
            self._thread.start()

    def _ask(self, address: HttpAddress, instance: str) -> None:
        self.said = ask(address, instance)


def health(look: Look, registered: str, now: float) -> Text:
    """One line on the worker.  `now` is Unix seconds."""
    worker = look.worker
    if worker is None:
        return Text("no worker was ever here", "bold red")
    ago = go_duration(now - worker.alive_at)
    if not worker.running:
        seen = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(worker.alive_at))
        return Text.assemble(
            ("NO WORKER RUNS HERE", "bold red"), f": this is the state of {seen}, {ago} ago"
        )
    silent = now - worker.alive_at > SILENT
    lost = sum(one.lost for one in look.live)
    return Text.assemble(
        f"worker runs {_short(now - worker.started_at)}, ",
        (f"last sign {ago} ago", "bold red" if silent else ""),
        ", ",
        (f"lines lost {lost}", "bold red" if lost else ""),
        ", ",
        (registered, "bold red" if registered == NOT_REGISTERED else ""),
        f", {harmless(worker.instance, 40)} ({worker.pid})",
    )


def summary(rooms: Sequence[Room]) -> str:
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
class Column:
    title: str
    cells: int
    """The least it takes."""
    shown: Callable[[Room], str]
    share: int = 0
    """Of what is left over."""
    style: Callable[[Room], str] = lambda _: ""


COLUMNS: Final = (
    Column("room", 10, lambda room: room.name, 3),
    Column("people", 7, lambda room: str(room.people)),
    Column("tracks", 7, lambda room: str(room.tracks)),
    Column("msgs", 6, lambda room: "-" if room.messages is None else _brief(room.messages)),
    Column("/s", 5, lambda room: "-" if room.rate is None else f"{room.rate:.1f}"),
    Column("talks", 10, lambda room: ", ".join(room.talking), 2),
    Column(
        "quality",
        9,
        lambda room: room.quality or "-",
        0,
        lambda room: STYLES.get(room.quality or "", ""),
    ),
    Column("age", 6, lambda room: _short(room.age)),
    Column("seen", 4, lambda room: f"{room.coverage:.0%}"),
)
_TEXTS: Final = ("room", "talks", "quality")
"""To the left; the others are numbers."""
_DISPENSABLE: Final = ("seen", "/s", "tracks", "talks", "age", "msgs", "quality")
"""What goes first where the terminal is narrow."""


def columns_for(width: int) -> list[tuple[Column, int]]:
    """Those that there is room for, with the cells of each."""
    kept = list(COLUMNS)
    for title in _DISPENSABLE:
        if _least(kept) <= width:
            break
        kept = [column for column in kept if column.title != title]
    left = max(width - _least(kept), 0)
    shares = sum(column.share for column in kept)
    return [(column, column.cells + left * column.share // shares) for column in kept]


def _least(columns: Sequence[Column]) -> int:
    return sum(column.cells + 1 for column in columns) - 1


_AGES: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def _short(seconds: float) -> str:
    """`42s`, `5m12s`, `3h5m`, `2d3h`: the two largest units."""
    whole = int(max(seconds, 0.0))
    for large, name, small, rest in _AGES:
        if whole >= large:
            return f"{whole // large}{name}{whole % large // small}{rest}"
    return f"{whole}s"


def _brief(count: int) -> str:
    """`9999`, `10.0k`, `123k`, `4.5M`."""
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size and count >= 10_000:
            return f"{count / size:.{1 if count < 100 * size else 0}f}{name}"
    return str(count)


# ---------------------------------------------------------------- what is looked at


@frozen
class Order:
    title: str
    """Of its column."""
    key: Callable[[Room], float | str]
    down: bool = True
    """The largest first."""


ORDERS: Final[Mapping[str, Order]] = {
    "r": Order("room", lambda room: room.name.casefold(), down=False),
    "p": Order("people", lambda room: room.people),
    "t": Order("tracks", lambda room: room.tracks),
    "m": Order("msgs", lambda room: room.messages or 0),
    "a": Order("age", lambda room: room.age),
    "w": Order(
        "quality", lambda room: -1 if room.quality is None else QUALITIES.index(room.quality)
    ),
}
"""By its key.  `w` is for the worst quality: `q` leaves."""


@frozen
class View:
    """What somebody chose to see."""

    order: str = "p"
    turned: bool = False
    """The other way round."""
    filter: str = ""
    typing: bool = False
    """Keys go to the filter."""
    first: int = 0
    """The row that is shown first."""


def pressed(view: View, key: str, page: int) -> View | None:
    """After a key; None to leave.  `page` is how many rows are shown."""
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


def _typed(view: View, key: str) -> View:
    if key == "enter":
        return evolve(view, typing=False)
    if key == "escape":
        return evolve(view, typing=False, filter="", first=0)
    if key == "backspace":
        return evolve(view, filter=view.filter[:-1], first=0)
    return evolve(view, filter=view.filter + key, first=0) if len(key) == 1 else view


def chosen(rooms: Iterable[Room], view: View) -> list[Room]:
    """Those whose name has the filter in it, in order; where that is equal, by name."""
    word, order = view.filter.casefold(), ORDERS[view.order]
    found = sorted((room for room in rooms if word in room.name.casefold()), key=_by_name)
    return sorted(found, key=order.key, reverse=order.down != view.turned)


def _by_name(room: Room) -> str:
    return room.name


# ---------------------------------------------------------------- a frame

_AROUND: Final = 4
"""Lines that are no rows: the worker, the totals, the headings, the keys."""


def page_of(height: int) -> int:
    """Rows that there is room for."""
    return max(height - _AROUND, 1)


def frame(
    rooms: Sequence[Room], head: Text, trouble: str | None, view: View, width: int, height: int
) -> list[Text]:
    """The lines of one screen, none wider than it."""
    found = chosen(rooms, view)
    columns = columns_for(width)
    first = within(view, len(found), height).first
    shown = found[first : first + page_of(height)]
    second = Text(summary(rooms)) if trouble is None else Text(harmless(trouble, 300), "bold red")
    lines = [head, second, _headings(columns, view)]
    lines += [_row(room, columns) for room in shown]
    if not shown:
        lines.append(Text("no room has that in its name" if rooms else "no room is live", "dim"))
    lines += [Text()] * (height - 1 - len(lines))
    lines = [*lines[: max(height - 1, 0)], _foot(view, first, len(shown), len(found))]
    for line in lines:
        line.truncate(width)
    return lines[-height:]


def within(view: View, count: int, height: int) -> View:
    """Not beyond the last page."""
    return evolve(view, first=min(view.first, max(0, count - page_of(height))))


def _headings(columns: Sequence[tuple[Column, int]], view: View) -> Text:
    order = ORDERS[view.order]
    mark = "▾" if order.down != view.turned else "▴"
    titles = (
        _cell(column, column.title + (mark if column.title == order.title else ""), cells)
        for column, cells in columns
    )
    return Text(" ".join(titles), "reverse")


def _row(room: Room, columns: Sequence[tuple[Column, int]]) -> Text:
    line = Text()
    for number, (column, cells) in enumerate(columns):
        line.append(" " if number else "")
        line.append(_cell(column, column.shown(room), cells), column.style(room))
    return line


def _cell(column: Column, text: str, cells: int) -> str:
    return fit(text, cells, right=column.title not in _TEXTS)


def _foot(view: View, first: int, shown: int, found: int) -> Text:
    if view.typing:
        return Text.assemble(("/", "bold"), harmless(view.filter), ("_", "blink"))
    where = f"{first + 1}-{first + shown} of {found}" if shown else "0"
    narrowed = f" with '{harmless(view.filter, 40)}', Esc for all" if view.filter else ""
    keys = "q leave, / filter, sort: Room People Tracks Msgs Age Worst"
    return Text(f"{where}{narrowed}  {keys}", "dim")


# ---------------------------------------------------------------- run


def _run(
    screen: Screen, look: Look, following: Generator[Look, None, None], asking: _Asking
) -> None:
    console = Console(force_terminal=True, legacy_windows=False)
    view, rates = View(), Rates()
    asking.again(look)
    rooms, due = rooms_of(look, rates.take(look)), time.monotonic() + EVERY
    while True:
        width, height = screen.size
        view = within(view, len(chosen(rooms, view)), height)
        said = asking.said if look.runs else UNKNOWN
        lines = frame(rooms, health(look, said, look.now), look.trouble, view, width, height)
        screen.show(_codes(console, lines))
        for key in screen.wait(due - time.monotonic()):
            after = pressed(view, key, page_of(height))
            if after is None:
                return
            view = after
        if time.monotonic() >= due:
            look = next(following)
            rooms, due = rooms_of(look, rates.take(look)), time.monotonic() + EVERY
            asking.again(look)


def _codes(console: Console, lines: Sequence[Text]) -> list[str]:
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True)
    return captured.get().split("\n")[:-1]


def _print_once(look: Look, registered: str) -> None:
    rooms = chosen(rooms_of(look, {}), View())
    head = health(look, registered, look.now).plain
    sys.stdout.write(f"{head}\n{summary(rooms)}\n")
    columns = [column for column in COLUMNS if column.title != "/s"]
    rows = [[column.shown(room) for column in columns] for room in rooms]
    if rows:
        print_table([column.title for column in columns], rows)
