"""Canaries for what is kept out of memory: in processes of their own, where nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
LEAN = """
import sys
from bridge.livekit.rooms import lean_imports
def loaded(*names):
    return [name for name in names if name in sys.modules]
"""


def output_of(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LEAN + program],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


def test_a_worker_with_its_pages_imports_nothing_it_never_uses() -> None:
    assert output_of("""
print(dict(lean_imports.import_lean(http=True)))
import bridge.app.worker_role, bridge.app.web
import bridge.http.server.listener, bridge.log.structured_log
print(loaded("numpy", "rich", "pygments", "livekit.protocol.sip", "livekit.protocol.cloud_agent"))
print(loaded("python_multipart", "multipart"))
from bridge.uploads.report_form import boundary_of
print(boundary_of("multipart/form-data; boundary=b"))
""") == ["{}", "[]", "[]", "b'b'"]


def test_a_worker_that_announces_nothing_has_none_of_what_publishes() -> None:
    assert output_of("""
lean_imports.import_lean()
import bridge.app.worker_role, bridge.app.worker_web, bridge.app.program
parts = ("actors.publishing", "bridge.media", "bridge.livekit.publishing", "actors.pictures")
small = ("actors.publishing", "actors.publishing.announcement_bounds",
         "actors.pictures", "actors.pictures.pattern_names")
print([name for name in sys.modules if name.startswith(parts) and name not in small])
""") == ["[]"]


def test_what_was_kept_out_is_there_for_who_uses_it() -> None:
    assert output_of("""
lean_imports.import_lean()
from livekit import rtc
from livekit.rtc import audio_mixer
print(loaded("numpy"), audio_mixer.np.zeros(2).tolist(), loaded("numpy"))
import numpy, rich.console
print(numpy.ones(1).tolist(), rich.console.Console.__name__)
from livekit import api
print(api.ListSIPTrunkRequest.__name__)
""") == ["[] [0.0, 0.0] ['numpy']", "[1.0] Console", "ListSIPTrunkRequest"]


def test_what_is_there_already_is_left_as_it_is() -> None:
    assert output_of("""
import numpy, rich, structlog, livekit.protocol
print(dict(lean_imports.import_lean()))
from livekit.rtc import audio_mixer
print(audio_mixer.np is numpy, structlog.dev.rich is rich, loaded("livekit.protocol.sip"))
""") == ["{}", "True True ['livekit.protocol.sip']"]


@pytest.mark.parametrize(
    "moved, package, use",
    [
        (
            "lean_imports.ANNOTATIONS = frozenset()",
            "livekit.rtc",
            "from livekit.rtc import audio_mixer; print(audio_mixer.np.zeros(1).tolist())",
        ),
        (
            "sys.modules['livekit.protocol.webhook'] = None",
            "livekit.protocol",
            """
del sys.modules['livekit.protocol.webhook']
from livekit.protocol import sip, webhook; print([0.0])""",
        ),
    ],
    ids=["numpy is used at once", "modules need their package"],
)
def test_what_cannot_be_kept_out_is_imported_as_ever(moved: str, package: str, use: str) -> None:
    output = output_of(f"""
{moved}
lost = lean_imports.import_lean()
print(*lost)
{use}
""")
    assert output == [package, "[0.0]"]
