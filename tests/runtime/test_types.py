"""A ref knows what its actor takes: the type checker finds whatever is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def errors_in(*files: Path) -> dict[str, set[int]]:
    """Lines (from 1) with an error, checked as the rest of the project is, but strictly.

    By the name of the file.  All in one run: most of its time is the start.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "basedpyright",
            "--outputjson",
            "--pythonpath",
            sys.executable,
            *files,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent.parent,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    lines: dict[str, set[int]] = {file.name: set() for file in files}
    for one in report["generalDiagnostics"]:
        if one["severity"] == "error":
            lines[Path(one["file"]).name].add(one["range"]["start"]["line"] + 1)
    return lines


def test_the_type_checker_finds_every_wrong_message_and_nothing_else(tmp_path: Path) -> None:
    # Not a .py file where it lies, or the check of the whole project would find it.
    badly = Path(shutil.copy(HERE / "typed_badly.txt", tmp_path / "typed_badly.py"))
    lines = badly.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) >= 9
    found = errors_in(badly, HERE / "typed_well.py")
    assert found == {"typed_badly.py": wrong, "typed_well.py": set()}
