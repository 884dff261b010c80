"""Ages instead of times, in the flags of every command that lists."""

from __future__ import annotations

import pytest

from bridge.cli.time_flags import with_times
from bridge.config.settings import SettingsError

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    "text, read",
    [
        ("7d", "2027-01-08T08:00:00.000Z"),
        ("1m30s", "2027-01-15T07:58:30.000Z"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00z", "2026-01-31t12:00:00z"),
        ("soon", "soon"),
        ("7", "7"),
    ],
)
def test_an_age_is_a_time_and_other_texts_stay(text: str, read: str) -> None:
    flags = {"since": text, "until": text, "room": "7d"}
    assert with_times(flags, NOW) == {"since": read, "until": read, "room": "7d"}


@pytest.mark.parametrize("text", ["7x", "0d", "99999999d"])
def test_a_wrong_age_names_its_flag(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--since: .*3650d"):
        with_times({"since": text}, NOW)
