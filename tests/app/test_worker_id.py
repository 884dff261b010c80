"""A worker's id: the same after a restart, never that of another worker."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.app.worker_id import FILE, WorkerId, instance_of, worker_id
from bridge.config.settings import load
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History

KEYS = {"api-key": "devkey", "api-secret": "a-long-secret-word"}


def who(data_dir: Path, **flags: str) -> WorkerId:
    given = {name.replace("_", "-"): value for name, value in flags.items()}
    return worker_id(load({**KEYS, "data-dir": str(data_dir), **given}, {}))


def test_the_id_stays_with_the_directory_and_is_random(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    first = instance_of(here)
    assert instance_of(here) == first
    assert instance_of(there) != first
    here.rename(tmp_path / "moved")
    assert instance_of(tmp_path / "moved") == first
    assert stat.S_IMODE((tmp_path / "moved" / FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "moved").iterdir()] == [FILE]


async def test_a_copy_of_the_directory_is_another_worker_that_knows_its_original(
    tmp_path: Path,
) -> None:
    here, copy = tmp_path / "here", tmp_path / "copy"
    first = who(here)
    assert first.former == frozenset()
    async with open_store(here, instance=first.name) as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
    shutil.copytree(here, copy)
    second = who(copy)
    assert second.name != first.name
    assert second.former == {first.name}
    assert who(copy) == second
    assert who(here) == first


async def test_a_name_that_is_given_wins_and_the_one_before_is_known(tmp_path: Path) -> None:
    async with open_store(tmp_path, instance="of-a-version-before") as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
    assert who(tmp_path, worker_name="w-1") == WorkerId("w-1", frozenset({"of-a-version-before"}))
    assert not (tmp_path / FILE).exists()
    assert who(tmp_path, worker_name="of-a-version-before").former == frozenset()
    assert who(tmp_path).former == {"of-a-version-before"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("0123456789ab\n"),
        lambda path: path.write_text("0123456789ab 1\n"),
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff" * 1000),
        lambda path: path.symlink_to("/etc/hostname"),
        os.mkfifo,
    ],
)
def test_what_is_no_id_is_replaced(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    spoil(tmp_path / FILE)
    found = instance_of(tmp_path)
    assert found != "0123456789ab"
    assert instance_of(tmp_path) == found


def test_a_directory_that_keeps_nothing_gives_an_id_all_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    first, second = instance_of(tmp_path), instance_of(tmp_path)
    assert len({first, second}) == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
