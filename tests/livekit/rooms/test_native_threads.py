"""Threads of the native library: timers with slack, no real-time audio, one thread state each."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.session.events import DataReceived, Reconnected, TrackSubscribed
from bridge.livekit.rooms import native_threads
from tests.livekit.rooms.room_stage import RealStage, Recorder, simulate

CHECKOUT = Path(__file__).parents[3]

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's threads")


def threads(name: str) -> list[int]:
    """Ids of the threads of this process that have this name."""
    tasks = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    return [one for one in tasks if Path(f"/proc/{one}/comm").read_text().strip() == name]


def slack(thread: int) -> int:
    return int(Path(f"/proc/{thread}/timerslack_ns").read_text())


@linux
async def test_timers_of_native_threads_have_slack_and_those_of_our_own_do_not(
    real: RealStage,
) -> None:
    ours = slack(threading.get_native_id())
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed)
        for name in ("tokio-rt-worker", "network_thread", "worker_thread 0", "SyntheticAudioD"):
            of_this_name = threads(name)
            assert of_this_name, name
            assert {slack(one) for one in of_this_name} == {native_threads.TIMER_SLACK}, name
        (audio,) = threads("SyntheticAudioD")
        assert os.sched_getscheduler(audio) == os.SCHED_OTHER
        await simulate(room, "SIMULATE_FULL_RECONNECT")
        await recorder.wait(Reconnected)
        for one in threads("SyntheticAudioD"):
            assert os.sched_getscheduler(one) == os.SCHED_OTHER
    assert slack(threading.get_native_id()) == ours < native_threads.TIMER_SLACK


@linux
def test_a_library_that_is_started_without_the_seam_has_the_timers_of_the_system() -> None:
    program = """
from pathlib import Path
from bridge.livekit.rooms import seams
seams._fit["timer_slack"] = False
seams.initialize()
for thread in Path("/proc/self/task").iterdir():
    print(Path(f"/proc/{thread.name}/timerslack_ns").read_text().strip())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (set(done.stdout.split()), done.returncode) == ({"50000"}, 0), done.stderr


async def test_a_native_thread_gets_one_thread_state_however_much_it_calls(
    real: RealStage,
) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b"first")
        await recorder.wait(DataReceived)
        before = native_threads.thread_states()
        for _ in range(50):
            await alice.send_data(b"more")
        await recorder.wait(DataReceived, count=51)
        assert native_threads.thread_states() <= before + 1, "the second tokio thread, at most"


class Cookie(ctypes.Structure):
    """The functions behind a stream of the C library's `fopencookie`."""

    WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    _fields_ = (
        ("read", ctypes.c_void_p),
        ("write", WRITE),
        ("seek", ctypes.c_void_p),
        ("close", CLOSE),
    )


def call_twice_on_a_native_thread(callback: Callable[[], None]) -> None:
    """A thread that Python did not make closes a stream: it writes what waits, then closes."""

    @Cookie.WRITE
    def write(_cookie: object, _data: object, size: int) -> int:
        callback()
        return size

    @Cookie.CLOSE
    def close(_cookie: object) -> int:
        callback()
        return 0

    library = ctypes.CDLL(None)
    library.fopencookie.restype = ctypes.c_void_p
    library.fopencookie.argtypes = (ctypes.c_void_p, ctypes.c_char_p, Cookie)
    library.fputs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    library.pthread_create.argtypes = (ctypes.c_void_p,) * 4
    stream = library.fopencookie(None, b"w", Cookie(None, write, None, close))
    library.fputs(b"waits", stream)
    thread = ctypes.c_ulong()
    run = ctypes.cast(library.fclose, ctypes.c_void_p)
    assert library.pthread_create(ctypes.byref(thread), None, run, stream) == 0
    library.pthread_join(thread, None)


@linux
@pytest.mark.parametrize("restored", [True, False], ids=["restored", "not restored"])
def test_a_thread_state_that_is_kept_is_there_at_the_next_call(
    restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_threads, "_saved_states", 0)
    if not restored:
        monkeypatch.setattr(native_threads, "_ensure", lambda: 0)
    states: list[int] = []

    def callback() -> None:
        native_threads.keep_thread_state()
        states.append(native_threads.thread_states())

    call_twice_on_a_native_thread(callback)
    assert states == ([1, 1] if restored else [1, 2])


def test_only_so_many_thread_states_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_threads, "_saved_states", native_threads.MOST_THREAD_STATES)
    taken: list[int] = []
    monkeypatch.setattr(native_threads, "_ensure", lambda: taken.append(1))
    thread = threading.Thread(target=native_threads.keep_thread_state)
    thread.start()
    thread.join()
    assert taken == []
    assert native_threads.thread_states() == native_threads.MOST_THREAD_STATES
