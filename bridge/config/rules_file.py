"""The rules and limits of one file, without its other settings: for the command `rules`.

The file may be the one of `--config`, or have nothing but `[[rule]]` and `[[limit]]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from actors.rules.limits import Limit
from actors.rules.rule_config import Rule
from bridge.config.limit_list import LIMITS, named
from bridge.config.rule_list import RULES, compiled_rules
from bridge.config.setting_lists import read_list
from bridge.config.setting_sources import read_toml, require_known_keys
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
    require_known_keys(where, parsed)
    limits: tuple[Limit, ...] = ()
    if "limit" in parsed:
        limits = named(read_list(LIMITS, parsed["limit"], where, text))
    rules: tuple[Rule, ...] = ()
    if "rule" in parsed:
        rules = compiled_rules(read_list(RULES, parsed["rule"], where, text))
    require_different_names(rules, limits, where)
    return RulesFile(rules, limits)


def require_different_names(
    rules: Iterable[Rule], limits: Iterable[Limit], where: str = "--config"
) -> None:
    """Acts and alerts are told apart by the name of their rule or limit.

    Raises `SettingsError`.
    """
    for name in {rule.name for rule in rules} & {limit.name for limit in limits}:
        raise SettingsError(
            f"{where}: a [[rule]] and a [[limit]] have the name {harmless(name)!r}; give another"
        )
