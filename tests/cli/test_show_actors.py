"""SIGUSR1 shows the actors of a running program, also one whose loop is stuck."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from actors.runtime import ChildSpec, Service, open_system
from bridge.livekit.rooms.native_memory import heap_bytes


async def test_sigusr1_shows_every_actor_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    from bridge.app.worker_role import show_actors

    before = signal.signal(signal.SIGUSR1, show_actors)
    try:
        async with open_system() as system:
            system.supervisor.start_child(
                ChildSpec("a", lambda: Service(trio.sleep_forever), shutdown=0.0)
            )
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGUSR1)  # nobody gives control back to trio here
            said = capfd.readouterr().err
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "/ [running] generation 1" in said
    assert "  a [running] generation 1; queued 0" in said
    assert ("C heap: " in said.splitlines()[-1]) == (heap_bytes() is not None)
