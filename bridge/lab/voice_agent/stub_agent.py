"""The program of the stub agent: a real worker of livekit-agents, with a log of truth.

    python stub_agent.py        in the environment of requirements-agents.lock

Environment: `LIVEKIT_URL`, `LIVEKIT_API_KEY`, `LIVEKIT_API_SECRET`; `STUB_AGENT_NAME`, the name
that dispatches use; `STUB_AGENT_TRUTH`, the folder of the log; `STUB_AGENT_RECORD`, the value of
`record` as JSON, or empty for livekit-agents' own default.  With `LIVEKIT_OBSERVABILITY_URL` and
a true `record` the agent uploads.
"""

# pyright: reportMissingImports=false
# (livekit.agents is in its own environment only)

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobExecutorType,
    RunContext,
    function_tool,
)

from bridge.lab.voice_agent.conversation_script import (
    GREETING,
    SYSTEM_PROMPT,
    TOOL_FAILURE,
    TOOL_SECONDS,
    TOOL_SKY,
)
from bridge.lab.voice_agent.stub_models import (
    StubDetector,
    StubModel,
    StubRecognizer,
    StubVoice,
)
from bridge.lab.voice_agent.truth_log import LOAD_FILE, WORKER_FILE, TruthLog

FOLDER: Final = Path(os.environ["STUB_AGENT_TRUTH"])
FULL: Final = 0.7
"""The load from which the worker takes no job, as livekit-agents has it in production."""
SPARE_PROCESSES: Final = 1


class StubAgent(Agent):
    """Greets, and has two tools."""

    def __init__(self, truth: TruthLog) -> None:
        super().__init__(instructions=SYSTEM_PROMPT)
        self._truth = truth

    async def on_enter(self) -> None:
        self.session.say(GREETING)

    @function_tool
    async def weather(self, ctx: RunContext, city: str) -> dict[str, str]:
        """Weather of a city"""
        self._truth.note("tool_ran", name="weather", call_id=ctx.function_call.call_id)
        await asyncio.sleep(TOOL_SECONDS)
        self._truth.note("tool_over", name="weather", call_id=ctx.function_call.call_id, ok=True)
        return {"city": city, "sky": TOOL_SKY}

    @function_tool
    async def broken(self, ctx: RunContext) -> None:
        """Always fails"""
        self._truth.note("tool_ran", name="broken", call_id=ctx.function_call.call_id)
        self._truth.note("tool_over", name="broken", call_id=ctx.function_call.call_id, ok=False)
        raise RuntimeError(TOOL_FAILURE)


def load(*_: object) -> float:
    """What the tests ordered; 0 otherwise, whatever the machine does."""
    try:
        return float((FOLDER / LOAD_FILE).read_text())
    except FileNotFoundError:
        return 0.0


def follow(session: AgentSession, truth: TruthLog) -> None:
    """Note every event of the session as livekit-agents itself emits it."""

    def states(who: str) -> Any:
        return lambda event: truth.note(
            f"{who}_state", event.created_at, old=event.old_state, new=event.new_state
        )

    def item(event: Any) -> None:
        one = event.item
        if one.type != "message":
            return
        truth.note(
            "item",
            event.created_at,
            id=one.id,
            role=one.role,
            text=one.text_content,
            interrupted=one.interrupted,
            metrics=dict(one.metrics),
        )

    def tool(event: Any) -> None:
        update = event.update
        if update.type == "tool_call_started":
            call = update.function_call
            truth.note("tool_started", event.created_at, call_id=call.call_id, name=call.name)
        elif update.type == "tool_call_ended":
            truth.note("tool_ended", event.created_at, call_id=update.call_id, status=update.status)

    usage_before: list[Any] = []

    def usage(event: Any) -> None:
        # It comes every second, also where nothing was used.
        models = [one.model_dump() for one in event.usage.model_usage]
        if models != usage_before:
            usage_before[:] = models
            truth.note("usage", event.created_at, models=models)

    def error(event: Any) -> None:
        truth.note("error", event.created_at, type=getattr(event.error, "type", ""))

    session.on("agent_state_changed", states("agent"))
    session.on("user_state_changed", states("user"))
    session.on("conversation_item_added", item)
    session.on("tool_execution_updated", tool)
    session.on("session_usage_updated", usage)
    session.on("error", error)
    session.on("close", lambda event: truth.note("close", reason=str(event.reason.value)))


server = AgentServer(
    num_idle_processes=SPARE_PROCESSES,
    load_threshold=FULL,
    load_fnc=load,
    job_executor_type=JobExecutorType.PROCESS,
    host="127.0.0.1",
    port=0,
)


@server.rtc_session(agent_name=os.environ["STUB_AGENT_NAME"])
async def conversation(ctx: JobContext) -> None:
    truth = TruthLog.of_job(FOLDER, ctx.job.id)
    truth.note("job", job=ctx.job.id, room=ctx.job.room.name, sid=ctx.job.room.sid, pid=os.getpid())
    session: AgentSession = AgentSession(
        vad=StubDetector(),
        stt=StubRecognizer(),
        llm=StubModel(truth),
        tts=StubVoice(truth),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": 0.3},
            "interruption": {"mode": "vad"},
        },
    )
    follow(session, truth)

    async def over() -> None:
        truth.note("shutdown")

    ctx.add_shutdown_callback(over)
    record = os.environ.get("STUB_AGENT_RECORD")
    more: dict[str, Any] = {"record": json.loads(record)} if record else {}
    await session.start(agent=StubAgent(truth), room=ctx.room, **more)
    await ctx.connect()
    truth.note("connected", identity=ctx.room.local_participant.identity)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    worker = TruthLog(FOLDER / WORKER_FILE)
    server.on("worker_registered", lambda *_: worker.note("registered"))
    asyncio.run(server.run())


if __name__ == "__main__":
    main()
