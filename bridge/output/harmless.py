r"""Text of strangers, made safe to show.

Participants choose identities, names, metadata, topics and messages, and a server chooses the
text of an error.  Written raw to a terminal or a log, such text could forge a line (newline),
recolour or retitle the terminal (escape sequences), change the order of what is read (bidi
overrides), or look like another name (invisible characters, a Cyrillic letter in a Latin word).
So every such string passes `harmless` before a person sees it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

from actors.session.texts import length_before_cut

NAME_LIMIT: Final = 256
"""The most characters of one string that are shown; LiveKit's own bound for an identity."""

MARKS: Final = 4
"""The most combining marks on one letter that are shown as marks.  Scripts in use need three."""

_SHORT_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Invisible characters that `str.isprintable` calls printable: Unicode's
Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and the empty Braille pattern."""

_LATIN: Final = "LATIN"
_ALIKE: Final = frozenset(
    (_LATIN, "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "MATHEMATICAL")
)
"""Scripts whose letters look like letters of another script.  `unicodedata.name` begins so."""

_WORD: Final = re.compile(r"[^\W\d_]+")
_STYLE: Final = "\ufe0e\ufe0f"
"""Variation selectors that choose between the text and the picture of a symbol."""


def harmless(text: str, limit: int = NAME_LIMIT) -> str:
    r"""The same text on one line, with nothing in it that can control a terminal.

    These characters are shown as `\n`, `\x1b`, `\u202e`:

    * those that do not print: controls, format characters such as bidi overrides and zero-width
      ones, line separators, lone surrogates, spaces other than " ";
    * invisible characters;
    * combining marks without a letter, and further ones after `MARKS` on a letter;
    * in a word of several look-alike scripts, the letters that are not of its main script.

    Text longer than `limit` is cut, and its length in characters is added.  If it was cut before,
    where it came in, the length before that cut is added.
    """
    shown = text if len(text) <= limit else text[:limit]
    if not shown.isascii():
        shown = _plain(shown)
    elif not shown.isprintable():
        shown = "".join(c if c.isprintable() else _escaped(c) for c in shown)
    if len(text) > limit:
        shown += f"... ({length_before_cut(text) or f'{len(text)} characters'})"
    return shown


def _plain(text: str) -> str:
    strange = _strange_letters(text)
    safe: list[str] = []
    marks = MARKS  # A mark that comes first has no letter: it counts as one too many.
    for at, char in enumerate(text):
        if not char.isprintable() or at in strange:
            safe.append(_escaped(char))
        elif _UNSEEN.match(char):
            symbol = at > 0 and char in _STYLE and unicodedata.category(text[at - 1]) == "So"
            safe.append(char if symbol else _escaped(char))
        elif unicodedata.category(char) in ("Mn", "Me"):
            marks += 1
            safe.append(char if marks <= MARKS else _escaped(char))
        else:
            marks = MARKS if char == " " else 0
            safe.append(char)
    return "".join(safe)


def _strange_letters(text: str) -> set[int]:
    """The positions of letters of another look-alike script than the rest of their word."""
    strange = set[int]()
    for word in _WORD.finditer(text):
        scripts = [_script(char) for char in word.group()]
        counts = Counter(script for script in scripts if script is not None)
        if len(counts) < 2:
            continue
        main = max(counts, key=lambda script: (counts[script], script == _LATIN))
        strange.update(
            word.start() + at
            for at, script in enumerate(scripts)
            if script is not None and script != main
        )
    return strange


@lru_cache(maxsize=4_096)
def _script(char: str) -> str | None:
    """The letter's script if it is one of `_ALIKE`."""
    script = unicodedata.name(char, "").partition(" ")[0]
    return script if script in _ALIKE else None


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
