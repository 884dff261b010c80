"""What can go wrong in a demo without a fault of the program, in words."""

from __future__ import annotations

from typing import Final

from bridge.lab.demo.play_script import StoryError
from bridge.lab.people import PeopleError
from bridge.lab.server import ServerError
from bridge.livekit.api_errors import ApiError
from bridge.output.harmless import harmless

FAILURES: Final = (StoryError, PeopleError, ApiError, ServerError)
"""Failures of this machine that are no fault of the program."""


def failure_text(error: Exception) -> str | None:
    """The text for `error`, also if nurseries wrapped it; None for a fault of ours."""
    if isinstance(error, ExceptionGroup):
        texts = [failure_text(one) for one in error.exceptions]
        return texts[0] if all(texts) else None
    if isinstance(error, FAILURES):
        return f"The demo could not go on: {harmless(str(error), 500)}"
    return None
