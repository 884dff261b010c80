"""The same on livekit-agents: runs in its environment and imports nothing of ours."""

# pyright: reportMissingImports=false
# (livekit.agents is in its own environment only)

from __future__ import annotations

import os

from livekit.agents import AgentServer, AutoSubscribe, JobContext, cli
from livekit.agents.voice import AudioConfig, BackgroundAudioPlayer

server = AgentServer(host="127.0.0.1", port=0, load_fnc=lambda: 0.0)


@server.rtc_session(agent_name=os.environ["BENCH_AGENT_NAME"])
async def play(ctx: JobContext) -> None:
    await ctx.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
    player = BackgroundAudioPlayer(ambient_sound=AudioConfig(os.environ["BENCH_SOUND"], volume=1.0))
    await player.start(room=ctx.room)


if __name__ == "__main__":
    cli.run_app(server)
