"""`top`: the live rooms, drawn anew every second from what the store has.

It reads the store as any reader does and needs no worker's help.  Only the worker knows whether
it is registered at LiveKit: its `/readyz` is asked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final

from rich.console import Console
from rich.text import Text

from bridge.cli.api_pictures import TopPicture, api_pictures
from bridge.cli.live_rooms import (
    UNKNOWN,
    MessageRates,
    RegistrationCheck,
    ask_registration,
    room_rows,
    snapshots,
)
from bridge.cli.screen import LeaveScreen, Screen, is_drawable, whole_screen
from bridge.cli.store_access import StoreUnavailable, api_of
from bridge.cli.top_frame import (
    COLUMNS,
    TableView,
    after_key,
    draw_frame,
    page_size,
    select_rooms,
    totals_line,
    within_pages,
    worker_line,
)
from bridge.config.http_address import HttpAddress
from bridge.config.settings import SettingsError, read_settings
from bridge.config.store_address import StoreAddress
from bridge.output.table import print_table

EVERY: Final = 1.0
"""Seconds from one look at the store to the next."""


def top(flags: Mapping[str, object]) -> None:
    """Draw until the user leaves.  Raises `StoreUnavailable` and `SettingsError`."""
    if "api" in flags:
        with api_of(flags) as reader:
            _show(flags, api_pictures(reader), api_pictures(reader, alone=True))
        return
    if "token" in flags:
        raise SettingsError("--token is for --api URL")
    read = read_settings(flags)
    for name in ("data-dir", "database-url", "http"):
        if name in read.problems:
            raise SettingsError(read.problems[name])
    store = StoreAddress(read.values["data-dir"], read.values["database-url"])
    address: HttpAddress | None = read.values["http"]
    _show(flags, store_pictures(store, address), store_pictures(store, address, alone=True))


def _show(
    flags: Mapping[str, object], pictures: Generator[TopPicture], alone: Generator[TopPicture]
) -> None:
    """`alone`: a single picture, which may take a second longer."""
    plain = "once" in flags or not is_drawable()
    with closing(alone if plain else pictures) as following:
        picture = next(following)
        if picture.trouble is not None:
            raise StoreUnavailable(picture.trouble)
        if plain:
            _print_once(picture)
            return
        with suppress(LeaveScreen), whole_screen() as screen:
            _run(screen, picture, following)


def store_pictures(
    store: StoreAddress, address: HttpAddress | None, *, alone: bool = False
) -> Generator[TopPicture]:
    """A picture for each `next`, from the store of this machine.  `alone`: only one is wanted."""
    registration_check, rates = RegistrationCheck(address), MessageRates()
    with closing(snapshots(store)) as following:
        for snapshot in following:
            if alone and address and snapshot.worker and snapshot.runs:
                registration = ask_registration(address, snapshot.worker.instance)
            else:
                registration_check.again(snapshot)
                registration = registration_check.answer if snapshot.runs else UNKNOWN
            yield TopPicture(
                worker_line(snapshot, registration, snapshot.now),
                room_rows(snapshot, {} if alone else rates.take(snapshot)),
                snapshot.trouble,
            )


def _run(screen: Screen, picture: TopPicture, following: Generator[TopPicture]) -> None:
    console = Console(force_terminal=True, legacy_windows=False)
    view, due = TableView(), time.monotonic() + EVERY
    while True:
        width, height = screen.size
        rooms = picture.rooms
        view = within_pages(view, len(select_rooms(rooms, view)), height)
        lines = draw_frame(rooms, picture.head, picture.trouble, view, width, height)
        screen.show(_codes(console, lines))
        for key in screen.wait(due - time.monotonic()):
            after = after_key(view, key, page_size(height))
            if after is None:
                return
            view = after
        if time.monotonic() >= due:
            picture, due = next(following), time.monotonic() + EVERY


def _codes(console: Console, lines: Sequence[Text]) -> list[str]:
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True)
    return captured.get().split("\n")[:-1]


def _print_once(picture: TopPicture) -> None:
    rooms = select_rooms(picture.rooms, TableView())
    sys.stdout.write(f"{picture.head.plain}\n{totals_line(rooms)}\n")
    columns = [column for column in COLUMNS if column.title != "/s"]
    rows = [[column.shown(room) for column in columns] for room in rooms]
    if rows:
        print_table([column.title for column in columns], rows)
