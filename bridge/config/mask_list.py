"""`[[mask]]`: parts of conversations' texts that are never stored, beside those of `--mask-text`.

[[mask]]
name = "order"                     # stands in the text in its place: [order]
pattern = '\bORD-\\d{4,8}\b'        # a regular expression with bounded repetitions
"""

from __future__ import annotations

from typing import Final, Protocol

from actors.journal.conversation_texts import TextRetention
from actors.journal.text_masks import BadMask, Mask, TextMasks, built_in, require_bounded
from bridge.config import values
from bridge.config.setting_lists import ListKey, SettingList, register_list
from bridge.config.values import BadValue

NAME_LENGTH: Final = 40


def _name(value: object) -> str:
    name = values.text(value)
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise BadValue(f"is not a name; give 1 to {NAME_LENGTH} characters that print")
    return name


def _pattern(value: object) -> str:
    pattern = values.text(value)
    try:
        require_bounded(pattern)
    except BadMask as error:
        raise BadValue(str(error)) from None
    return pattern


MASKS: Final = SettingList(
    "mask",
    Mask,
    (ListKey("name", _name, required=True), ListKey("pattern", _pattern, required=True)),
    unique="name",
)
register_list(MASKS)


class _HasTexts(Protocol):
    """The part of the settings about texts of conversations."""

    @property
    def keep_transcripts(self) -> float | None: ...
    @property
    def keep_tool_payloads(self) -> float | None: ...
    @property
    def keep(self) -> float: ...
    @property
    def keep_size(self) -> int: ...
    @property
    def mask_text(self) -> tuple[str, ...]: ...
    def tables(self, row: SettingList[Mask]) -> tuple[Mask, ...]: ...


def masks_of(settings: _HasTexts) -> TextMasks:
    """The masks of the file first, then those that are built in."""
    return TextMasks([*settings.tables(MASKS), *map(built_in, settings.mask_text)])


def text_retention(settings: _HasTexts) -> TextRetention:
    """How long texts are kept, never longer than sessions; `any` is False where none is."""

    def seconds(wanted: float | None) -> float | None:
        return None if wanted is None else min(wanted, settings.keep)

    return TextRetention(
        seconds(settings.keep_transcripts), seconds(settings.keep_tool_payloads), settings.keep_size
    )
