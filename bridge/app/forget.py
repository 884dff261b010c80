"""`room-actors forget`: one person erased from everything that is stored.

The sessions and the texts of conversations in a data directory or in a database, and in the data
directory the webhooks that wait, the bans and the recordings of agents.  Files that were set aside
(damaged stores, stores that a backup replaced) are not changed: they are named.  At the end every
file is searched for the bytes of the identity, so that the report says what is there and not what
should be.
"""

from __future__ import annotations

import mmap
import secrets
from pathlib import Path
from stat import S_ISREG
from typing import Final

from attrs import define, field

from actors.session.erasure import Erasure
from bridge.config.store_address import StoreAddress
from bridge.outlets.outbox_erasure import erase_deliveries, rewrite_deliveries
from bridge.store.ban_file import erase_bans, rooms_with_ban
from bridge.store.directory_lock import lock_owner
from bridge.store.local_journal import journal_folder
from bridge.store.person_erasure import ErasureReport, Progress
from bridge.store.schema import FILE
from bridge.store.sqlite_erasure import (
    erase_from_directory,
    erase_from_journal,
    names_in_directory,
)
from bridge.store.text_file import erase_person_texts

_SET_ASIDE: Final = (".corrupt-", ".replaced-", ".part-")
_PASSED_OVER: Final = ("lock",)


@define
class ForgetReport:
    """What `forget` did, and what it could not do."""

    store: ErasureReport
    texts: int = 0
    """Texts of conversations that were dropped."""
    recordings: int = 0
    """Recordings of agents that were removed."""
    webhooks: int = 0
    """Deliveries that were rewritten."""
    bans: list[str] = field(factory=list[str])
    """Rooms in which a ban was lifted."""
    bans_left: list[str] = field(factory=list[str])
    """Rooms whose ban the running worker would write again."""
    set_aside: list[str] = field(factory=list[str])
    """Files that were not changed."""
    files_with_bytes: list[str] = field(factory=list[str])
    """Files in which the bytes of an identity still are, perhaps as a part of another text."""

    @property
    def nothing(self) -> bool:
        """True if nobody of this name was there."""
        return not (
            self.store.sessions
            or self.store.left
            or self.texts
            or self.recordings
            or self.webhooks
            or self.bans
            or self.bans_left
            or self.files_with_bytes
        )

    @property
    def whole(self) -> bool:
        """True if nothing is left."""
        left = (self.store.left, self.store.unreadable, self.bans_left, self.set_aside)
        return not any(left) and not self.files_with_bytes


def forget(store: StoreAddress, person: str, progress: Progress) -> ForgetReport:
    """Erase the person with this identity or person key.

    Raises `NoStore`, `StoreRefused`, `ArchiveTrouble`, `TextTrouble` and `OutboxTrouble`.
    """
    if store.database_url is None:
        names = names_in_directory(store.data_dir, person)
        report = ForgetReport(erase_from_directory(store.data_dir, names, progress))
        progress("texts of conversations")
        report.texts = erase_person_texts(store.data_dir, names, report.store.room_sids)
    else:
        from bridge.app.shared_bans import erase_shared_bans
        from bridge.outlets.database_outbox import changing_database_outbox
        from bridge.postgres.postgres_erasure import erase_from_database, names_in_database
        from bridge.postgres.postgres_text_reader import erase_person_texts_in_database

        names = names_in_database(store.database_url, person)
        progress("webhooks that wait")
        with changing_database_outbox(store.database_url) as db:
            webhooks = rewrite_deliveries(db, names, _one_pseudonym(names))
            bans, bans_left = erase_shared_bans(db, names)
        report = ForgetReport(erase_from_database(store.database_url, names, progress))
        progress("texts of conversations")
        report.texts = erase_person_texts_in_database(
            store.database_url, names, report.store.room_sids
        )
        report.webhooks, report.bans, report.bans_left = webhooks, bans, bans_left
    if store.data_dir.is_dir():
        from bridge.uploads.audio_files import erase_audio
        from bridge.uploads.span_files import erase_spans

        erase_spans(store.data_dir, frozenset(report.store.room_sids))
        report.recordings = erase_audio(store.data_dir, frozenset(report.store.room_sids))
        _erase_files(store.data_dir, names, report, progress)
    return report


def _one_pseudonym(names: tuple[str, ...]) -> Erasure:
    return Erasure(dict.fromkeys(names, f"erased-{secrets.token_hex(6)}"))


def _erase_files(
    data_dir: Path, names: tuple[str, ...], report: ForgetReport, progress: Progress
) -> None:
    """Erase webhooks that wait, and bans; then search every file."""
    progress("webhooks that wait")
    report.webhooks += erase_deliveries(data_dir, names, _one_pseudonym(names))
    banned = rooms_with_ban(data_dir, names)
    if banned and lock_owner(data_dir) is not None:
        report.bans_left = sorted({*report.bans_left, *banned})
    elif banned:
        erase_bans(data_dir, names)
        report.bans = sorted({*report.bans, *banned})
    _erase_local_journal(journal_folder(data_dir), data_dir, names, report)
    progress("searching the directory")
    for path in sorted(data_dir.iterdir()):
        if any(mark in path.name for mark in _SET_ASIDE):
            report.set_aside.append(path.name)
        elif path.name not in _PASSED_OVER and _has_bytes(path, names):
            report.files_with_bytes.append(path.name)
    if report.store.left:
        # They are there because of these sessions, which are named.
        of_store = (FILE, f"{FILE}-wal", f"{FILE}-shm")
        report.files_with_bytes = [n for n in report.files_with_bytes if n not in of_store]
    if report.bans_left:
        report.files_with_bytes = [n for n in report.files_with_bytes if n != "bans.json"]


def _erase_local_journal(
    folder: Path, data_dir: Path, names: tuple[str, ...], report: ForgetReport
) -> None:
    """Of a worker with a database.  Beside a running worker, its file is only searched."""
    if not (folder / FILE).exists():
        return
    if lock_owner(data_dir) is None:
        erase_from_journal(folder, names)
    for path in sorted(folder.iterdir()):
        if _has_bytes(path, names):
            report.files_with_bytes.append(f"{folder.name}/{path.name}")


def _has_bytes(path: Path, names: tuple[str, ...]) -> bool:
    try:
        if not S_ISREG(path.lstat().st_mode) or not path.stat().st_size:
            return False
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(data.find(name.encode()) >= 0 for name in names)
    except (OSError, ValueError):
        return False
