"""Sessions beside the agents' own logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
from attrs import define

from actors.session import SessionView
from bridge.lab.voice_agent.agent_worker import AgentJob
from bridge.lab.voice_agent.truth_log import Fact

DELAYS: Final = {
    "delay": "e2e_latency",
    "first_token": "llm_node_ttft",
    "first_byte": "tts_node_ttfb",
    "transcription_delay": "transcription_delay",
    "end_of_turn_delay": "end_of_turn_delay",
}


@define
class Compared:
    """All conversations together; differences are seconds."""

    turns: int = 0
    missing: int = 0
    surplus: int = 0
    copied: float = 0.0
    """The largest difference of a delay that the agent reports."""
    computed: float = 0.0
    """The largest difference of a delay that is made of its states."""

    def as_dict(self) -> dict[str, Any]:
        return attrs.asdict(self)


def compare(jobs: Mapping[str, AgentJob], sessions: Mapping[str, SessionView]) -> Compared:
    """Compare each conversation."""
    compared = Compared()
    for room, job in jobs.items():
        facts = job.facts()
        items = {fact["id"]: fact for fact in facts if fact["what"] == "item"}
        turns = {
            str(entry.item): entry
            for entry in sessions[room].timeline or ()
            if entry.event == "agent_turn"
        }
        compared.turns += len(items)
        compared.missing += len(items.keys() - turns.keys())
        compared.surplus += len(turns.keys() - items.keys())
        delays = dict(computed_delays(facts))
        for name in items.keys() & turns.keys():
            metrics, turn = items[name]["metrics"], turns[name]
            for ours, theirs in DELAYS.items():
                if theirs in metrics:
                    difference = abs(getattr(turn, ours) - metrics[theirs])
                    compared.copied = max(compared.copied, difference)
            if name in delays and "e2e_latency" not in metrics:
                seconds = turn.delay
                difference = abs(seconds - delays[name]) if isinstance(seconds, float) else 1.0
                compared.computed = max(compared.computed, difference)
    return compared


def computed_delays(log: list[Fact]) -> Iterator[tuple[str, float]]:
    """From the user's silence to the agent's speech, for each answer that had both."""
    silent_since, delay = None, None
    for fact in log:
        if fact["what"] == "user_state":
            silent_since = fact["at"] if fact["new"] == "listening" else None
        elif fact["what"] == "agent_state" and fact["new"] == "speaking":
            delay = None if silent_since is None else fact["at"] - silent_since
            silent_since = None
        elif fact["what"] == "item" and fact["role"] == "assistant":
            if delay is not None:
                yield fact["id"], delay
            delay = None
