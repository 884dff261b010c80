"""`bin/release`: the parts that need neither network nor a clean checkout."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from bridge import __version__

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture
def release() -> Any:
    spec = importlib.util.spec_from_file_location("release", ROOT / "bin" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *needs: str, **metadata: Any) -> dict[str, Any]:
    return {
        "download_info": {"archive_info": {"hashes": {"sha256": f"{len(name):064x}"}}},
        "metadata": {"name": name, "version": "1.0", "requires_dist": needs, **metadata},
    }


REPORT: Final = {
    "install": [
        package("Trio_Web.Socket", "trio (>=0.35)", 'idna; extra == "x"', license="MIT"),
        package("trio", "attrs>=23", license_expression="MIT OR Apache-2.0"),
        package("plain", license="a\nlong\ntext", classifier=["License :: OSI Approved :: ISC"]),
        package("bare"),
    ]
}


def test_the_sbom_has_each_package_of_the_lock_with_hash_licence_and_needs(release: Any) -> None:
    bom = release.sbom(REPORT, "0.1.0", datetime(2026, 1, 2, tzinfo=UTC))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["timestamp"] == "2026-01-02T00:00:00Z"
    parts = {one["name"]: one for one in bom["components"]}
    assert [*parts] == ["trio-web-socket", "trio", "plain", "bare"]
    assert parts["trio"]["purl"] == "pkg:pypi/trio@1.0"
    assert parts["trio"]["hashes"] == [{"alg": "SHA-256", "content": f"{4:064x}"}]
    assert parts["trio"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert parts["plain"]["licenses"] == [{"license": {"name": "ISC"}}]
    assert "licenses" not in parts["bare"]
    needs = {one["ref"]: one["dependsOn"] for one in bom["dependencies"]}
    assert needs["pkg:pypi/trio-web-socket@1.0"] == ["pkg:pypi/trio@1.0"]
    assert len(needs["pkg:pypi/room-actors@0.1.0"]) == 4
    assert bom == release.sbom(REPORT, "0.1.0", datetime(2026, 1, 2, tzinfo=UTC))


def test_the_notes_are_the_section_of_the_version(release: Any) -> None:
    sections = ("# Changelog", "## Unreleased", "new", "## 0.2.0 (2026-01-01)", "### A", "* a")
    log = "\n\n".join((*sections, "## 0.1.0", "old\n"))
    assert release.notes_of(log, "0.2.0") == "# room-actors 0.2.0\n\n### A\n\n* a"
    assert release.notes_of(log, "0.3.0").endswith("\n\nnew")
    with pytest.raises(release.ReleaseError, match=r"says nothing of 0\.3\.0"):
        release.notes_of("# Changelog\n", "0.3.0")


def test_the_version_and_the_notes_of_this_checkout_are_there(release: Any) -> None:
    assert release.version_of((ROOT / "bridge" / "__init__.py").read_text()) == __version__
    assert release.notes_of((ROOT / "CHANGELOG.md").read_text(), __version__)


def test_checksums_are_those_of_sha256sum(release: Any, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    (tmp_path / "SHA256SUMS").write_text(release.checksums(tmp_path))
    command = ["sha256sum", "--check", "SHA256SUMS"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert ran.stdout == b"a: OK\nb: OK\n"


def test_a_folder_with_something_in_it_is_left_alone(
    release: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").touch()
    assert release.main([str(tmp_path)]) == 1
    assert "has something in it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_report_that_pip_writes_has_what_the_sbom_reads(release: Any) -> None:
    """The shape of pip's report (version 1), shortened."""
    report = json.loads(
        '{"version": "1", "install": [{"download_info": {"url": "file:///w", "archive_info": '
        '{"hash": "sha256=ab", "hashes": {"sha256": "ab"}}}, "requested": true, "metadata": '
        '{"metadata_version": "2.4", "name": "attrs", "version": "26.1.0"}}]}'
    )
    (part,) = release.sbom(report, "1", datetime(2026, 1, 2, tzinfo=UTC))["components"]
    assert (part["bom-ref"], part["hashes"][0]["content"]) == ("pkg:pypi/attrs@26.1.0", "ab")
