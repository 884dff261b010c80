r"""Text of strangers, made safe to show.

Identities, names, metadata, topics and messages are whatever a participant typed, and
an error's text is whatever a server sent.  Written raw to a terminal or a log they
could forge a line (newline), recolour or retitle the terminal (escape sequences) or
swap what is read (bidi overrides).  So every such string passes `harmless` on its way
to a person.
"""

from __future__ import annotations

from typing import Final

NAME_LIMIT: Final = 256
"""Characters shown of one string of a line; LiveKit's own bound for an identity."""

_SHORT_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def harmless(text: str, limit: int = NAME_LIMIT) -> str:
    r"""The same text on one line, with nothing in it that a terminal would obey.

    Characters that do not print (controls, format characters such as bidi overrides
    and zero-width ones, line separators, lone surrogates, spaces other than " ") are
    shown as `\n`, `\x1b`, `\u202e`.  Longer than `limit` is cut and its full
    length in characters said.
    """
    shown = text if len(text) <= limit else text[:limit]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else _escaped(c) for c in shown)
    if len(text) > limit:
        shown += f"... ({len(text)} characters)"
    return shown


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
