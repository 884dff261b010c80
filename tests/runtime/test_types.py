"""A ref knows what its actor takes: the type checker finds whatever is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def errors_in(file: Path) -> set[int]:
    """Lines (from 1) with an error, checked as the rest of the project is, but strictly."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "basedpyright",
            "--outputjson",
            "--pythonpath",
            sys.executable,
            file,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent.parent,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"}


def test_the_type_checker_finds_every_wrong_message_and_nothing_else(tmp_path: Path) -> None:
    # Not a .py file where it lies, or the check of the whole project would find it.
    file = shutil.copy(HERE / "typed_badly.txt", tmp_path / "typed_badly.py")
    lines = Path(file).read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) >= 9
    assert errors_in(Path(file)) == wrong


def test_the_type_checker_accepts_what_is_right() -> None:
    assert errors_in(HERE / "typed_well.py") == set()
