"""Counts over the usage of agents' models in all sessions of this run, for metrics.

An agent tells of running totals, with no entry of the timeline.  So what is counted of each run is
remembered, and only what came since is added: at a scrape, at entries about agents, and when the
session ends.  The remembered totals are those of the state itself and take no memory of their own.

The names of models are the agents'.  There are at most `MOST_MODELS` of them, and `MOST_VERSIONS`
versions; others count as `OTHER_MODEL`.  Amounts are of a fixed table: an upload may have any.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final, TypeAlias, final

from attrs import define, field

from actors.session import SessionState
from actors.session.agent_reports import ModelUsage
from actors.session.agent_run import AgentRun, total_usage

MOST_MODELS: Final = 50
MOST_VERSIONS: Final = 20
MOST_ENDED: Final = 200
"""Sessions that ended whose counted usage is remembered: the report of an agent may come later."""
OTHER_MODEL: Final = "…other"

TOKENS: Final[Mapping[str, str]] = {
    "input_tokens": "input",
    "input_cached_tokens": "input_cached",
    "output_tokens": "output",
}
"""The label `type` by the amount; `input_cached` is a part of `input`."""

COUNTED: Final = frozenset({*TOKENS, "characters_count", "audio_duration", "session_duration"})
"""The amounts that count.  A model without any of them takes no place among the names."""

_ModelKey: TypeAlias = tuple[str, str]
"""Kind of the model, and provider and name as one text."""


@define
class _Counted:
    """The amounts of a run that were counted."""

    usage: Mapping[str, ModelUsage] = field(factory=dict[str, ModelUsage])
    version: bool = False


@final
class UsageCounters:
    """See the module.  All counts only grow."""

    def __init__(self) -> None:
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        """By kind of model, model and type."""
        self.characters: Counter[_ModelKey] = Counter()
        """That voices spoke."""
        self.seconds: dict[_ModelKey, float] = {}
        """Of sound that was heard or spoken, and of sessions of realtime models."""
        self.versions: Counter[str] = Counter()
        """Runs whose agent gave its version, by the version."""
        self._models: set[str] = set()
        self._live: dict[str, dict[int, _Counted]] = {}
        """By session, and by the number of a run: its job may be known later."""
        self._ended: OrderedDict[str, dict[int, _Counted]] = OrderedDict()

    def advance(self, state: SessionState, *, earlier: bool) -> None:
        """Add the usage of a session since it was added last.

        `earlier`: an earlier run of the program may have counted what a session has that was not
        met here yet.
        """
        agents, sid = state.agents, state.room_sid
        if agents is None or not agents.runs:
            return
        session = self._live.get(sid)
        session = self._ended.get(sid) if session is None else session
        if session is None:
            session = self._live[sid] = {}
            if earlier:
                session |= {
                    run.number: _Counted(total_usage(run), bool(run.version))
                    for run in agents.runs.values()
                }
        for run in agents.runs.values():
            self._add(session.setdefault(run.number, _Counted()), run)
        if len(session) > len(agents.runs):
            for number in session.keys() - {run.number for run in agents.runs.values()}:
                del session[number]

    def end(self, room_sid: str) -> None:
        """A session has ended.  A report may still come."""
        session = self._live.pop(room_sid, None)
        if session is not None:
            self._ended[room_sid] = session
            if len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)

    def _add(self, counted: _Counted, run: AgentRun) -> None:
        if run.version and not counted.version:
            counted.version = True
            self.versions[_bounded(self.versions, run.version, MOST_VERSIONS)] += 1
        before, now = counted.usage, total_usage(run)
        if before is now:
            return
        counted.usage = now
        for key, usage in now.items():
            known = before.get(key)
            amounts = dict[str, float]() if known is None else known.amounts
            more = {
                name: amount - amounts.get(name, 0.0)
                for name, amount in usage.amounts.items()
                if name in COUNTED and amount > amounts.get(name, 0.0)
            }
            if more:
                self._add_model(usage, more)

    def _add_model(self, usage: ModelUsage, more: Mapping[str, float]) -> None:
        name = _bounded(self._models, f"{usage.provider}/{usage.model}", MOST_MODELS)
        self._models.add(name)
        model = (usage.kind, name)
        for amount, kind in TOKENS.items():
            if amount in more:
                self.tokens[*model, kind] += round(more[amount])
        if "characters_count" in more:
            self.characters[model] += round(more["characters_count"])
        seconds = more.get("audio_duration", 0.0) + more.get("session_duration", 0.0)
        if seconds:
            self.seconds[model] = self.seconds.get(model, 0.0) + seconds


def _bounded(known: set[str] | Mapping[str, int], name: str, most: int) -> str:
    return name if name in known or len(known) < most else OTHER_MODEL
