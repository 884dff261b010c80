"""One process of people, seen from trio: orders out, answers and events in."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, TypeAlias, final

import trio

from bridge.lab.people.process_protocol import LONGEST_LINE
from bridge.output.redact import redact

Listener: TypeAlias = Callable[[Mapping[str, Any]], None]

_CHECKOUT: Final = Path(__file__).resolve().parents[3]
_START_SECONDS: Final = 30.0
_ORDER_SECONDS: Final = 20.0
END_SECONDS: Final = 10.0
"""Seconds for the goodbyes, and then for the end of the process."""

_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class PeopleError(Exception):
    """A person could not do what was asked, or the people's process has ended."""


class _Answer:
    """One order's answer: set once, waited for once."""

    def __init__(self) -> None:
        self._there = trio.Event()
        self._ok: dict[str, Any] = {}
        self._error: str | None = None

    def set(self, ok: dict[str, Any], error: str | None) -> None:
        self._ok, self._error = ok, error
        self._there.set()

    async def wait(self) -> dict[str, Any]:
        await self._there.wait()
        if self._error is not None:
            raise PeopleError(self._error)
        return self._ok


@final
class Process:
    """One child process and the people in it."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        self._process = process
        self._stdin = process.stdin
        self._writing = trio.Lock()
        self._answers: dict[int, _Answer] = {}
        self._last = 0
        self._stderr: deque[str] = deque(maxlen=20)
        self._ready = trio.Event()
        self._listeners: dict[int, Listener] = {}
        self._unread = bytearray()
        self._attached = False
        self.over: str | None = None
        """The reason why it takes no more orders; None while it runs."""

    @classmethod
    async def start(
        cls,
        nursery: trio.Nursery,
        hello: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """`environment`: more variables for the process."""
        path = os.pathsep.join(filter(None, (str(_CHECKOUT), os.environ.get("PYTHONPATH"))))
        self = cls(
            await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "bridge.lab.people"],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "OPENBLAS_NUM_THREADS": "1",
                    "RUST_LOG": "off",
                    **(environment or {}),
                },
            )
        )
        self.attach(nursery)
        try:
            with trio.fail_after(_START_SECONDS):
                await self._write(hello)
                await self._ready.wait()
        except (trio.TooSlowError, *_GONE):
            self.over = "too late"
        finally:
            if not self._ready.is_set() or self.over is not None:
                self.kill()
                with trio.CancelScope(shield=True):
                    await self.end()
        if self.over is not None:
            raise PeopleError(f"the people's process did not start: {self._why()}")
        return self

    def attach(self, nursery: trio.Nursery) -> None:
        """Read the process's output, in `nursery`, until its end or until `detach`."""
        if self._process.returncode is not None and self.over is None:
            self.over = "the people's process has ended"
        self._attached = True
        nursery.start_soon(self._listen)
        nursery.start_soon(self._listen_to_stderr)

    async def detach(self) -> None:
        """Everybody leaves.  The process lives, for another `attach`; `end` ends it.

        The tasks of `attach` are the caller's to cancel then.  If somebody cannot leave,
        the process is ended.
        """
        try:
            await self.ask(do="everyone_leaves", person=0)
            self._attached = False
        except PeopleError:
            self.kill()
            await self.end()

    def listen(self, person: int, listener: Listener) -> None:
        """Pass the events of one person to `listener`, until `forget`."""
        self._listeners[person] = listener

    def forget(self, person: int) -> None:
        self._listeners.pop(person, None)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _why(self) -> str:
        return redact(" | ".join(self._stderr)[-500:]) or "it ended without a word"

    async def _write(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        async with self._writing:
            # A line cut in half by a cancellation would garble every later order, hence the
            # shield; a child that reads no more is of no use.
            with trio.move_on_after(END_SECONDS, shield=True) as patience:
                await self._stdin.send_all(line)
            if patience.cancelled_caught:
                self.kill()

    async def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer; raises `PeopleError` with the reason."""
        if self.over is not None:
            raise PeopleError(self.over)
        self._last += 1
        number = self._last
        answer = self._answers[number] = _Answer()
        try:
            with trio.fail_after(_ORDER_SECONDS):
                await self._write({"id": number, **order})
                return await answer.wait()
        except trio.TooSlowError:
            raise PeopleError(f"{order['do']} took longer than {_ORDER_SECONDS:.0f} s") from None
        except _GONE:
            raise PeopleError(self.over or "the people's process has ended") from None
        finally:
            del self._answers[number]

    async def tell(self, **order: Any) -> None:
        """Give an order and do not wait for the answer."""
        self._last += 1
        with suppress(*_GONE):  # ended, and so have its people
            await self._write({"id": self._last, **order})

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        buffer = self._unread
        try:
            async for chunk in self._process.stdout:
                buffer += chunk
                *lines, rest = buffer.split(b"\n")
                buffer[:] = rest
                for line in lines:
                    self._on_message(json.loads(line))
                if len(buffer) > LONGEST_LINE:
                    raise ValueError("a line without an end")
        except (ValueError, *_GONE) as error:
            self._stderr.append(f"garbled answer: {error}")
            self.kill()
        finally:
            if self._attached:
                self._is_over("the people's process has ended")

    def _on_message(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready.set()
        elif "event" in message:
            if (listener := self._listeners.get(message["person"])) is not None:
                listener(message)
        elif (answer := self._answers.get(message["id"])) is not None:
            answer.set(message.get("ok", {}), message.get("error"))

    async def _listen_to_stderr(self) -> None:
        assert self._process.stderr is not None
        rest = ""
        with suppress(*_GONE):  # it only explains an end, which has come
            async for chunk in self._process.stderr:
                *lines, rest = (rest + chunk.decode("utf-8", "replace")).split("\n")
                self._stderr.extend(line[:500] for line in lines if line.strip())

    def _is_over(self, why: str) -> None:
        if self.over is None:
            self.over = why
        self._ready.set()
        for answer in self._answers.values():
            answer.set({}, f"{self.over}: {self._why()}")
        lost = {"event": "left", "reason": "connection_timeout", "at": time.time()}
        for listener in list(self._listeners.values()):
            listener(lost)

    def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """End of input: everybody leaves, the process ends; killed if that takes too long."""
        await self._stdin.aclose()
        with trio.move_on_after(END_SECONDS):
            await self._process.wait()
        self.kill()
        await self._process.wait()
