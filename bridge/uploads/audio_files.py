"""Recordings that agents upload, as files in the data directory, with bounds of age and size.

A file is named by the room instance, the job and the milliseconds of its begin:
`RM_x.AJ_y.1795998837948.ogg`.  A recording comes into a file of
its own first and gets its name in one step, so half a recording is never there.  Everything here is
for the thread of the caller, but for `AudioUpload`, whose pieces come in the event loop.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, final

import structlog
import trio
from attrs import frozen

log = structlog.get_logger()

FOLDER: Final = "agent-audio"
"""In the data directory."""
PIECE: Final = 256 * 1024
"""Bytes that wait in memory before they are written."""
PRUNE_EVERY: Final = 60.0
STALE: Final = 3600.0
"""Seconds after which an unfinished file is left from a worker that was killed."""

_PART: Final = ".part-"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@frozen
class AudioFile:
    """One recording."""

    room_sid: str
    job_id: str
    path: Path
    size: int
    """Bytes."""
    written_at: float
    """Unix seconds."""
    started_at: float | None = None
    """Unix seconds of its begin, by the agent's clock; None where the agent did not say."""


@final
class AudioFiles:
    """The recordings of one data directory."""

    def __init__(self, data_dir: Path, *, keep: float, most_bytes: int) -> None:
        """`keep`: seconds for which a recording is kept.  `most_bytes`: of all together."""
        self._folder = data_dir / FOLDER
        self._keep = keep
        self._most_bytes = most_bytes

    def new_part(self) -> Path:
        """The path for a recording that begins to come.  Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / f"{_PART}{secrets.token_hex(8)}"

    def add(self, part: Path, room_sid: str, job_id: str, started_at: float | None = None) -> bool:
        """Give a whole recording its name; False where the ids are none.  Raises `OSError`."""
        if not (_ID.fullmatch(room_sid) and _ID.fullmatch(job_id)):
            return False
        begin = max(0, round(1000 * (started_at or 0.0)))
        earlier = list(self._folder.glob(f"{room_sid}.{job_id}.*ogg"))
        target = self._folder / f"{room_sid}.{job_id}.{begin}.ogg"
        part.replace(target)
        for one in earlier:
            if one != target:
                one.unlink(missing_ok=True)
        return True

    def find(self, room_sid: str, job_id: str) -> AudioFile | None:
        """The recording of a run; None where there is none."""
        if not (_ID.fullmatch(room_sid) and _ID.fullmatch(job_id)):
            return None
        paths = sorted(self._folder.glob(f"{room_sid}.{job_id}.*ogg"))
        return _audio_file(paths[-1]) if paths else None

    def prune(self, now: float) -> int:
        """Remove what is older than `keep`, and the oldest beyond `most_bytes`.  Gives the number
        of files.  `now`: Unix seconds."""
        with suppress(OSError):
            for part in self._folder.glob(f"{_PART}*"):
                if now - part.stat().st_mtime > STALE:
                    part.unlink(missing_ok=True)
        return prune_files(self._folder, "*.*.*.ogg", now, self._keep, self._most_bytes)


def prune_files(folder: Path, pattern: str, now: float, keep: float, most_bytes: int) -> int:
    """Remove the files that were written more than `keep` seconds before `now`, and the oldest
    beyond `most_bytes`.  Gives their number."""
    removed, left = 0, most_bytes
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob(pattern):
        with suppress(OSError):
            stat = path.stat()
            files.append((stat.st_mtime, stat.st_size, path))
    for written_at, size, path in sorted(files, reverse=True):
        left -= size
        if left < 0 or now - written_at > keep:
            with suppress(OSError):  # It is tried again a minute later.
                path.unlink()
                removed += 1
    return removed


def erase_files(folder: Path, pattern: str, room_sids: frozenset[str]) -> int:
    """Remove the files of these room instances, by the first part of their names.  Gives their
    number."""
    erased = 0
    for path in folder.glob(pattern):
        if path.name.partition(".")[0] in room_sids:
            path.unlink(missing_ok=True)
            erased += 1
    return erased


async def prune_for_ever(prune: Callable[[float], int], clock: Callable[[], float]) -> None:
    """The service that removes old files."""
    while True:
        await trio.to_thread.run_sync(prune, clock())
        await trio.sleep(PRUNE_EVERY)


def erase_audio(data_dir: Path, room_sids: frozenset[str]) -> int:
    """Remove the recordings of these room instances.  Gives the number of files."""
    return erase_files(data_dir / FOLDER, "*.*.*.ogg", room_sids)


def _audio_file(path: Path) -> AudioFile | None:
    names = path.name.split(".")
    if len(names) != 4 or names[3] != "ogg" or not names[2].isdigit():
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    begin = int(names[2]) / 1000 or None
    return AudioFile(names[0], names[1], path, stat.st_size, stat.st_mtime, begin)


@final
class AudioUpload:
    """One recording while it comes.  A piece that cannot be written is dropped.

    `readable` says of a report's header to which run the recording belongs: room SID, job and
    begin; None where it must not be kept.
    """

    def __init__(
        self,
        files: AudioFiles,
        readable: Callable[[bytes], tuple[str, str, float | None] | None],
    ) -> None:
        self._files = files
        self._readable = readable
        self._waiting = bytearray()
        self._part: Path | None = None
        self._failed = False
        self._over = False

    def write(self, piece: bytes) -> None:
        """Take a piece.  `flush` follows, before much more of it comes."""
        if not self._failed:
            self._waiting += piece

    async def flush(self) -> None:
        """Write what waits, where it is enough to be worth it."""
        if len(self._waiting) >= PIECE:
            await self._write()

    async def finish(self, header: bytes) -> None:
        """The report came whole, with this header."""
        await self._write()
        if self._part is not None and not self._failed:
            self._failed = not await trio.to_thread.run_sync(self._add, header)
        if not self._failed:
            self._over = True

    async def discard(self) -> None:
        """Leave nothing of a recording that did not come whole."""
        if not self._over and (part := self._part) is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, part)

    async def _write(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        if data and not self._failed:
            try:
                await trio.to_thread.run_sync(self._append, data)
            except OSError as error:
                self._failed = True
                log.warning("agent_audio_not_written", error=error.strerror or "it failed")

    def _append(self, data: bytes) -> None:
        if self._part is None:
            self._part = self._files.new_part()
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)

    def _add(self, header: bytes) -> bool:
        run = self._readable(header)
        try:
            return run is not None and self._part is not None and self._files.add(self._part, *run)
        except OSError as error:
            log.warning("agent_audio_not_written", error=error.strerror or "it failed")
            return False


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink(missing_ok=True)
