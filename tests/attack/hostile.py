"""Names that strangers give themselves, and checks of every output of ours that shows them.

Each check takes the whole text of an output and gives what is wrong with it, empty where
nothing is.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

FORGED: Final = "forged"
"""The mark in everything that would pass for a line, an element, a metric or an event of ours."""

HOSTILE: Final = {
    "a line of the log": f"\n2026/11/29 10:00:00 Participant connected: {FORGED}",
    "a line of the JSON log": f'\n{{"event": "{FORGED}"}}',
    "a line after a return": f"\r\x0b\x0c\x85\u2028\u2029{FORGED}",
    "a terminal's title and colours": f"\x1b]0;{FORGED}\x07\x1b[2J\x1b[31m\x9b31m",
    "deletes": "a\x08\x08\x7f\x7f",
    "bidi": "\u202egnp.exe\u202c\u2066a\u2069\u200f\u061c",
    "characters that nobody sees": "al\u200bi\u2060c\ufeffe\u3164\u00ad\U000e0041",
    "an element": f"<{FORGED}></title></svg></script><script>{FORGED}()</script>",
    "an attribute": f'"\' onload={FORGED}() {FORGED}="1',
    "the end of a comment": f"--> ]]> <![CDATA[ <!-- &lt;{FORGED}&gt; &#x3c;{FORGED}>",
    "a template": "{{7*7}} {%raw%} ${7*7} %s %(a)s {0}",
    "a formula": '=HYPERLINK("http://x","y")',
    "another formula": f"a;=cmd|{FORGED}",
    "formulas of other kinds": "@SUM(A1)\t=1",
    "a metric": f'"}} 1\n{FORGED}_metric{{a="',
    "a metric with its escapes": f'\\"}} 1\\n{FORGED}_metric 1',
    "a server-sent event": f"\n\nevent: {FORGED}\ndata: 1\n\n",
    "rich's markup": "[red]a[/red][link=http://x]b[/link]",
    "a pile": "e" + "\u0301" * 60,
    "a path": "../../../etc/passwd",
    "a query": "'; DROP TABLE sessions; --",
    "an end of file": "a\0b\x04\x1a",
    "long": "x" * 250,
}
"""Each within what LiveKit takes of an identity, a name and an attribute (256 characters)."""

ROOM: Final = f'</td><{FORGED}>\u202e\n"}} 1\n=1+1;@{FORGED}\x1b[31m'
"""The room's name; a test adds a word of its own."""

LINE: Final = 16_384
"""Characters of a line of text that no output goes beyond."""
DOCUMENT: Final = 4 << 20
"""Characters of a whole output."""

_TYPED: Final = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
"""Categories of characters that nobody may see, or obey."""
_STAMPED: Final = re.compile(rf"[0-9/]{{10}} [0-9:]{{8}} Participant connected: {FORGED}")


def raw_characters(text: str, allowed: str = "\n") -> Iterator[str]:
    """Characters that a terminal or a browser would obey, or not show."""
    faults = {
        char
        for char in set(text)
        if (char not in allowed and unicodedata.category(char) in _TYPED) or char == "\u3164"
    }
    if faults:
        yield f"has {sorted(map(ascii, faults))}"
    if len(text) > DOCUMENT:
        yield f"has {len(text)} characters"


def raw_controls(text: str) -> Iterator[str]:
    """Check data for programs: its strings have the other characters as they are."""
    yield from (f"has {char!r}" for char in sorted(set(text)) if char < " " and char != "\n")


def in_text(text: str) -> Iterator[str]:
    """Check a log, a table, a report."""
    yield from raw_characters(text)
    for line in text.splitlines():
        if len(line) > LINE:
            yield f"has a line of {len(line)} characters"
        if line.startswith(FORGED) or _STAMPED.match(line):
            yield f"has a line that nobody wrote: {line[:200]!r}"


def in_json(text: str) -> Iterator[str]:
    """Check one JSON document; its strings have the text of strangers as it is."""
    yield from raw_controls(text)
    yield from _no_json(text)


def _no_json(text: str) -> Iterator[str]:
    try:
        json.loads(text)
    except ValueError as error:
        yield f"is no JSON: {error}"


def in_json_lines(text: str) -> Iterator[str]:
    """Check the JSON log."""
    yield from raw_characters(text)
    if not text.isascii():
        yield "is not ASCII"
    for line in text.splitlines():
        line_fields = json.loads(line)
        if line_fields["event"] == FORGED:
            yield "has an event that nobody wrote"
        if len(line) > 4 * LINE:
            yield f"has a line of {len(line)} characters"


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if FORGED in tag or any(FORGED in name or name.startswith("on") for name in names):
            self.wrong.append(f"has the element {tag} {names}")
        if tag == "script" and "src" not in names:
            self.wrong.append("has a script in it")
        for name, value in attrs:
            if name in ("href", "src") and not (value or "").startswith(("/", "#", "?", "http://")):
                self.wrong.append(f"leads to {value}")

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"has a comment: {data[:100]!r}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"has a declaration: {data[:100]!r}")


def in_html(text: str) -> Iterator[str]:
    """Check a page or a picture."""
    yield from raw_characters(text)
    parser = _Elements()
    parser.feed(text)
    parser.close()
    yield from parser.wrong


def in_csv(text: str) -> Iterator[str]:
    yield from raw_characters(text)
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            for part in re.split("[;\t,]", cell):
                if part.lstrip(" ").startswith(("=", "+", "@")):
                    yield f"has a formula: {cell[:200]!r}"
            if len(cell) > 32_767:
                yield f"has a cell of {len(cell)} characters, which no spreadsheet takes"


def in_metrics(text: str) -> Iterator[str]:
    yield from raw_characters(text)
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(("room_actors_", "process_", "python_")):
            yield f"has the metric {family.name}"
        for sample in family.samples:
            for name, value in sample.labels.items():
                if FORGED in name or len(value) > 1_400:
                    yield f"has the label {name} of {len(value)} characters"


def in_events(text: str) -> Iterator[str]:
    """Check server-sent events."""
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name not in ("", "id", "event", "data", "retry"):
            yield f"has the field {name[:100]!r}"
        if name == "event" and FORGED in value:
            yield "has an event that nobody wrote"
        if name == "data":
            yield from _no_json(value)
    yield from raw_controls(text)
