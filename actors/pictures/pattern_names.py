"""The names of the moving patterns.  A module of its own, because the API names them without the
parts that draw."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Pattern: TypeAlias = Literal[
    "color_bars", "moving_circle", "checkerboard", "gradient", "text_display"
]
PATTERNS: Final[tuple[Pattern, ...]] = get_args(Pattern)
