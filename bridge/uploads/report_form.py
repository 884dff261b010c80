"""The form of a job's report (multipart/form-data), read piece by piece as it comes.

It has three named parts: `header` (protobuf), `chat_history` (JSON) and `audio` (OGG Opus, 850 KiB
for each minute).  The first two are small and are held in memory, up to a bound.  The audio never
is: each piece is given on, or dropped where no recordings are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bridge.uploads.bounded_gzip import BadUpload

MOST_HEADER: Final = 256 * 1024
MOST_HISTORY: Final = 4 * 1024 * 1024
"""Bytes of the conversation: 8 KB for each minute."""
MOST_PARTS: Final = 16

# It logs a line for each bad byte that somebody sends.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

_LIMITS: Final = {b"header": MOST_HEADER, b"chat_history": MOST_HISTORY}


class UploadTooLarge(Exception):
    """A part is beyond its bound."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that the header `Content-Type` names; None if it is no form."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    return boundary if kind == b"multipart/form-data" and 0 < len(boundary) <= 70 else None


@final
class ReportForm:
    """One report while it comes.  `audio` gets each piece of the recording.

    `write` raises `BadUpload` if it is no such form, and `UploadTooLarge`.
    """

    def __init__(self, boundary: bytes, audio: Callable[[bytes], object] | None = None) -> None:
        self.header = bytearray()
        self.chat_history = bytearray()
        self.audio_bytes = 0
        """Bytes of the recording that came, kept or not."""
        self._audio = audio
        self._ended = False
        self._parts = 0
        self._name: bytes | None = None
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
            max_header_count=16,
            max_header_size=2048,
        )

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError:
            raise BadUpload("not a form") from None

    def finish(self) -> None:
        """Nothing more comes.  Raises `BadUpload` if the form is cut short or has no header."""
        if not self._ended or not self.header:
            raise BadUpload("the form is not whole")

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadUpload("too many parts")
        self._name, self._disposition = None, b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        name = self._name
        if name == b"audio":
            self.audio_bytes += end - start
            if self._audio is not None:
                self._audio(data[start:end])
        elif name in _LIMITS:
            part = self.header if name == b"header" else self.chat_history
            if len(part) + end - start > _LIMITS[name]:
                raise UploadTooLarge
            part += data[start:end]

    def _end(self) -> None:
        self._ended = True
