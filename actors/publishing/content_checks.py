"""What may be announced: an order is refused with the reason and what to do."""

from __future__ import annotations

from typing import Literal, TypeAlias

from actors.pictures.image_files import LARGEST_FILE
from actors.publishing.announcement_bounds import FILE_SIZE, LONGEST_PICTURE, TEXT_LENGTH
from actors.publishing.publishing_port import (
    AnnouncedContent,
    ImageData,
    PictureContent,
    SoundData,
    Speech,
    TextCard,
)

Why: TypeAlias = Literal["bad", "not_found", "not_allowed", "busy"]


class AnnouncementRefused(Exception):
    """An order is not taken.  The text says why and what to do."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


def checked(content: AnnouncedContent) -> AnnouncedContent:
    """The content, if its size is right, without control characters in a text."""
    if isinstance(content, PictureContent) and not 0 < content.seconds <= LONGEST_PICTURE:
        raise AnnouncementRefused("bad", f"a picture is shown for up to {LONGEST_PICTURE:g} s")
    if isinstance(content, TextCard) and not 0 < len(content.text.strip()) <= TEXT_LENGTH:
        raise AnnouncementRefused("bad", f"a text may have 1 to {TEXT_LENGTH} characters")
    if isinstance(content, ImageData) and len(content.content) > LARGEST_FILE:
        raise AnnouncementRefused("bad", f"an image may have at most {LARGEST_FILE} bytes")
    if isinstance(content, Speech):
        text = " ".join("".join(c if c.isprintable() else " " for c in content.text).split())
        if not any(c.isalnum() for c in text):
            raise AnnouncementRefused("bad", "text must have a word that can be spoken")
        if len(text) > TEXT_LENGTH:
            raise AnnouncementRefused("bad", f"text may have at most {TEXT_LENGTH} characters")
        return Speech(text, content.voice)
    if isinstance(content, SoundData) and not 0 < len(content.content) <= FILE_SIZE:
        raise AnnouncementRefused("bad", f"a sound file may have 1 to {FILE_SIZE} bytes")
    return content
