"""The names of the formats of webhooks.  Imports nothing: the settings need it at each start."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Format: TypeAlias = Literal["standard", "livekit", "cloudevents"]
FORMATS: Final[tuple[Format, ...]] = ("standard", "livekit", "cloudevents")
