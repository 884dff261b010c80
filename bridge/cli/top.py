"""`top`: the live rooms, drawn anew every second from what the store has.

It reads the store as any reader does and needs no worker's help.  Only the worker knows whether
it is registered at LiveKit: its `/readyz` is asked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from bridge.cli.live_rooms import (
    UNKNOWN,
    MessageRates,
    RegistrationCheck,
    StoreSnapshot,
    ask_registration,
    room_rows,
    snapshots,
)
from bridge.cli.screen import LeaveScreen, Screen, is_drawable, whole_screen
from bridge.cli.store_access import StoreUnavailable
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
from bridge.output.table import print_table

EVERY: Final = 1.0
"""Seconds from one look at the store to the next."""


def top(flags: Mapping[str, object]) -> None:
    """Draw until the user leaves.  Raises `StoreUnavailable` and `SettingsError`."""
    read = read_settings(flags)
    for name in ("data-dir", "http"):
        if name in read.problems:
            raise SettingsError(read.problems[name])
    data_dir: Path = read.values["data-dir"]
    address: HttpAddress | None = read.values["http"]
    with closing(snapshots(data_dir)) as following:
        snapshot = next(following)
        if snapshot.trouble is not None:
            raise StoreUnavailable(snapshot.trouble)
        if "once" in flags or not is_drawable():
            worker = snapshot.worker if snapshot.runs else None
            _print_once(
                snapshot,
                ask_registration(address, worker.instance) if worker and address else UNKNOWN,
            )
            return
        registration_check = RegistrationCheck(address)
        with suppress(LeaveScreen), whole_screen() as screen:
            _run(screen, snapshot, following, registration_check)


def _run(
    screen: Screen,
    snapshot: StoreSnapshot,
    following: Generator[StoreSnapshot, None, None],
    registration_check: RegistrationCheck,
) -> None:
    console = Console(force_terminal=True, legacy_windows=False)
    view, rates = TableView(), MessageRates()
    registration_check.again(snapshot)
    rooms, due = room_rows(snapshot, rates.take(snapshot)), time.monotonic() + EVERY
    while True:
        width, height = screen.size
        view = within_pages(view, len(select_rooms(rooms, view)), height)
        registration = registration_check.answer if snapshot.runs else UNKNOWN
        lines = draw_frame(
            rooms,
            worker_line(snapshot, registration, snapshot.now),
            snapshot.trouble,
            view,
            width,
            height,
        )
        screen.show(_codes(console, lines))
        for key in screen.wait(due - time.monotonic()):
            after = after_key(view, key, page_size(height))
            if after is None:
                return
            view = after
        if time.monotonic() >= due:
            snapshot = next(following)
            rooms, due = room_rows(snapshot, rates.take(snapshot)), time.monotonic() + EVERY
            registration_check.again(snapshot)


def _codes(console: Console, lines: Sequence[Text]) -> list[str]:
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True)
    return captured.get().split("\n")[:-1]


def _print_once(snapshot: StoreSnapshot, registered: str) -> None:
    rooms = select_rooms(room_rows(snapshot, {}), TableView())
    head = worker_line(snapshot, registered, snapshot.now).plain
    sys.stdout.write(f"{head}\n{totals_line(rooms)}\n")
    columns = [column for column in COLUMNS if column.title != "/s"]
    rows = [[column.shown(room) for column in columns] for room in rooms]
    if rows:
        print_table([column.title for column in columns], rows)
