"""Gathers what one body says, by run: one body may tell of several jobs."""

from __future__ import annotations

from attrs import define, field

from bridge.uploads.upload_facts import (
    RunFacts,
    RunKey,
    UploadedError,
    UploadedSpan,
    UploadedToolCall,
    UploadedTurn,
    UploadedUsage,
)


@define
class GatheredRun:
    """One run, while a body is read.  Fields as in `RunFacts`."""

    agent_name: str = ""
    room: str = ""
    sdk_version: str = ""
    participant_sid: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    close_reason: str = ""
    turns: list[UploadedTurn] = field(factory=list[UploadedTurn])
    tool_calls: list[UploadedToolCall] = field(factory=list[UploadedToolCall])
    errors: list[UploadedError] = field(factory=list[UploadedError])
    usage: tuple[UploadedUsage, ...] = ()
    outcome: str = ""
    log_errors: int = 0
    retries: int = 0
    redacted: bool = False
    spans: list[UploadedSpan] = field(factory=list[UploadedSpan])

    def run_facts(self, run: RunKey) -> RunFacts:
        return RunFacts(
            run,
            agent_name=self.agent_name,
            room=self.room,
            sdk_version=self.sdk_version,
            participant_sid=self.participant_sid,
            started_at=self.started_at,
            ended_at=self.ended_at,
            close_reason=self.close_reason,
            turns=tuple(self.turns),
            tool_calls=tuple(self.tool_calls),
            errors=tuple(self.errors),
            usage=self.usage,
            outcome=self.outcome,
            log_errors=self.log_errors,
            retries=self.retries,
            redacted=self.redacted,
            spans=tuple(self.spans),
        )


def all_facts(runs: dict[RunKey, GatheredRun]) -> tuple[RunFacts, ...]:
    return tuple(run.run_facts(key) for key, run in runs.items())
