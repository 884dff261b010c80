"""The people who are banned, by room: `bans.json` in the data directory.

It is a file of its own because a ban outlives the session that imposed it: a room that is made anew
is another session.  It is made with the first ban.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final, final

import msgspec
import trio

from actors.acting.ban_list import BanList, BansByRoom
from actors.journal.process_ports import Announce, Clock
from actors.session.rule_state import Ban

FILE: Final = "bans.json"
WRITE_AGAIN: Final = 5.0
"""Seconds until another try, where the file cannot be written."""

_decode: Final = msgspec.json.Decoder(dict[str, dict[str, Ban]]).decode


def rooms_with_ban(data_dir: Path, names: Collection[str]) -> list[str]:
    """Rooms in which one of these identities is banned."""
    return [room for room, bans in _read(data_dir / FILE).items() if bans.keys() & set(names)]


def erase_bans(data_dir: Path, names: Collection[str]) -> None:
    """Take these identities out of the file.  No worker may run: it would write them again."""
    path = data_dir / FILE
    rooms = {
        room: {who: ban for who, ban in bans.items() if who not in names}
        for room, bans in _read(path).items()
    }
    _write(path, msgspec.json.encode({room: bans for room, bans in rooms.items() if bans}))


def _read(path: Path) -> BansByRoom:
    try:
        return _decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


@final
class BanFile:
    """The list of bans, and the service that stores it."""

    def __init__(self, data_dir: Path, *, clock: Clock, announce: Announce) -> None:
        self._path = data_dir / FILE
        self.clock = clock
        self._announce = announce
        self._changed = trio.Event()
        self.bans = BanList(self._load(), self._note_change)
        self.bans.forget_past(clock())

    def _load(self) -> BansByRoom:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            # Nobody is banned for want of a file; what is unreadable is written anew.
            self._announce("bans_unreadable", file=str(self._path), error=str(error))
            return {}

    def _note_change(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Store each change."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            self.bans.forget_past(self.clock())
            body = msgspec.json.encode(self.bans.bans)
            try:
                await trio.to_thread.run_sync(_write, self._path, body)
            except OSError as error:
                self._announce("bans_not_written", file=str(self._path), error=str(error))
                self._changed.set()
                await trio.sleep(WRITE_AGAIN)


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
