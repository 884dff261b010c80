"""The same work on livekit-agents: runs in its environment and imports nothing of ours but
`watcher.py`."""

# pyright: reportMissingImports=false
# (livekit.agents is in its own environment only)

from __future__ import annotations

import os

from livekit.agents import (
    AgentServer,
    AutoSubscribe,
    JobContext,
    JobExecutorType,
    JobProcess,
    WorkerPermissions,
    cli,
)

from bench.rooms.watcher import Watcher, record


def ready(_process: JobProcess) -> None:
    record("process_ready")


server = AgentServer(
    setup_fnc=ready,
    host="127.0.0.1",
    port=0,
    load_fnc=lambda: 0.0,
    permissions=WorkerPermissions(can_publish=False, can_publish_data=False, hidden=True),
    job_executor_type=JobExecutorType[os.environ["BENCH_EXECUTOR"]],
)
server.on("worker_registered", lambda *_: record("worker_registered"))


@server.rtc_session(agent_name=os.environ["BENCH_AGENT_NAME"])
async def watch(ctx: JobContext) -> None:
    watcher = Watcher(ctx.job.room.name)
    watcher.listen(ctx.room)
    await ctx.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
    watcher.connected(ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
