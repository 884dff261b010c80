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


def test_the_heap_says_what_is_in_use_free_and_mapped() -> None:
    before = native_memory.heap_bytes()
    if before is None:
        assert not hasattr(ctypes.CDLL(None), "mallinfo2")
        return
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = (ctypes.c_void_p,)
    pieces = [library.malloc(64 << 10) for _ in range(256)]
    during = native_memory.heap_bytes()
    assert during is not None
    assert 16 << 20 <= (during.in_use + during.mapped) - (before.in_use + before.mapped) < 32 << 20
    for piece in pieces:
        library.free(piece)
    after = native_memory.heap_bytes()
    assert after is not None
    assert after.in_use + after.mapped < during.in_use + during.mapped - (15 << 20)
    assert str(after).startswith("C heap: ")


def test_a_c_library_without_the_call_has_no_heap_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert native_memory.heap_bytes() is None
