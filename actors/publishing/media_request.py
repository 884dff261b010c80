"""The request of a job of the media publisher: the metadata of its dispatch.

The metadata is a JSON object, or empty for an interactive publisher.  A wrong one fails the job
with a sentence that says what is wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from attrs import frozen
from msgspec import Meta, Struct

from actors.pictures.pattern_names import PATTERNS, Pattern
from actors.publishing.announcement_bounds import TEXT_LENGTH
from actors.publishing.generated_sounds import HIGHEST, LOWEST, GeneratedSound

Mode: TypeAlias = Literal[
    "tts",
    "audio_file",
    "video_with_audio",
    "interactive",
    "audio_tone",
    "video_pattern",
    "both",
]
MAX_METADATA: Final = 64 << 10
"""Characters."""
MAX_ERROR: Final = 200
"""Characters of an error's text."""
TONE: Final = 440
"""Hz."""


class BadMediaRequest(ValueError):
    """The metadata of a job is wrong.  The text says what, and holds no control character."""


@frozen
class MediaRequest:
    """The request of one job."""

    mode: Mode = "interactive"
    text: str = ""
    """Spoken at the beginning."""
    file: str = ""
    """The name of a sound file, which is played at the beginning."""
    loop: bool = False
    """The text or the file begins anew when it is over."""
    sound: GeneratedSound | None = None
    frequency: int = TONE
    """Hz."""
    pattern: Pattern | None = None
    welcome: str = ""
    """For each newcomer: as a message, and spoken too by an interactive publisher."""
    volume: float = 1.0

    @property
    def ends(self) -> bool:
        """It is over with its text or file."""
        return self.mode in ("tts", "audio_file") and not self.loop


class _Metadata(Struct, frozen=True, forbid_unknown_fields=True):
    mode: Mode = "interactive"
    text: Annotated[str, Meta(max_length=TEXT_LENGTH)] = ""
    audio_file: Annotated[str, Meta(max_length=255)] = ""
    audio_type: GeneratedSound = "tone"
    video_type: str = ""
    video_pattern: str = ""
    loop: bool = False
    welcome_message: Annotated[str, Meta(max_length=TEXT_LENGTH)] = ""
    volume: Annotated[float, Meta(ge=0, le=1)] = 0.0
    tone_frequency: Annotated[float, Meta(ge=LOWEST, le=HIGHEST)] = float(TONE)


_decode: Final = msgspec.json.Decoder(_Metadata).decode


def parse_media_request(metadata: str) -> MediaRequest:
    """The request in a job's metadata.  Raises `BadMediaRequest`."""
    if len(metadata) > MAX_METADATA:
        raise BadMediaRequest(f"the job's metadata has more than {MAX_METADATA} characters")
    if not metadata.strip():
        return MediaRequest()
    try:
        parsed = _decode(metadata)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMediaRequest(_harmless(f"the job's metadata is wrong: {error}")) from None
    mode = parsed.mode
    if mode == "tts" and not parsed.text.strip():
        raise BadMediaRequest("mode tts needs text")
    if mode == "audio_file" and not parsed.audio_file:
        raise BadMediaRequest("mode audio_file needs audio_file, the name of a file")
    with_picture = mode in ("video_with_audio", "video_pattern", "both")
    with_words = mode in ("tts", "audio_file", "video_with_audio")
    words: dict[str, Any] = {}
    if with_words and mode != "audio_file" and parsed.text.strip():
        words["text"] = parsed.text
    elif with_words and parsed.audio_file:
        words["file"] = parsed.audio_file
    sounds = mode in ("audio_tone", "both") or (mode == "video_with_audio" and not words)
    return MediaRequest(
        mode=mode,
        loop=parsed.loop,
        sound=parsed.audio_type if sounds else None,
        frequency=round(parsed.tone_frequency),
        pattern=_pattern(parsed) if with_picture else None,
        welcome=parsed.welcome_message,
        volume=parsed.volume or 1.0,
        **words,
    )


def _pattern(parsed: _Metadata) -> Pattern:
    wanted = parsed.video_type or parsed.video_pattern or PATTERNS[0]
    for pattern in PATTERNS:
        if pattern == wanted:
            return pattern
    raise BadMediaRequest(_harmless(f"video_type: {wanted[:40]} is none of {', '.join(PATTERNS)}"))


def _harmless(text: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable[:MAX_ERROR]
