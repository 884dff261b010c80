"""What `check` says of the speech engine."""

from __future__ import annotations

from typing import Final

from actors.publishing.publishing_port import SoundError
from bridge.cli.probes import CheckRow
from bridge.config.settings import UncheckedSettings
from bridge.media.speech_engines import choose_engine

NAME: Final = "speech engine"


def check_speech(read: UncheckedSettings) -> CheckRow:
    """An engine that is wanted must be there.  Without one only announcements of texts fail."""
    if "speech-engine" in read.problems:
        return CheckRow(NAME, "left out", "--speech-engine is wrong")
    wanted: str | None = read.values["speech-engine"]
    try:
        return CheckRow(NAME, "ok", choose_engine(wanted).name)
    except SoundError as error:
        if wanted is not None:
            return CheckRow(NAME, "failed", f"{wanted} is not installed", str(error))
        return CheckRow(NAME, "left out", "none, so no text can be announced", str(error))
