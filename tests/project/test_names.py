"""One name for one thing: classes, modules and the words of identifiers, by docs/glossary.md."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PRODUCT: Final = tuple(sorted([*(ROOT / "actors").rglob("*.py"), *(ROOT / "bridge").rglob("*.py")]))
TESTS: Final = tuple(
    sorted({*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")} - {Path(__file__)})
)
NO_NOUNS: Final = frozenset(
    ("told", "kept", "held", "gone", "said", "seen", "heard", "found", "life", "whoever")
)
"""The glossary says of them that they mean many things each."""
LINES: Final = 400
LONGER: Final = {
    "bridge/livekit/rooms/seams.py": "a table: each seam with its probe and its fallback",
}
"""Modules of more than `LINES` lines, with the reason."""
OF_THE_PROJECT: Final = re.compile(r"(actors|bridge|bench|tests)(\.[A-Za-z_]\w*)+")
QUOTED: Final = re.compile(rf"[\"']{OF_THE_PROJECT.pattern}[\"']")
"""Few files have such a string, and to parse all of them takes seconds."""


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that the code of a module gives or uses, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word):
                yield line, word
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield line, node.name
            case (
                ast.alias(asname=str(word))
                | ast.keyword(arg=str(word))
                | ast.ExceptHandler(name=str(word))
                | ast.MatchAs(name=str(word))
            ):
                yield line, word
            case _:
                pass


@cache
def product_names() -> tuple[dict[str, list[str]], list[tuple[str, int, str]]]:
    """The public classes of the product with their files, and its identifiers with their places."""
    classes = defaultdict[str, list[str]](list)
    used: list[tuple[str, int, str]] = []
    for file in PRODUCT:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(name(file))
        used += [(name(file), line, word) for line, word in identifiers(tree)]
    return dict(classes), used


def exists(dotted: str) -> bool:
    """True if this is a module, or an attribute that can be reached from one."""
    module, attributes = dotted, list[str]()
    while not _is_module(module):
        module, _, attribute = module.rpartition(".")
        attributes.insert(0, attribute)
        if not module:
            return False
    if not attributes:
        return True
    place = importlib.import_module(module)
    for attribute in attributes:
        if not hasattr(place, attribute):
            return False
        place = getattr(place, attribute)
    return True


def _is_module(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def test_no_two_public_classes_have_one_name():
    classes, _ = product_names()
    assert {word: files for word, files in classes.items() if len(files) > 1} == {}


def test_no_two_modules_have_one_name():
    places = defaultdict[str, list[str]](list)
    for file in PRODUCT:
        if file.stem not in {"__init__", "__main__"}:
            places[file.stem].append(name(file))
    assert {stem: files for stem, files in places.items() if len(files) > 1} == {}


def test_no_identifier_is_one_of_the_words_that_mean_many_things():
    used = {f"{name(file)}: {file.stem}" for file in PRODUCT if file.stem in NO_NOUNS} | {
        f"{file}:{line}: {word}"
        for file, line, word in product_names()[1]
        if word.strip("_") in NO_NOUNS
    }
    assert used == set()


def test_no_module_is_longer_than_a_reader_can_take_in():
    longer = {name(file) for file in PRODUCT if file.read_text().count("\n") > LINES}
    assert longer == LONGER.keys(), "one that is short enough again needs no exception"


def test_every_name_that_stands_in_a_string_of_a_test_exists():
    """A renamed module leaves the strings as they were: `setattr("a.b", …)`, `-m a.b`."""
    dotted = {
        (name(file), node.value)
        for file in TESTS
        if QUOTED.search(text := file.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and OF_THE_PROJECT.fullmatch(node.value)
    }
    assert {one for one in dotted if not exists(one[1])} == set()


def test_a_name_that_does_not_exist_is_noticed():
    assert exists("bridge.livekit.tokens")
    assert exists("actors.rooms.manager.RoomManager")
    assert not exists("actors.rooms.manager.RoomManagers")
    assert not exists("bridge.livekits.tokens")
    assert not exists("nowhere.tokens")
