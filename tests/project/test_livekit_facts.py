"""docs/livekit-facts.md: each fact can be linked to and says how it was observed."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "livekit-facts.md").read_text()
ANCHOR: Final = re.compile(r'<a id="([a-z0-9-]+)"></a>')
LINK: Final = re.compile(r"livekit-facts\.md#([\w-]+)")
OBSERVED: Final = re.compile(r"\*(?:Measured|Read)[^*]*\*", re.DOTALL)
FEWEST: Final = 150
"""Facts: so that a change of the form does not leave a page that nothing holds."""


def facts() -> list[str]:
    """The items of the page's lists that have an anchor."""
    items = re.findall(r"^\* .*(?:\n  .*)*", PAGE, re.MULTILINE)
    return [item for item in items if ANCHOR.search(item)]


def test_each_fact_has_one_anchor_of_its_own() -> None:
    names = Counter(ANCHOR.findall(PAGE))
    assert len(names) >= FEWEST
    assert [name for name, count in names.items() if count > 1] == []
    assert len(facts()) == len(names)


def test_each_fact_says_how_it_was_observed() -> None:
    assert [fact for fact in facts() if not OBSERVED.search(fact)] == []


def test_each_link_to_a_fact_leads_to_one() -> None:
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    texts = {name: (ROOT / name).read_text() for name in files if (ROOT / name).exists()}
    names = set(ANCHOR.findall(PAGE))
    broken = [
        f"{file}: #{name}"
        for file, text in texts.items()
        for name in LINK.findall(text)
        if name not in names
    ]
    assert broken == []
