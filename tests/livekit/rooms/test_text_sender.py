"""Texts that we send from our connection: one contract over the real server and the simulation."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from livekit import rtc

from actors.rooms.room_port import OpenRoom, SendOutcome
from actors.session.events import DataReceived
from bridge.livekit.rooms.text_sender import send_text
from bridge.livekit.tokens import SENDER_GRANTS
from tests.livekit.rooms.room_stage import RealStage, Recorder, SimulatedStage, Stage


def sending(
    stage: Stage, offer: Recorder, *, visible: bool = False
) -> AbstractAsyncContextManager[OpenRoom]:
    """In the room with the permission to send."""
    if isinstance(stage, RealStage):
        return stage.port.open(stage.job("sender", grants=SENDER_GRANTS, visible=visible), offer)
    return stage.open(offer, "sender")


class Contract:
    async def test_a_text_is_a_stream_for_everybody_or_for_some_and_a_hidden_sender_has_no_name(
        self, stage: Stage
    ) -> None:
        await stage.join("alice")
        scout, sender = Recorder(), Recorder()
        async with stage.open(scout, "scout"), sending(stage, sender) as room:
            with trio.fail_after(60):
                # The scout's data channel opens a moment after its entry.
                while not scout.all(DataReceived):
                    assert await room.send_text("hello", topic="lk.chat") == "sent"
                    await trio.sleep(0.1)
            to_alice = await room.send_text("only for her", topic="hers", identities=["alice"])
            assert to_alice == "sent"
            assert await room.send_text("the last", topic="end") == "sent"
            last = await scout.wait(DataReceived, topic="end")
        assert (last.identity, last.size, last.format, last.stream) == (None, 8, "text", True)
        assert {one.topic for one in scout.all(DataReceived)} == {"lk.chat", "end"}
        assert sender.all(DataReceived) == []


class TestLiveKit(Contract):
    @pytest.fixture
    def stage(self, real: RealStage) -> Stage:
        return real


class TestSimulated(Contract):
    @pytest.fixture
    def stage(self, simulated: SimulatedStage) -> Stage:
        return simulated


@pytest.mark.parametrize(
    "failure, outcome",
    [(rtc.StreamError("unable to send"), "unknown"), (RuntimeError("no handle"), "not sent")],
)
async def test_only_a_text_that_the_sdk_did_not_take_is_surely_not_sent(
    failure: Exception, outcome: SendOutcome
) -> None:
    faults: list[tuple[str, BaseException]] = []

    async def fail(*_: object, **__: object) -> None:
        raise failure

    def run(send: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(StopIteration):
            send.send(None)

    room: Any = SimpleNamespace(local_participant=SimpleNamespace(send_text=fail))
    sent = await send_text(
        room, "hello", topic="lk.chat", identities=(), spawn=run,
        fault=lambda *fault: faults.append(fault),
    )  # fmt: skip
    assert sent == outcome
    assert faults == [("send_text", failure)]


async def test_a_visible_sender_has_a_name_and_without_the_permission_nothing_is_sent(
    real: RealStage,
) -> None:
    await real.join("alice")
    scout, other = Recorder(), Recorder()
    async with (
        real.open(scout, "scout") as silent,
        sending(real, other, visible=True) as room,
    ):
        assert await silent.send_text("dropped by the server", topic="end") == "not sent"
        with trio.fail_after(60):
            while not scout.all(DataReceived):
                assert await room.send_text("hello", topic="lk.chat") == "sent"
                await trio.sleep(0.1)
    assert {one.identity for one in scout.all(DataReceived)} == {"sender"}
    assert other.all(DataReceived) == []
