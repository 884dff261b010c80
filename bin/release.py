"""Wheel, sdist, SBOM, checksums and release notes in one folder.  Uploads nothing.

The wheel and the sdist of the actor library (`library/`) are made too.

    release.py [FOLDER]

Standard library only.  The tools that build come from requirements-build.lock with their hashes,
into an environment that is removed again.  Times in the files are that of the commit, so the same
commit makes the same wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = "room-actors"
LOCKED = ("--require-hashes", "--no-deps", "--only-binary=:all:")
METADATA = r"[^/]+\.dist-info/METADATA"
QUIET = ("--quiet", "--disable-pip-version-check", "--no-input")


class ReleaseError(Exception):
    """No release can be made; the text says what to do."""


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else ROOT / "dist"
    try:
        make(folder.resolve())
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def make(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} has something in it: empty it, or name another folder")
    if git("status", "--porcelain"):
        raise ReleaseError("the checkout has changes that are not committed: commit them first")
    commit, date = git("rev-parse", "HEAD"), int(git("log", "-1", "--format=%ct"))
    version = version_of((ROOT / "bridge" / "__init__.py").read_text())
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(), version)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tools:
        python = Path(tools, "bin", "python")
        venv.create(tools, with_pip=True)
        pip = (str(python), "-I", "-m", "pip")
        run(*pip, "install", *QUIET, *LOCKED, "-r", str(ROOT / "requirements-build.lock"))
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
        command = (str(python), "-I", "-m", "hatchling", "build", "-d", str(folder))
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        run(sys.executable, "-I", str(ROOT / "library" / "build_library.py"), str(folder))
        wheels = Path(tools, "wheels")
        lock = str(ROOT / "requirements.lock")
        run(*pip, "download", *QUIET, *LOCKED, "-d", str(wheels), "-r", lock)
        packages = [Package.of(path) for path in sorted(wheels.iterdir())]
    bom = sbom(packages, version, datetime.fromtimestamp(date, UTC))
    write(folder / f"{NAME}-{version}.cdx.json", json.dumps(bom, indent=1) + "\n")
    write(folder / "RELEASE_NOTES.md", f"{notes}\n\nCommit {commit}\n")
    write(folder / "SHA256SUMS", checksums(folder))
    for path in sorted(folder.iterdir()):
        print(path)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def git(*arguments: str) -> str:
    return run("git", "-C", str(ROOT), *arguments).strip()


def run(*command: str) -> str:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"{command[0]} failed with exit code {error.returncode}") from None


def version_of(module: str) -> str:
    match = re.search(r'^__version__ = "([^"]+)"$', module, re.MULTILINE)
    if match is None:
        raise ReleaseError("bridge/__init__.py has no __version__")
    return match[1]


def notes_of(changelog: str, version: str) -> str:
    """The section of this version, else that of the changes since the last one."""
    pattern = re.compile(r"^## (\S+)[^\n]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    sections = dict(pattern.findall(changelog))
    text = sections.get(version, sections.get("Unreleased", "")).strip()
    if not text:
        raise ReleaseError(f"CHANGELOG.md says nothing of {version}: give it a section")
    return f"# {NAME} {version}\n\n{text}"


def checksums(folder: Path) -> str:
    """As `sha256sum --check` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    return "".join(lines)


@dataclass(frozen=True)
class Package:
    """What a wheel says of itself."""

    metadata: Message
    sha256: str

    @classmethod
    def of(cls, wheel: Path) -> Package:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (one for one in archive.namelist() if re.fullmatch(METADATA, one))
            text = archive.read(name).decode("utf-8", "replace")
        return cls(message_from_string(text), hashlib.sha256(wheel.read_bytes()).hexdigest())

    @property
    def name(self) -> str:
        return normal(self.metadata["Name"])

    @property
    def ref(self) -> str:
        return f"pkg:pypi/{self.name}@{self.metadata['Version']}"

    @property
    def licence(self) -> dict[str, Any] | None:
        """As its author gives it: an SPDX expression, a name, or the name of a classifier."""
        if expression := self.metadata["License-Expression"]:
            return {"expression": expression}
        name = (self.metadata["License"] or "").strip()
        if not name or "\n" in name:
            classifiers = self.metadata.get_all("Classifier", [])
            names = [one.split(" :: ")[-1] for one in classifiers if one.startswith("License ::")]
            name = names[0] if names else ""
        return {"license": {"name": name}} if name else None

    @property
    def needs(self) -> set[str]:
        """Names of other packages, whatever the condition."""
        lines = self.metadata.get_all("Requires-Dist", [])
        return {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in lines}


def sbom(packages: Sequence[Package], version: str, made_at: datetime) -> dict[str, Any]:
    """A CycloneDX list of what a release is installed with.

    The packages are those of the system on which it is made, each with the hash of its wheel.
    """
    ours = f"pkg:pypi/{NAME}@{version}"
    refs = {one.name: one.ref for one in packages}
    dependencies = [
        {"ref": one.ref, "dependsOn": sorted(refs[name] for name in one.needs & refs.keys())}
        for one in packages
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{ours}#{made_at}')}",
        "version": 1,
        "metadata": {
            "timestamp": made_at.isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": NAME,
                "version": version,
                "purl": ours,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [component(one) for one in packages],
        "dependencies": [{"ref": ours, "dependsOn": sorted(refs.values())}, *dependencies],
    }


def component(package: Package) -> dict[str, Any]:
    licence = package.licence
    return {
        "type": "library",
        "bom-ref": package.ref,
        "name": package.name,
        "version": package.metadata["Version"],
        "purl": package.ref,
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        **({"licenses": [licence]} if licence else {}),
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
