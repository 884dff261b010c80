"""`backup` and `restore`: the store in one file, and back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME, SettingsError
from bridge.config.store_address import StoreAddress, file_store_of

_SETTINGS: Final = (BY_NAME["data-dir"],)
PG_DUMP: Final = (
    "PostgreSQL's own program copies them, also while workers write: "
    "pg_dump --format=custom --schema=room_actors --file=FILE DATABASE_URL"
)
PG_RESTORE: Final = (
    "PostgreSQL's own program puts them back, into a database without our tables while no worker "
    "runs: pg_restore --single-transaction --dbname=DATABASE_URL FILE"
)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file of the backup")


def _add_restore_flags(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    parser.add_argument(
        "--replace",
        action="store_true",
        help="rename a store that is there already, and keep it",
    )


def _file_of(flags: Flags, command: str) -> Path:
    if "file" not in flags or flags["file"] is None:
        raise SettingsError(f"{command} needs the name of a file: room-actors {command} FILE")
    return Path(str(flags["file"])).expanduser()


def _telling(run: Callable[[Flags], None]) -> Callable[[Flags], int]:
    def command(flags: Flags) -> int:
        from actors.journal.archive import ArchiveTrouble
        from actors.journal.session_reader import NoStore, StoreRefused

        try:
            run(flags)
        except (NoStore, StoreRefused, ArchiveTrouble) as error:
            complain(str(error))
            return FAILED
        return 0

    return command


@_telling
def _backup(flags: Flags) -> None:
    from bridge.app.backup import write_backup
    from bridge.cli.store_access import no_store
    from bridge.output.progress import ProgressLine

    file, directory = _file_of(flags, "backup"), file_store_of(flags, PG_DUMP)
    with ProgressLine(sys.stderr) as progress:
        from actors.journal.session_reader import NoStore

        try:
            content = write_backup(directory, file, progress)
        except NoStore:
            raise NoStore(no_store(StoreAddress(directory))) from None
    sys.stdout.write(
        f"{file}: {content.sessions} sessions, {content.webhooks} webhooks that wait, "
        f"{content.size / 1e6:.1f} MB\n"
    )


@_telling
def _restore(flags: Flags) -> None:
    from bridge.app.backup import restore_backup
    from bridge.output.progress import ProgressLine

    file, directory = _file_of(flags, "restore"), file_store_of(flags, PG_RESTORE)
    with ProgressLine(sys.stderr) as progress:
        content, moved = restore_backup(file, directory, progress, replace="replace" in flags)
    for path in moved:
        sys.stdout.write(f"the file that was there is now {path}\n")
    sys.stdout.write(
        f"{directory}: {content.sessions} sessions, {content.webhooks} webhooks that wait\n"
    )


BACKUP: Final = Command(
    "backup",
    "copy the store into one file, also while a worker writes",
    "Copies the store and the webhooks that wait into one file, also while a worker writes.\n"
    "A copy of store.db alone lacks what is in its write-ahead log.",
    _backup,
    _SETTINGS,
    "FILE",
    _add_file,
)
RESTORE: Final = Command(
    "restore",
    "put a backup into a data directory",
    "Puts a backup into the data directory, where no worker may run meanwhile.",
    _restore,
    _SETTINGS,
    "FILE",
    _add_restore_flags,
)
