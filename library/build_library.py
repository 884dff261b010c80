"""The build backend (PEP 517) of the distribution `trio-actors`.

It takes `actors/runtime` and `actors/testing` of this repository, and renames `actors.runtime` to
`trio_actors.runtime` and `actors.testing` to `trio_actors.testing` in their text.  It needs only
the standard library, so that a build downloads nothing.  As a program it writes the wheel and the
source distribution into a folder.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PACKAGE: Final = "trio_actors"
FOLDERS: Final = ("runtime", "testing")
OWN_NAME: Final = re.compile(rf"\bactors\.(?={'|'.join(FOLDERS)})")
FACADE: Final = f'"""Actors on trio: `{PACKAGE}.runtime`, tested with `{PACKAGE}.testing`."""\n'
MOMENT: Final = (1980, 1, 1, 0, 0, 0)
"""The time of each file in an archive, so that equal sources give equal archives."""


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel into `wheel_directory`; returns its file name."""
    name, info = f"{_stem()}-py3-none-any.whl", f"{_stem()}.dist-info"
    files = {
        **sources(),
        f"{info}/METADATA": metadata(),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: build_library\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": _license(),
    }
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(Path(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, MOMENT), text, zipfile.ZIP_DEFLATED)
    return name


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Write the source distribution, from which the same wheel can be built."""
    name = f"{_stem()}.tar.gz"
    files = {
        **sources(),
        "PKG-INFO": metadata(),
        "LICENSE": _license(),
        **{one: _read(HERE / one) for one in ("pyproject.toml", "README.md", Path(__file__).name)},
    }
    with (
        gzip.GzipFile(Path(sdist_directory, name), "wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, text in files.items():
            member = tarfile.TarInfo(f"{_stem()}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return name


def sources() -> dict[str, str]:
    """The text of each module by its path in the package, under the package's own name."""
    copied = HERE / PACKAGE
    root = copied if copied.is_dir() else HERE.parent / "actors"
    files = {f"{PACKAGE}/__init__.py": FACADE, f"{PACKAGE}/py.typed": ""}
    for folder in FOLDERS:
        for file in sorted((root / folder).glob("*.py")):
            text = OWN_NAME.sub(f"{PACKAGE}.", _read(file))
            files[f"{PACKAGE}/{folder}/{file.name}"] = text
    return files


def metadata() -> str:
    """The core metadata of version 2.4, from pyproject.toml."""
    project = _project()
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {file}" for file in project["license-files"]),
        f"Requires-Python: {project['requires-python']}",
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {one}; extra == "{extra}"' for one in requirements]
    lines.append("Description-Content-Type: text/markdown")
    return "\n".join([*lines, "", _read(HERE / project["readme"])])


def _project() -> dict[str, Any]:
    return tomllib.loads(_read(HERE / "pyproject.toml"))["project"]


def _stem() -> str:
    project = _project()
    return f"{project['name'].replace('-', '_')}-{project['version']}"


def _license() -> str:
    own = HERE / "LICENSE"
    return _read(own if own.is_file() else HERE.parent / "LICENSE")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    folder.mkdir(parents=True, exist_ok=True)
    for build in (build_wheel, build_sdist):
        print(folder / build(str(folder)))
