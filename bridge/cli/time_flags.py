"""`--since` and `--until` of every command that lists: a time, a date, or an age such as `7d`."""

from __future__ import annotations

import time
from typing import Final

from actors.journal.session_filters import WrongFilter
from actors.session.time_text import rfc3339
from bridge.cli.command import Flags
from bridge.config.settings import SettingsError
from bridge.config.values import BadValue, duration

TIMES: Final = ("since", "until")

_age: Final = duration(1.0, 3_650 * 86_400.0)


def with_times(flags: Flags, now: float | None = None) -> Flags:
    """The flags, with a time for each age: so long before `now`, in unix seconds.

    Raises `SettingsError` where an age is wrong.  Other texts are left to the filter's own reader.
    """
    times = dict[str, str]()
    for name in TIMES:
        text = str(flags.get(name, ""))
        if text[:1].isdigit() and text[-1:].isalpha() and "t" not in text.lower():
            try:
                age = _age(text)
            except BadValue as error:
                raise SettingsError(f"--{name}: {error}") from None
            times[name] = rfc3339((time.time() if now is None else now) - age) or text
    return {**flags, **times}


def wrong_flag(error: WrongFilter) -> SettingsError:
    """The error of a filter as that of a flag."""
    age = ", or an age such as 7d" if error.name in TIMES else ""
    return SettingsError(f"--{error}{age}")
