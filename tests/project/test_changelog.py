"""The changelog says each thing once: a merge that keeps both sides can bring old lines back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

CHANGELOG: Final = Path(__file__).parents[2] / "CHANGELOG.md"
PHRASE: Final = 8
"""Words.  Two entries that share so many in a row tell of the same thing."""


def entries(text: str) -> list[str]:
    """Each `* ...` of the text, on one line."""
    parts = re.split(r"^\* ", text, flags=re.MULTILINE)[1:]
    return [" ".join(part.split("\n#")[0].split()) for part in parts]


def said_twice(text: str) -> list[str]:
    """Phrases that stand in more than one place of the entries."""
    seen = set[str]()
    found = list[str]()
    for entry in entries(text):
        words = entry.split()
        for at in range(len(words) - PHRASE + 1):
            phrase = " ".join(words[at : at + PHRASE])
            if phrase in seen:
                found.append(phrase)
            seen.add(phrase)
    return found


def test_the_changelog_says_each_thing_once() -> None:
    assert said_twice(CHANGELOG.read_text(encoding="utf-8")) == []


def test_a_line_that_a_merge_brought_back_is_found() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    assert said_twice(f"{text}* {max(entries(text), key=len)}\n")
