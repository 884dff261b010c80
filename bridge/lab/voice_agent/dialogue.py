"""A conversation of a person with the stub agent, step by step, led by the log of truth.

Each step returns when the log says that it is over, so a slow machine takes longer and nothing
else changes.
"""

from __future__ import annotations

from typing import final

from bridge.lab.people import Person
from bridge.lab.voice_agent.agent_worker import AgentJob, AgentWorker
from bridge.lab.voice_agent.conversation_script import (
    BROKEN_WORDS,
    FAILURE_WORDS,
    LONG_WORDS,
    TALK_SECONDS,
)
from bridge.livekit.server_api import ServerApi


@final
class Dialogue:
    """One person and one job of the agent.  Made by `begin_dialogue`."""

    def __init__(self, person: Person, job: AgentJob) -> None:
        self.person = person
        self.job = job
        self._place = 0

    async def greeting(self) -> None:
        """The agent greets."""
        await self._answer()

    async def spoken_turn(self) -> None:
        """The person says the next sentence of the script, and the agent answers."""
        await self.person.talk(TALK_SECONDS)
        await self._answer()

    async def interruption(self) -> None:
        """The person's next sentence asks for the tool; the next one interrupts its answer, and is
        answered."""
        await self.person.talk(TALK_SECONDS)
        await self._wait("tool_ended")
        await self._state("speaking")
        await self.person.talk(TALK_SECONDS)
        await self._wait("item", role="assistant", interrupted=True)
        await self._answer()

    async def typed_turn(self, text: str = "good morning") -> None:
        """The person types something, and the agent answers."""
        await self.person.send_text(text)
        await self._answer()

    async def failing_tool(self) -> None:
        """The person types what makes a tool fail, and the agent answers."""
        await self.person.send_text(f"this is {BROKEN_WORDS}")
        await self._wait("tool_ended", status="error")
        await self._answer()

    async def model_failure(self) -> None:
        """The person types what makes the model fail; the agent says nothing."""
        await self.person.send_text(FAILURE_WORDS)
        await self._wait("error")
        await self._state("listening")

    async def long_answer(self) -> None:
        """The person types something with a long answer; returns while the agent speaks."""
        await self.person.send_text(LONG_WORDS)
        await self._state("speaking")

    async def closed(self) -> None:
        """The agent has ended its session, after the person left."""
        await self._wait("close")

    async def _answer(self) -> None:
        await self._wait("item", role="assistant")
        await self._state("listening")

    async def _state(self, state: str) -> None:
        await self._wait("agent_state", new=state)

    async def _wait(self, what: str, **fields: object) -> None:
        self._place = await self.job.wait(
            what, lambda fact: fields.items() <= fact.items(), self._place
        )


async def begin_dialogue(
    worker: AgentWorker, api: ServerApi, person: Person, *, speaking: bool = True
) -> Dialogue:
    """The agent is dispatched to the room of a person, who must have been joined with `subscribe`.

    `speaking`: the person gets a microphone, and else can only type.  An agent listens to the first
    person whom it finds, so nobody else may be there.
    """
    if speaking:
        await person.publish("microphone", steady=True)
    await api.create_dispatch(person.room, worker.name, "")
    return Dialogue(person, await worker.wait_job(person.room))
