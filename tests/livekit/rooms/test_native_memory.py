"""Memory is given back to the system once rooms have ended."""

from __future__ import annotations

import ctypes

import pytest
import trio
import trio.testing

from bridge.livekit.rooms import native_memory
from bridge.livekit.rooms.native_memory import AFTER, Trimmer


async def test_rooms_that_end_together_are_one_reason_to_give_memory_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, given_back = trio.open_memory_channel[None](10)
    trimmer = Trimmer(lambda: trio.from_thread.run_sync(send.send_nowait, None))
    for _ in range(3):
        trimmer.soon()
        await trio.sleep(AFTER / 4)
    await given_back.receive()
    trimmer.soon()
    await given_back.receive()
    await trio.sleep(AFTER * 2)
    with pytest.raises(trio.WouldBlock):
        given_back.receive_nowait()


def test_a_c_library_without_such_a_call_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    native_memory.trim()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    native_memory.trim()
