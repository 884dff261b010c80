"""`check`: every setting and every component, one by one, and what to do about each.

The settings and this machine come first, then the server as far as the settings allow
(`bridge.cli.probes`).  Exit code 0 only if all hold.  A wrong setting is printed on stderr too and
is exit code 2, as with any other command.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio
import trio_asyncio  # before anything that takes functions out of asyncio
from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, StoreRefused
from bridge.app.session_source import open_sessions
from bridge.app.worker_id import instance_of
from bridge.cli.database_check import check_database
from bridge.cli.live_rooms import UNKNOWN, ask_registration
from bridge.cli.probes import NO_MEDIA, PROBES, WEBHOOKS, CheckRow, ServerCheck
from bridge.cli.speech_check import check_speech
from bridge.cli.webhook_probe import WebhookSource
from bridge.config import machine
from bridge.config.settings import BY_NAME, TABLE, Setting, UncheckedSettings, read_settings
from bridge.config.store_address import StoreAddress
from bridge.config.values import HttpAddress
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.proxies import drop_proxies
from bridge.livekit.tokens import ApiKey
from bridge.log.structured_log import configure_logging
from bridge.log.wording import line_of
from bridge.output.harmless import harmless
from bridge.output.redact import redact
from bridge.output.text import plain
from bridge.store.directory_lock import lock_owner
from bridge.store.schema import FILE, open_for_writing

FREE_SPACE: Final = 100 << 20
"""Bytes.  A session of an hour is some hundred kilobytes."""
FEW_ROOMS: Final = 20
"""With fewer rooms than this, the open-file limit is too low."""
LONG_SECRET: Final = 32
"""Bytes that HMAC-SHA256 wants for a key (RFC 7518, 3.2)."""
FAILED: Final = 1
MAKES_A_ROOM: Final = (
    "making the room {room} for a moment, to try the media path: webhooks report it "
    "(--no-media makes none)\n"
)
OPEN_FILES: Final = "open-file limit"

_SERVER_SETTINGS: Final = ("url", "api-key", "api-secret")


def run_check(
    flags: Mapping[str, object], *, as_json: bool, media: bool, every: bool = True
) -> int:
    """Test, print, and return the exit code.  Raises `SettingsError` for a wrong setting.

    Without `every` the table leaves out settings that have their default.  With `media` a room is
    made on the server, which is announced before.
    """
    machine.raise_descriptor_limit()  # Before the settings: they are bounded by it.
    read = read_settings(flags)

    def announce(room: str) -> None:
        # Only JSON may stand on stdout.  For people the line belongs to the results.
        output = sys.stderr if as_json else sys.stdout
        output.write(MAKES_A_ROOM.format(room=room))
        output.flush()

    tested = [*(_setting(row, read) for row in TABLE), *_machine(read)]
    # With a wrong setting the check will be repeated: no room is made before that.
    about = announce if media and not read.problems else None
    results = [*tested, *_server(read, about, tested[-1], media=media)]
    if as_json:
        _print_json(results)
    else:
        _print_table(results, every=every)
    read.settings()
    return 0 if all(map(_holds, results)) else FAILED


def _holds(result: CheckRow) -> bool:
    return result.status in ("ok", "left out")


# ---------------------------------------------------------------- settings


def _setting(row: Setting, read: UncheckedSettings) -> CheckRow:
    name = row.flag
    if row.name in read.problems:
        return CheckRow(name, "failed", *_text_and_advice(row, read.problems[row.name]))
    for notice in read.notices:
        if notice.event == "max_rooms_lowered" and row.name == "max-rooms":
            needed = machine.descriptors_for_rooms(int(str(notice.fields["asked"])))
            return CheckRow(
                name,
                "failed",
                f"{notice.fields['asked']} rooms need {needed} open files, the limit is "
                f"{notice.fields['open_files']}: {notice.fields['max_rooms']} would be watched",
                f"raise the limit (ulimit -n {needed}), or set it by {row.how()}",
            )
        if notice.event == "unnamed_worker" and row.name == "agent-name":
            detail = "empty: takes jobs from your other unnamed agents"
            return CheckRow(name, "ok", detail, f"better give a name by {row.how()}")
    origin = read.origins[row.name]
    advice = [
        line_of(notice.event, "warning", notice.fields).removeprefix("WARNING ")
        for notice in read.notices
        if notice.setting == row.name
    ]
    if advice:
        return CheckRow(
            name, "ok", f"{_shown(row, read.values[row.name])} ({origin})", "; ".join(advice)
        )
    if row.name == "api-secret" and len(read.values[row.name].encode()) < LONG_SECRET:
        do = f"works; in production let it have {LONG_SECRET} characters or more"
        return CheckRow(name, "ok", f"set, short, not shown ({origin})", do)
    shown = f"{_shown(row, read.values[row.name])} ({origin})"
    return CheckRow(name, "ok", shown, is_default=origin == "default")


def _text_and_advice(row: Setting, problem: str) -> tuple[str, str]:
    """The two columns of a problem.  As one line it ends with the advice."""
    text, separator, advice = problem.partition("; set it by ")
    if separator:
        return text, f"set it by {advice}"
    return problem.removesuffix(f" (set by {row.how()})"), f"set it by {row.how()}"


def _shown(row: Setting, value: Any) -> str:
    if value is None or value == "" or value == ():
        return "off" if row.name == "http" else row.default_text or "none"
    if row.hidden:
        return "set, not shown"
    if isinstance(value, bool):
        return "on" if value else "off"
    if row.metavar in _UNITS and isinstance(value, int | float):
        return _in_units(value, _UNITS[row.metavar])
    return harmless(plain(value))


_UNITS: Final[Mapping[str, Sequence[tuple[str, int]]]] = {
    "TIME": (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)),
    "SIZE": (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3), ("B", 1)),
}


def _in_units(value: float, units: Sequence[tuple[str, int]]) -> str:
    """The value as a user gives it: in the largest unit of which it is a multiple."""
    for unit, one in units:
        if value and value % one == 0:
            return f"{value / one:g}{unit}"
    return f"{value:g}{units[-1][0]}"


# ---------------------------------------------------------------- this machine


def _machine(read: UncheckedSettings) -> list[CheckRow]:
    return [_open_files(), _data_dir(read), _store(read), check_speech(read), _http_port(read)]


def _open_files() -> CheckRow:
    limit = machine.descriptor_limit()
    rooms = machine.rooms_for_descriptors(limit)
    detail = f"{limit}, enough for {rooms} rooms"
    if rooms < FEW_ROOMS:
        needed = machine.descriptors_for_rooms(FEW_ROOMS)
        return CheckRow(OPEN_FILES, "failed", detail, f"raise it: ulimit -n {needed} or more")
    return CheckRow(OPEN_FILES, "ok", detail)


def _data_dir(read: UncheckedSettings) -> CheckRow:
    name, folder = "data directory", read.values.get("data-dir")
    if folder is None:
        return _not_tried(name, "--data-dir")
    try:
        machine.make_writable(folder)
    except OSError as error:
        return _unwritable(name, folder, error)
    free = shutil.disk_usage(folder).free
    detail = f"{harmless(str(folder))} is writable, {free >> 20} MiB free"
    if free < FREE_SPACE:
        return CheckRow(name, "failed", detail, f"make room: at least {FREE_SPACE >> 20} MiB")
    return CheckRow(name, "ok", detail)


def _unwritable(name: str, folder: Path, error: OSError) -> CheckRow:
    if isinstance(error, machine.NoSharedMemory):
        detail = f"{harmless(str(folder))} has no shared memory for SQLite: {error.strerror}"
        return CheckRow(name, "failed", detail, f"name a local disk by {BY_NAME['data-dir'].how()}")
    detail = f"{harmless(str(folder))} cannot be written to: {error.strerror}"
    return CheckRow(name, "failed", detail, f"name another by {BY_NAME['data-dir'].how()}")


def _store(read: UncheckedSettings) -> CheckRow:
    """Make a database with SQLite's write-ahead log there: some file systems cannot do it."""
    name, folder = "store", read.values.get("data-dir")
    if "database-url" in read.problems:
        return _not_tried(name, "--database-url")
    if read.values["database-url"] is not None:
        return check_database(name, read.values["database-url"])
    if folder is None:
        return _not_tried(name, "--data-dir")
    try:
        with tempfile.TemporaryDirectory(prefix="check-", dir=folder) as temporary:
            open_for_writing(Path(temporary) / FILE).close()
    except OSError as error:
        return _unwritable(name, folder, error)
    except (sqlite3.Error, ArchiveTrouble) as error:
        detail = f"SQLite cannot keep a database there: {harmless(str(error))}"
        return CheckRow(name, "failed", detail, f"name a local disk by {BY_NAME['data-dir'].how()}")
    return _stored_sessions(name, folder)


def _stored_sessions(name: str, folder: Path) -> CheckRow:
    """The sessions of earlier runs can be read."""
    detail, elsewhere = f"SQLite {sqlite3.sqlite_version} writes there", BY_NAME["data-dir"].how()
    try:
        with open_sessions(StoreAddress(folder)) as reader:
            damage, count = reader.damage(), reader.count()
    except NoStore:
        return CheckRow(name, "ok", detail)
    except (StoreRefused, ArchiveTrouble) as error:
        return CheckRow(name, "failed", str(error), f"name another directory by {elsewhere}")
    if damage is not None:
        detail = f"{harmless(str(folder / FILE))} is damaged: {harmless(damage)}"
        return CheckRow(name, "failed", detail, "start sets it aside and begins a new one")
    detail = f"{detail}, {count} sessions are kept"
    worker = lock_owner(folder)
    if worker is not None:
        return CheckRow(name, "ok", f"{detail}, a worker runs (process {worker})", "one is enough")
    return CheckRow(name, "ok", detail)


def _http_port(read: UncheckedSettings) -> CheckRow:
    name = "HTTP port"
    if "http" in read.problems:
        return _not_tried(name, "--http")
    address: HttpAddress | None = read.values["http"]
    if address is None:
        return CheckRow(name, "ok", "off")
    problem = machine.port_problem(address.host, address.port)
    worker = _running_worker(read)
    if problem is not None and worker is not None:
        process, instance = worker
        answer = ask_registration(address, instance)
        if not answer.startswith(UNKNOWN):
            detail = f"{address} is that of the worker that runs (process {process}): {answer}"
            return CheckRow(name, "ok", detail)
    if problem is None:
        return CheckRow(name, "ok", f"{address} is free")
    do = f"stop what listens there, or set another by {BY_NAME['http'].how()}"
    return CheckRow(name, "failed", f"{address}: {problem}", do)


def _running_worker(read: UncheckedSettings) -> tuple[str, str] | None:
    """The process and the id of the worker in the data directory; None where none runs."""
    folder = read.values.get("data-dir")
    process = None if folder is None else lock_owner(folder)
    if folder is None or process is None:
        return None
    return process, read.values.get("worker-name") or instance_of(folder)


def _webhooks(read: UncheckedSettings, port: CheckRow) -> WebhookSource | CheckRow:
    """How to learn whether LiveKit's webhooks arrive, or why nobody can."""
    address: HttpAddress | None = read.values.get("http")
    if address is None or not address.port:
        what = "--http is off" if address is None else "--http has no fixed port"
        return CheckRow(WEBHOOKS, "left out", f"cannot arrive: {what}")
    if port.status == "failed":
        return _not_tried(WEBHOOKS, f"'{port.name}'")
    return WebhookSource(
        address,
        ApiKey(read.values["api-key"], read.values["api-secret"]),
        worker_runs="is that of the worker" in port.detail,
        token=read.values.get("http-token"),
    )


def _not_tried(name: str, first: str) -> CheckRow:
    return CheckRow(name, "skipped", f"not tried: fix {first} first")


# ---------------------------------------------------------------- the server


@frozen
class _Silence:
    """Settings of the log during a check.  Nothing is logged: the results have the errors."""

    log_format: str = "text"
    log_level: str = "info"
    log_payloads: bool = False
    secrets: tuple[str, ...] = ()


def _server(
    read: UncheckedSettings,
    announce: Callable[[str], None] | None,
    port: CheckRow,
    *,
    media: bool,
) -> list[CheckRow]:
    missing = [name for name in _SERVER_SETTINGS if name in read.problems]
    if missing:
        return [_not_tried(name, f"--{missing[0]}") for name in (*PROBES, WEBHOOKS)]
    if machine.descriptor_limit() < machine.LEAST_DESCRIPTORS:
        return [_not_tried(name, f"'{OPEN_FILES}'") for name in (*PROBES, WEBHOOKS)]
    webhooks = _webhooks(read, port)
    first = next(iter(read.problems), "")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    configure_logging(_Silence(), fd=nowhere)
    check = ServerCheck(
        Endpoint.parse(read.values["url"]),
        ApiKey(read.values["api-key"], read.values["api-secret"]),
        read.values.get("agent-name") or "",
        announce=announce,
        no_room=f"not tried: fix --{first} first" if media else NO_MEDIA,
        proxies=drop_proxies(),
        webhooks=None if isinstance(webhooks, CheckRow) else webhooks,
    )

    async def run() -> list[CheckRow]:
        async with trio_asyncio.open_loop():
            return await check.run()

    with Console(stderr=True).status(f"trying {harmless(read.values['url'])}"):
        rows = trio.run(run)
    return [*rows, webhooks] if isinstance(webhooks, CheckRow) else rows


# ---------------------------------------------------------------- output

_MARKS: Final = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "skipped": ("-", "dim"),
    "left out": ("-", "dim"),
}
_PLAIN_WIDTH: Final = 200


_FIRST: Final = ("failed", "skipped", "ok", "left out")
"""The order of a table: what is to be done comes first."""


def _print_table(results: list[CheckRow], *, every: bool) -> None:
    shown = [one for one in results if every or not one.is_default]
    shown.sort(key=lambda one: (_FIRST.index(one.status), not one.do))
    # In a file or a pipe the table is so wide that most lines are whole, for grep.
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _PLAIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "tested", "found", "to do"):
        table.add_column(heading, overflow="fold")
    for result in shown:
        word, style = _MARKS[result.status]
        table.add_row(
            Text(word, style), Text(result.name), Text(_safe(result.detail)), Text(_safe(result.do))
        )
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    sys.stdout.write("".join(f"{line if terminal else line.rstrip()}\n" for line in lines))
    failed = sum(result.status == "failed" for result in results)
    text = f"{failed} of {len(results)} failed" if failed else "All hold."
    console.print(Text(text, "bold red" if failed else "bold green"))
    hidden = len(results) - len(shown)
    if hidden:
        console.print(Text(f"{hidden} settings have their default: --all shows them", "dim"))


def _print_json(results: list[CheckRow]) -> None:
    rows = [
        {"name": one.name, "status": one.status, "found": _safe(one.detail), "do": one.do}
        for one in results
    ]
    all_hold = all(map(_holds, results))
    sys.stdout.write(json.dumps({"ok": all_hold, "checks": rows}, indent=1) + "\n")


def _safe(text: str) -> str:
    return harmless(redact(text), 600)
