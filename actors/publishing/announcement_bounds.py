"""Bounds of an order.  A module of its own, because the API and the rules name them without the
parts that publish."""

from __future__ import annotations

from typing import Final

from actors.rules.acts import SPOKEN_LENGTH

TEXT_LENGTH: Final = SPOKEN_LENGTH
"""Characters of a text that is spoken."""
LONGEST_PICTURE: Final = 3_600.0
"""Seconds for which a picture may be shown."""
FILE_SIZE: Final = 20_000_000
"""Bytes of a sound file."""
