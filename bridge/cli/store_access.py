"""The store of a worker, opened for the commands that only read it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, SessionReader, StoreRefused
from bridge.app.session_source import open_journals, open_sessions
from bridge.cli.command import Flags
from bridge.config.settings import BY_NAME, SettingsError, read_settings
from bridge.config.store_address import StoreAddress, store_address_of

if TYPE_CHECKING:
    from bridge.cli.api_reader import ApiReader
    from bridge.store.journal_reader import JournalReader

T = TypeVar("T")


class StoreUnavailable(Exception):
    """There is nothing to show.  The text is one line; the exit code is 1."""


@contextmanager
def open_store_of(flags: Flags) -> Generator[SessionReader, None, None]:
    """The store of the data directory; with `--api` that of another machine's worker."""
    if "api" in flags:
        with api_of(flags) as reader:
            yield reader
        return
    if "token" in flags:
        raise SettingsError("--token is for --api URL")
    with _open(flags, open_sessions) as reader:
        yield reader


@contextmanager
def api_of(flags: Flags) -> Generator[ApiReader, None, None]:
    """The API at `--api`, with `--token`, or the token of the settings."""
    from bridge.cli.api_connection import ApiConnection
    from bridge.cli.api_reader import ApiReader

    _prepare_output(flags)
    for name in ("data-dir", "database-url"):
        if name in flags:
            raise SettingsError(f"--api and --{name}: give one of them")
    token = flags.get("token")
    if token is None:
        read = read_settings(flags)
        if "http-token" in read.problems:
            raise SettingsError(read.problems["http-token"])
        token = read.values["http-token"]
    reader = ApiReader(ApiConnection(str(flags["api"]), None if token is None else str(token)))
    try:
        reader.require_ours()
        yield reader
    except ArchiveTrouble as error:
        raise StoreUnavailable(str(error)) from None


def _prepare_output(flags: Flags) -> None:
    if "json" in flags and "csv" in flags:
        raise SettingsError("--json and --csv: give one of them")
    # Names may have characters that the terminal's encoding lacks.
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def open_journals_of(flags: Flags) -> Generator[JournalReader, None, None]:
    with _open(flags, open_journals) as reader:
        yield reader


@contextmanager
def _open(
    flags: Flags, open_reader: Callable[[StoreAddress], AbstractContextManager[T]]
) -> Generator[T, None, None]:
    _prepare_output(flags)
    store = store_address_of(flags)
    try:
        with open_reader(store) as reader:
            yield reader
    except NoStore:
        raise StoreUnavailable(no_store(store)) from None
    except (StoreRefused, ArchiveTrouble) as error:
        raise StoreUnavailable(str(error)) from None


def no_store(store: StoreAddress) -> str:
    """The error where no session was ever stored."""
    if store.database_url is not None:
        row = BY_NAME["database-url"]
        return f"no sessions are kept in {store}: name another by {row.how()}, or start a worker"
    row = BY_NAME["data-dir"]
    return (
        f"no sessions are kept in {store}: name the directory of the worker by {row.how()}, "
        "or start a worker"
    )
