"""`[[rule]]`: what is to be done when.  The keys are those of `actors.rules.rule_config`.

[[rule]]
name = "nobody is left alone"
rooms = ["team-*"]
when = { people = "== 1", age = "> 10m" }
for = "5m"
then = [{ send = "This room closes in a minute." }, { end_room = { warn = "1m" } }]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from attrs import asdict, fields_dict, frozen

from actors.rules.acts import Alert, CallWebhook
from actors.rules.rule_config import BadRule, Rule, read_rule
from bridge.config.setting_lists import BadKey, ListKey, SettingList, register_list
from bridge.output.harmless import harmless


@frozen
class RuleTable:
    """One table as TOML has it; None where a key is missing."""

    name: Any
    rooms: Any
    when: Any
    any: Any
    person: Any
    event: Any
    lasting: Any
    keep: Any
    then: Any
    limit: Any
    dry_run: Any

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> RuleTable:
        """A table with the keys of the file."""
        values = {key.replace("-", "_"): value for key, value in table.items()}
        values["lasting"] = values.pop("for", None)
        return cls(**{name: values.get(name) for name in fields_dict(cls)})

    def compile(self) -> Rule:
        """Raises `BadRule`."""
        fields = asdict(self, recurse=False)
        fields["for"] = fields.pop("lasting")
        return read_rule({key: value for key, value in fields.items() if value is not None})


def _require_rule(table: RuleTable) -> None:
    try:
        table.compile()
    except BadRule as error:
        raise BadKey(error.key, harmless(str(error), 500)) from None


def _as_it_is(value: object) -> object:
    return value


RULES: Final = SettingList(
    "rule",
    RuleTable,
    (
        ListKey("name", _as_it_is, required=True),
        ListKey("rooms", _as_it_is),
        ListKey("when", _as_it_is),
        ListKey("any", _as_it_is),
        ListKey("person", _as_it_is),
        ListKey("event", _as_it_is),
        ListKey("for", _as_it_is, attribute="lasting"),
        ListKey("keep", _as_it_is),
        ListKey("then", _as_it_is, required=True),
        ListKey("limit", _as_it_is),
        ListKey("dry-run", _as_it_is),
    ),
    unique="name",
    require=_require_rule,
)
register_list(RULES)


class _HasRules(Protocol):
    """The part of the settings that has rules."""

    def tables(self, row: SettingList[RuleTable]) -> tuple[RuleTable, ...]: ...


def rules_of(settings: _HasRules) -> tuple[Rule, ...]:
    """The rules of the file, compiled."""
    return compiled_rules(settings.tables(RULES))


def compiled_rules(tables: Iterable[RuleTable]) -> tuple[Rule, ...]:
    return tuple(table.compile() for table in tables)


def alert_rules(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Names of the rules that make alerts: those with the act, which do not only say what they
    would do."""
    return tuple(
        rule.name
        for rule in rules
        if not rule.dry_run and any(isinstance(act, Alert) for act in rule.acts)
    )


def webhooks_without_endpoint(rules: Iterable[Rule], endpoints: Iterable[str]) -> list[str]:
    """Names of endpoints that rules call and nothing configures."""
    names = {act.name for rule in rules for act in rule.acts if isinstance(act, CallWebhook)}
    return sorted(names - set(endpoints))
