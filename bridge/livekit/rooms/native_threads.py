"""Threads of LiveKit's native library: their timers, scheduling and Python thread state.

**Timers.**  The native library wakes up for timers about 19 times a second and room, also when
nothing happens.  Linux can group the timers of a thread (*timer slack*): with 40 ms, 50 idle
rooms wake `worker_thread` 75 times a second and not 940, and cost half the CPU.  With 60 ms they
cost a tenth less again, and what is measured of tracks is as right as before.  Packets are no
timers: they wake a thread at once.  LiveKit retransmits after 1 s and acknowledges within 0.2 s,
so 60 ms do no harm.

**The audio thread.**  WebRTC pulls sound from every subscribed track 100 times a second.  With
root's rights that thread makes itself real-time: it interrupts every other thread and ignores
timer slack.  We hear no sound, so it runs as an ordinary thread.

**Python's thread state.**  A native thread that calls Python gets a thread state, which Python
frees after each call: `malloc`, `mmap`, `munmap` for each event.  `keep_thread_state` takes
one more reference, which is never given back, so the state stays.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

TIMER_SLACK: Final = 60_000_000
"""Nanoseconds by which a timer of a native thread may be late."""
_PR_SET_TIMERSLACK: Final = 29
_PR_GET_TIMERSLACK: Final = 30

AUDIO_THREAD: Final = b"SyntheticAudioD"
"""WebRTC's `SyntheticAudioDevice`; Linux cuts names of threads to 15 characters."""

MOST_THREAD_STATES: Final = 256
"""Thread states that are kept in a process.  A state stays when its thread ends, so a native
library that uses a new thread for each call must not have one each.  One state is 20 KiB."""

LINUX: Final = sys.platform == "linux"


# --- timers -----------------------------------------------------------------------


def _prctl(option: int, value: int) -> int:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    result = prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return int(result)


def timer_slack_fits() -> bool:
    """True if this thread can set its timer slack, and set it back.  True where it is not Linux."""
    if not LINUX:
        return True
    before = _prctl(_PR_GET_TIMERSLACK, 0)
    with slack_timers():
        during = _prctl(_PR_GET_TIMERSLACK, 0)
    return during == TIMER_SLACK and _prctl(_PR_GET_TIMERSLACK, 0) == before


@contextmanager
def slack_timers() -> Generator[None, None, None]:
    """Threads that are started in this block, and theirs, have `TIMER_SLACK`."""
    if not LINUX:
        yield
        return
    before = _prctl(_PR_GET_TIMERSLACK, 0)
    _prctl(_PR_SET_TIMERSLACK, TIMER_SLACK)
    try:
        yield
    finally:
        _prctl(_PR_SET_TIMERSLACK, before)


# --- the audio thread --------------------------------------------------------------

_TASKS: Final = Path("/proc/self/task")
_calm: set[int] = set()
"""Id of the audio thread that was made an ordinary one."""


def calm_audio_thread() -> None:
    """Make WebRTC's audio thread an ordinary one.  To be called once a room was entered.

    The thread begins with the first room, and may be another one later.  Nothing happens where
    the thread is ordinary already, or elsewhere than on Linux.
    """
    if not LINUX or any(map(_is_audio_thread, _calm)):
        return
    _calm.clear()
    for number in (int(thread.name) for thread in _TASKS.iterdir()):
        if _is_audio_thread(number):
            with suppress(OSError):  # the thread has ended, or the system does not let us
                if os.sched_getscheduler(number) != os.SCHED_OTHER:
                    os.sched_setscheduler(number, os.SCHED_OTHER, os.sched_param(0))
            _calm.add(number)


def _is_audio_thread(number: int) -> bool:
    try:
        return (_TASKS / str(number) / "comm").read_bytes().strip() == AUDIO_THREAD
    except OSError:  # the thread has ended
        return False


# --- Python's thread state ---------------------------------------------------------

_ensure: Final[Any] = getattr(ctypes.pythonapi, "PyGILState_Ensure", None)
_release: Final[Any] = getattr(ctypes.pythonapi, "PyGILState_Release", None)
_LOCKED: Final = 0
"""`PyGILState_Ensure` says that this thread has a state and holds the lock."""
_of_thread: Final = threading.local()
"""Lives in the thread state, so it is empty exactly where the state is a new one."""
_saved_states = 0


def thread_state_fits() -> bool:
    """True if a reference to this thread's state can be taken, and given back."""
    if _ensure is None or _release is None:
        return False
    state = _ensure()
    _release(state)
    return state == _LOCKED


def keep_thread_state() -> None:
    """Keep the Python thread state of the calling native thread.  Cheap when it is kept already."""
    global _saved_states  # noqa: PLW0603
    if not hasattr(_of_thread, "state_kept"):
        _of_thread.state_kept = True
        if _saved_states < MOST_THREAD_STATES:
            _saved_states += 1
            _ensure()


def thread_states() -> int:
    """The number of thread states that were kept so far."""
    return _saved_states
