"""The steps of deploy/Dockerfile in an empty folder, and the program that they install.

No image can be built everywhere.  This runs each step of the first stage as Docker would, with the
folders of the image below a temporary one, and then a demo from the result: the wheel, its locked
packages, and nothing of the checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from attrs import field, frozen

from bridge import __version__
from bridge.lab.server import find_server

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
HANG: Final = 500.0
"""Seconds; only bounds a test that would hang."""
OURS: Final = re.compile(r"PYTHON|ROOM_ACTORS_|LIVEKIT_|VIRTUAL_ENV|PIP_TARGET|COVERAGE")


def instructions(stage: str) -> list[tuple[str, str]]:
    """Instructions of one stage, in order, each as a word and its arguments."""
    lines = [line for line in stage.splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def first_stage() -> list[tuple[str, str]]:
    stage = DOCKERFILE.read_text().split("\nFROM ")[1]
    return instructions(f"FROM {stage}")


@frozen
class Image:
    """A folder that stands for the root of the image that is built."""

    root: Path
    variables: dict[str, str] = field(factory=dict[str, str])

    def play(self, word: str, arguments: str) -> None:
        work = self.root / "src"
        work.mkdir(exist_ok=True)
        if word == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                place = work / (source if target == "./" else target)
                if (ROOT / source).is_dir():
                    skip = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / source, place, ignore=skip)
                else:
                    shutil.copy2(ROOT / source, place)
        elif word == "ENV":
            self.variables.update(dict(one.split("=", 1) for one in arguments.split()))
        elif word == "RUN":
            self.run("sh", "-c", arguments.replace("/opt/", f"{self.root}/opt/"), cwd=work)
        else:
            assert (word, arguments) in {
                ("FROM", "python:3.11-slim-bookworm AS build"),
                ("WORKDIR", "/src"),
            }

    def run(
        self, *command: str | Path, cwd: Path, code: int = 0, env: Mapping[str, str] | None = None
    ) -> str:
        inherited = {key: value for key, value in os.environ.items() if not OURS.match(key)}
        # The machine's cache of packages may be used: what is tested is that all is installed.
        variables = {k: v for k, v in self.variables.items() if k != "PIP_NO_CACHE_DIR"}
        path = f"{self.root}/bin:{os.defpath}"
        ran = subprocess.run(
            command,
            cwd=cwd,
            env={**inherited, **variables, "PATH": path, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        assert ran.returncode == code, ran.stdout[-4_000:] + ran.stderr[-4_000:]
        return ran.stdout + ran.stderr


@pytest.mark.usefixtures("livekit_server")  # named as not run where there is none
def test_the_steps_of_the_image_make_a_program_that_plays_the_demo(tmp_path: Path) -> None:
    image, elsewhere = Image(tmp_path / "image"), tmp_path / "elsewhere"
    for folder in (image.root / "bin", image.root / "opt", elsewhere):
        folder.mkdir(parents=True)
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    (image.root / "bin" / "python").symlink_to(base)
    for word, arguments in first_stage():
        image.play(word, arguments)
    program = image.root / "opt" / "room-actors" / "bin" / "room-actors"
    assert image.run(program, "--version", cwd=elsewhere).split()[-1] == __version__
    assert "nothing answers" in image.run(
        program, "health", "--http", "127.0.0.1:1", cwd=elsewhere, code=1
    )
    packages = image.root / "opt" / "room-actors" / "lib"
    assert not list(packages.glob("*/site-packages/pip")), "the image has no installer"
    server = find_server()
    assert server is not None
    story = image.run(
        *(program, "demo", "--rooms", "2", "--people", "4", "--seconds", "10"),
        cwd=elsewhere,
        env={"ROOM_ACTORS_LIVEKIT_SERVER": str(server)},
    )
    assert "numbers compared are what the people really did" in story
