"""`[[limit]]` in the config file, and each mistake in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.rules.limits import Limit
from bridge.config.limit_list import limits_of
from bridge.config.settings import SettingsError, load

KEYS = {"api-key": "key", "api-secret": "a-secret-of-the-flags"}


def read(path: Path, text: str) -> tuple[Limit, ...]:
    file = path / "settings.toml"
    file.write_text(text)
    file.chmod(0o600)
    return limits_of(load({**KEYS, "config": str(file)}, {}))


def test_limits_have_their_bounds_and_a_name_from_their_number(tmp_path: Path) -> None:
    limits = read(
        tmp_path,
        """
[[limit]]
rooms = ["free-*"]
people = 10
message = "This room is full."
[[limit]]
name = "short"
rooms = "trial, demo-*"
tracks_per_person = 3
duration = "1h"
person-duration = "40m"
over = "hold"
""",
    )
    assert limits == (
        Limit("limit 1", ("free-*",), people=10, message="This room is full."),
        Limit(
            "short",
            ("trial", "demo-*"),
            tracks_per_person=3,
            duration=3600.0,
            person_duration=2400.0,
            over="hold",
        ),
    )


@pytest.mark.parametrize(
    "line, error",
    [
        ("poeple = 1", "'poeple' is not known; did you mean people?"),
        ('people = "ten"', "'people' 'ten' is not a whole number; give 0 to 100000"),
        ("people = true", "'people' 'true' is not a whole number; give 0 to 100000"),
        ('duration = "long"', "'duration' 'long' is not a duration; give 1s to 30d"),
        ('duration = "0s"', "'duration' '0s' is out of range; give 1s to 30d"),
        ('over = "kick"', "'over' 'kick' is not known; give remove-newest or hold or alert"),
        ("message = 5", "'message' is not text; put it in quotes"),
        ('name = ""', "'name' is not a name; give 1 to 100 characters that print"),
    ],
)
def test_each_mistake_is_told_with_file_line_key_and_what_is_allowed(
    tmp_path: Path, line: str, error: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, f'[[limit]]\nrooms = ["free-*"]\n{line}\n')
    assert f"settings.toml: [[limit]] 1, line 3: {error}" in str(raised.value)


@pytest.mark.parametrize(
    "text, error",
    [
        ("[[limit]]\npeople = 3", "[[limit]] 1, line 1: 'rooms' is missing"),
        ("[[limit]]\nrooms = []\npeople = 3", "[[limit]] 1, line 2: 'rooms' names no rooms"),
        (
            '[[limit]]\nrooms = "a"',
            "[[limit]] 1, line 1: it bounds nothing: give people, tracks_per_person, duration",
        ),
        (
            """[[limit]]
name = "a"
rooms = "*"
people = 1
[[limit]]
rooms = "*"
name = "a"
people = 2""",
            "[[limit]] 2, line 7: 'name' is that of [[limit]] 1 already",
        ),
    ],
)
def test_a_limit_names_rooms_and_a_bound_and_no_two_have_one_name(
    tmp_path: Path, text: str, error: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text)
    assert error in str(raised.value)
