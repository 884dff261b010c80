"""The rules and limits of one file, without its other settings: for the command `rules`.

The file may be the one of `--config`, or have nothing but `[[rule]]` and `[[limit]]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from actors.rules.limits import Limit
from actors.rules.rule_config import BadRule, Rule, read_rules
from bridge.config.limit_list import LIMITS, named
from bridge.config.setting_lists import read_list
from bridge.config.setting_sources import read_toml
from bridge.config.values import SettingsError
from bridge.output.harmless import harmless


@frozen
class RulesFile:
    """What one file wants done."""

    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]


def read_rules_file(path: Path) -> RulesFile:
    """Raises `SettingsError` with the file, the table, the key and what is allowed."""
    where = harmless(str(path))
    text, parsed = read_toml(path)
    limits: tuple[Limit, ...] = ()
    if "limit" in parsed:
        limits = named(read_list(LIMITS, parsed["limit"], where, text))
    tables: Any = parsed.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise SettingsError(f"{where}: 'rule' is a list of tables; write [[rule]]")
    try:
        return RulesFile(read_rules(tables), limits)
    except BadRule as error:
        raise SettingsError(f"{where}: {harmless(error.key, 200)}: {error}") from None
