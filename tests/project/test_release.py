"""`bin/release`: the parts that need neither network nor a clean checkout."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
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
    sys.modules["release"] = module  # `dataclass` looks there.
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, name: str, *headers: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        text = "\n".join((f"Name: {name}", "Version: 1.0", *headers, "", "About: it"))
        archive.writestr(f"{name}-1.0.dist-info/METADATA", text)
        archive.writestr(f"{name}/vendored-2.0.dist-info/METADATA", "Name: another")
    return path


def test_the_sbom_has_each_package_of_the_lock_with_hash_licence_and_needs(
    release: Any, tmp_path: Path
) -> None:
    needs = ("Requires-Dist: trio (>=0.35)", 'Requires-Dist: idna; extra == "x"')
    paths = [
        wheel(tmp_path, "Trio_Web.Socket", *needs, "License: MIT"),
        wheel(tmp_path, "trio", "License-Expression: MIT OR Apache-2.0"),
        wheel(tmp_path, "plain", "License: a", "  long text", "Classifier: License :: OSI :: ISC"),
        wheel(tmp_path, "bare"),
    ]
    packages = [release.Package.of(path) for path in paths]
    bom = release.sbom(packages, "0.1.0", datetime(2026, 1, 2, tzinfo=UTC))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["timestamp"] == "2026-01-02T00:00:00Z"
    parts = {one["name"]: one for one in bom["components"]}
    assert [*parts] == ["trio-web-socket", "trio", "plain", "bare"]
    assert parts["trio"]["purl"] == "pkg:pypi/trio@1.0"
    digest = hashlib.sha256(paths[1].read_bytes()).hexdigest()
    assert parts["trio"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert parts["trio-web-socket"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert parts["trio"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert parts["plain"]["licenses"] == [{"license": {"name": "ISC"}}]
    assert "licenses" not in parts["bare"]
    needed = {one["ref"]: one["dependsOn"] for one in bom["dependencies"]}
    assert needed["pkg:pypi/trio-web-socket@1.0"] == ["pkg:pypi/trio@1.0"]
    assert len(needed["pkg:pypi/room-actors@0.1.0"]) == 4
    assert bom == release.sbom(packages, "0.1.0", datetime(2026, 1, 2, tzinfo=UTC))


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
