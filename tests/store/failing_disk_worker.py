"""A worker whose disk fails: it prints the trouble, and goes on when the disk is mended.

It is a process of its own, because these faults hold for a whole process.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import trio

from actors.journal.archive import ArchiveTrouble
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History

NOBODY = 65534


class FileLimit:
    """No file may grow, as on a disk that fails or where a quota is used up."""

    def __init__(self, _data_dir: Path) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def begin(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, self._before[1]))

    def mend(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class FullDisk:
    """The directory is on a small disk of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._ballast = data_dir / "ballast"

    def begin(self) -> None:
        self._ballast.write_bytes(bytes(1_500_000))

    def mend(self) -> None:
        self._ballast.unlink()


class ReadOnly:
    """The directory and its files cannot be written to."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def begin(self) -> None:
        self._set(0o500, 0o400)
        if not os.getuid():
            for path in (self._data_dir, *self._data_dir.iterdir()):
                os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)

    def mend(self) -> None:
        self._set(0o700, 0o600)

    def _set(self, directory: int, files: int) -> None:
        self._data_dir.chmod(0o700)
        for path in self._data_dir.iterdir():
            path.chmod(files)
        self._data_dir.chmod(directory)


async def main(data_dir: Path, condition: FileLimit | FullDisk | ReadOnly) -> None:
    history = History()
    async with open_store(data_dir, instance="w") as archive:
        journal = history.begin()
        await history.write_to(archive)
    condition.begin()
    async with open_store(data_dir, instance="w") as archive:
        while True:
            history.talk(journal, 500)
            batch = history.batch()
            try:
                await archive.write(batch)
            except ArchiveTrouble as trouble:
                print(trouble)  # noqa: T201
                break
        condition.mend()
        await archive.write(batch)
    async with open_store(data_dir, instance="w") as archive:
        (stored,) = (await archive.load()).sessions
        assert (stored.seq, stored.state) == (journal.seq, journal.state)
        print("all stored")  # noqa: T201


if __name__ == "__main__":
    where = Path(sys.argv[1])
    trio.run(main, where, globals()[sys.argv[2]](where))
