"""A real worker of livekit-agents, watched: each number is the one of the agent's own log.

One run of the program, of the agent's worker and of the people serves all tests here:

* *talk*: a whole conversation, while a person sends what only an agent may send;
* *dead*: the agent's process is killed while it speaks;
* *never*: an agent is dispatched whose worker is full;
* *gap*: the program is killed and comes back during the conversation.

The agents also upload to the program, at their end.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import trio
from attrs import define, field
from livekit.protocol.agent_pb import agent_session as pb

from bridge.lab.people import People, Person, SharedProcess, open_people
from bridge.lab.server import PrivateServer
from bridge.lab.server.ports import free_port
from bridge.lab.voice_agent.agent_worker import AgentJob, AgentWorker, agent_worker
from bridge.lab.voice_agent.agents_environment import AgentsUnavailableError
from bridge.lab.voice_agent.conversation_script import SECRETS
from bridge.lab.voice_agent.dialogue import Dialogue, begin_dialogue
from bridge.lab.voice_agent.truth_log import Fact
from bridge.livekit.server_api import ServerApi
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import WAIT, Agent, running_agent, server_api
from tests.session.session_story import as_json

pytestmark = pytest.mark.usefixtures("real_agents")

TOPIC: Final = "lk.agent.session"
FORGED: Final = "item_forged"
RECORD: Final = '{"audio": false}'
"""What the agents upload: everything but the sound."""
ROLES: Final = {"assistant": "agent", "user": "user"}
DELAYS: Final = {
    "delay": "e2e_latency",
    "first_token": "llm_node_ttft",
    "first_byte": "tts_node_ttfb",
    "transcription_delay": "transcription_delay",
    "end_of_turn_delay": "end_of_turn_delay",
}
"""Names of an entry, and livekit-agents' own."""
MILLISECOND: Final = 0.001


@define
class Played:
    """What happened in each room, and what the program has of it."""

    name: str = ""
    """Of the agent."""
    jobs: dict[str, AgentJob] = field(factory=dict[str, AgentJob])
    sessions: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])
    lines: list[str] = field(factory=list[str])
    """The whole log of both runs of the program."""
    stored: bytes = field(default=b"", repr=False)
    """All files of the data directory."""
    dead_before_leave: bool = False
    """The program said that the agent died before LiveKit did."""
    missed: tuple[str, ...] = ()
    """Ids of the turns that nobody could see, and that were not known before the upload."""


@pytest.fixture(scope="module")
def played(
    livekit_server: PrivateServer,
    shared_people: SharedProcess,
    agents_environment: Path | AgentsUnavailableError,
    tmp_path_factory: pytest.TempPathFactory,
) -> Played:
    """Also where livekit-agents is missing: then `real_agents` says so for each test."""
    if isinstance(agents_environment, AgentsUnavailableError):
        return Played()
    folder, name = tmp_path_factory.mktemp("voice"), f"voice-{uuid4().hex[:8]}"

    async def play() -> Played:
        server = livekit_server
        address = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        uploads = {"LIVEKIT_OBSERVABILITY_URL": f"http://{address}", "STUB_AGENT_RECORD": RECORD}
        with agent_worker(agents_environment, server, folder / "truth", name, uploads) as worker:
            async with (
                open_people(
                    server.url, server.api_key, server.api_secret, shared=shared_people
                ) as people,
                server_api(server) as api,
            ):
                data_dir = folder / "data"
                stage = Stage(server, worker, people, api, data_dir, address, Played(name))
                await stage.play()
                return stage.played

    return trio.run(play)


@define
class Stage:
    """The rooms and those who are in them."""

    server: PrivateServer
    worker: AgentWorker
    people: People
    api: ServerApi
    data_dir: Path
    address: str
    """Where the program serves HTTP, in both of its runs."""
    played: Played

    def room(self, kind: str) -> str:
        return f"{self.played.name}-{kind}"

    async def play(self) -> None:
        async with self._program(f"{self.played.name}-*") as program:
            await self.worker.registered()
            async with trio.open_nursery() as nursery:
                # One after the other: a worker without a job takes them so.
                nursery.start_soon(self._talk, await self._begin("talk", program))
                nursery.start_soon(self._dies, await self._begin("dead", program), program)
                gap = await self._begin("gap", program)
                nursery.start_soon(self._never_comes, program)
                await gap.greeting()
                await program.logged("agent_turn", room=self.room("gap"))
            # The report may come before or after the end of the room.
            await self._stored_when("talk", lambda session: session["status"] == "ended")
            await self._stored_report("talk")
            for kind in ("dead", "never"):
                await self._stored_problem(kind)
            await self._stored_turns("gap", 1)
            program.signal(signal.SIGKILL)
            await program.ended()
            self.played.lines += program.lines
        seen_until = len(gap.job.facts("item"))
        await gap.typed_turn("nobody listens now")
        missed = [fact["id"] for fact in gap.job.facts("item")[seen_until:]]
        async with self._program("") as program:
            await program.logged("reconnected", room=self.room("gap"))
            await self._listens_again(gap, program)
            known = {entry["item"] for entry in program.events("agent_turn", room=self.room("gap"))}
            self.played.missed = tuple(one for one in missed if one not in known)
            await gap.person.leave()
            await gap.closed()
            await self._stored_report("gap")
            await program.stop()
            self.played.lines += program.lines
        for kind in ("talk", "dead", "never", "gap"):
            self.played.sessions[kind] = await self._stored_when(kind, bool)
        files = (one for one in self.data_dir.rglob("*") if one.is_file())
        self.played.stored = b"".join(one.read_bytes() for one in files)

    def _program(self, watch: str) -> Any:
        flags = ("--watch", watch, "--log-level", "debug", "--http", self.address)
        return running_agent(self.server, self.data_dir, *flags)

    async def _begin(self, kind: str, program: Agent) -> Dialogue:
        alice = await self._person(kind, program)
        conversation = await begin_dialogue(self.worker, self.api, alice, speaking=kind == "talk")
        self.played.jobs[kind] = conversation.job
        return conversation

    async def _person(self, kind: str, program: Agent) -> Person:
        """Somebody in a room that is watched: what an agent did earlier nobody saw."""
        alice = await self.people.join(self.room(kind), "alice", subscribe=True)
        await program.until(
            lambda: any(
                program.events(event, room=alice.room, identity=alice.identity)
                for event in ("participant_found", "participant_connected")
            )
        )
        return alice

    async def _talk(self, talk: Dialogue) -> None:
        await talk.greeting()
        await talk.spoken_turn()
        await self._forge()
        await talk.interruption()
        await talk.typed_turn()
        await talk.failing_tool()
        await talk.model_failure()
        await talk.person.leave()
        await talk.closed()
        await talk.job.ended()

    async def _forge(self) -> None:
        """A person sends what only an agent is believed."""
        mallory = await self.people.join(self.room("talk"), "mallory")
        turn = pb.ChatMessage(id=FORGED, role=pb.ASSISTANT, interrupted=True)
        item = pb.ChatContext.ChatItem(message=turn)
        added = pb.AgentSessionEvent.ConversationItemAdded(item=item)
        failed = pb.AgentSessionEvent.Error(message="forged")
        for event in (
            pb.AgentSessionEvent(conversation_item_added=added),
            pb.AgentSessionEvent(error=failed),
        ):
            message = pb.AgentSessionMessage(event=event).SerializeToString()
            await mallory.send_file(message, name="AS_forged", topic=TOPIC)
        await mallory.send_text("forged words", topic="lk.transcription")
        await mallory.set_attributes({"lk.agent.state": "speaking", "lk.agent.name": "forged"})
        await mallory.leave()

    async def _listens_again(self, gap: Dialogue, program: Agent) -> None:
        """Type until an answer is seen: the first messages after an entry may be lost."""
        while True:
            await gap.typed_turn("somebody listens again")
            last = gap.job.facts("item")[-1]
            with trio.move_on_after(5):
                await program.logged("agent_turn", room=self.room("gap"), item=last["id"])
                return

    async def _dies(self, dead: Dialogue, program: Agent) -> None:
        await dead.greeting()
        await dead.long_answer()
        room, identity = self.room("dead"), dead.job.identity
        await program.logged("agent_state", room=room, identity=identity, state="speaking", times=2)
        dead.job.kill()
        await program.logged("agent_problem", room=room, problem="dead")
        left = program.events("participant_disconnected", room=room, identity=identity)
        self.played.dead_before_leave = not left

    async def _never_comes(self, program: Agent) -> None:
        self.worker.set_load(1.0)
        room = (await self._person("never", program)).room
        await self.api.create_dispatch(room, self.worker.name, "")
        await program.logged("agent_problem", room=room, problem="missing")

    async def _stored_report(self, kind: str) -> None:
        await self._stored_when(kind, lambda session: the_run(session)["close_reason"])

    async def _stored_problem(self, kind: str) -> None:
        await self._stored_when(kind, lambda session: entries(session, "agent_problem"))

    async def _stored_turns(self, kind: str, number: int) -> None:
        await self._stored_when(kind, lambda session: len(entries(session, "agent_turn")) >= number)

    async def _stored_when(
        self, kind: str, holds: Callable[[dict[str, Any]], object]
    ) -> dict[str, Any]:
        """The session of a room, once the store has it so."""

        def read() -> dict[str, Any] | None:
            with open_reader(self.data_dir) as reader:
                session = reader.session(self.room(kind))
            return None if session is None else as_json(session)

        with trio.fail_after(WAIT):
            while True:
                session = await trio.to_thread.run_sync(read)
                if session is not None and holds(session):
                    return session
                await trio.sleep(0.1)


def entries(session: Mapping[str, Any], event: str, **fields: object) -> list[dict[str, Any]]:
    return [
        entry
        for entry in session["timeline"]
        if entry["event"] == event and fields.items() <= entry.items()
    ]


def agents_of(session: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (one for one in session["participants"] if one["kind"] == "agent")


def the_run(session: Mapping[str, Any]) -> dict[str, Any]:
    (agent,) = agents_of(session)
    (run,) = agent["agent"]["runs"]
    return run


def turns_of(session: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["item"]: entry for entry in entries(session, "agent_turn")}


def delays_of(item: Fact) -> dict[str, Any]:
    """What an entry must have of an item of the agent's log, where the agent has it."""
    metrics = item["metrics"]
    return {
        ours: pytest.approx(metrics[theirs], abs=MILLISECOND)
        for ours, theirs in DELAYS.items()
        if theirs in metrics
    }


def test_each_turn_is_there_once_with_the_delays_of_the_agents_own_log(played: Played) -> None:
    session, items = played.sessions["talk"], played.jobs["talk"].facts("item")
    turns = turns_of(session)
    assert [*turns] == [item["id"] for item in items]
    for item in items:
        turn = turns[item["id"]]
        assert turn["role"] == ROLES[item["role"]]
        assert turn["interrupted"] == item["interrupted"]
        wanted = delays_of(item)
        assert {name: turn[name] for name in wanted} == wanted, item
    assert sum(item["interrupted"] for item in items) == 1
    assert sum("e2e_latency" in item["metrics"] for item in items) >= 2


def test_a_delay_that_the_agent_does_not_give_is_computed_from_its_states(played: Played) -> None:
    turns, facts = turns_of(played.sessions["talk"]), played.jobs["talk"].facts()
    computed, listening, delay = 0, None, None
    for fact in facts:
        if fact["what"] == "user_state":
            listening = fact["at"] if fact["new"] == "listening" else None
        elif fact["what"] == "agent_state" and fact["new"] == "speaking":
            delay = None if listening is None else fact["at"] - listening
            listening = None
        elif fact["what"] == "item" and fact["role"] == "assistant":
            turn = turns[fact["id"]]
            if "e2e_latency" not in fact["metrics"] and delay is not None:
                # The agent reads its clock twice, and a busy machine may stop it between.
                assert turn["delay"] == pytest.approx(delay, abs=0.25), fact
                computed += 1
            assert turn["computed"] == ("e2e_latency" not in fact["metrics"] and delay is not None)
            delay = None
    assert computed, "typed turns have no delay of their own"


def test_the_counts_of_a_run_are_those_of_the_agents_own_log(played: Played) -> None:
    session, job = played.sessions["talk"], played.jobs["talk"]
    run, items = the_run(session), job.facts("item")
    assert run["job_id"] == job.id
    assert run["close_reason"] == job.facts("close")[0]["reason"]
    assert run["dispatched_at"] is not None
    assert run["turns"] == len(items)
    assert run["user_turns"] == sum(item["role"] == "user" for item in items)
    assert run["interruptions"] == 1
    assert (run["tool_calls"], run["tool_errors"]) == (2, 1)
    assert run["errors"] == len(job.facts("error")) == 1
    states = [entry["state"] for entry in entries(session, "agent_state")]
    wanted = [fact["new"] for fact in job.facts("agent_state")]
    # The first ones are known twice, and perhaps late: from the agent's attribute as it joins.
    assert states[-len(wanted) + 2 :] == wanted[2:]


def test_calls_of_tools_have_their_result_and_duration(played: Played) -> None:
    session, job = played.sessions["talk"], played.jobs["talk"]
    began = {fact["call_id"]: fact for fact in job.facts("tool_started")}
    wanted = [
        {
            "tool": began[end["call_id"]]["name"],
            "seconds": pytest.approx(end["at"] - began[end["call_id"]]["at"], abs=MILLISECOND),
            "result": {"done": "ok"}.get(end["status"], end["status"]),
        }
        for end in job.facts("tool_ended")
    ]
    calls = entries(session, "agent_tool_call")
    assert [{key: call[key] for key in ("tool", "seconds", "result")} for call in calls] == wanted
    assert [call["result"] for call in calls] == ["ok", "error"]


def test_usage_is_the_last_total_of_each_model(played: Played) -> None:
    usage = the_run(played.sessions["talk"])["usage"]
    models = played.jobs["talk"].facts("usage")[-1]["models"]
    assert len(models) == 3
    for model in models:
        kind = model["type"].removesuffix("_usage")
        amounts = {
            name: pytest.approx(amount, abs=MILLISECOND)
            for name, amount in model.items()
            if isinstance(amount, int | float) and amount
        }
        assert usage[kind][f"{model['provider']}/{model['model']}"] == amounts


def test_a_person_who_sends_what_an_agent_sends_changes_nothing(played: Played) -> None:
    session = played.sessions["talk"]
    (mallory,) = (one for one in session["participants"] if one["identity"] == "mallory")
    assert mallory["agent"] is None
    assert mallory["attributes"]["lk.agent.state"] == "speaking", "it is an attribute like others"
    assert FORGED not in turns_of(session)
    about = [entry for entry in session["timeline"] if entry["event"].startswith("agent_")]
    assert {entry["identity"] for entry in about} == {played.jobs["talk"].identity}


def test_an_agent_that_is_killed_while_it_speaks_is_noticed_before_livekit_notices(
    played: Played,
) -> None:
    session, job = played.sessions["dead"], played.jobs["dead"]
    problem = entries(session, "agent_problem", problem="dead")[-1]
    assert problem["identity"] == job.identity
    assert played.dead_before_leave


def test_an_agent_that_never_came_is_told_by_the_name_of_its_dispatch(played: Played) -> None:
    session = played.sessions["never"]
    (problem,) = entries(session, "agent_problem")
    assert problem["problem"] == "missing"
    assert problem["agent"] == played.name


def test_a_run_goes_on_after_our_own_end_and_an_upload_fills_the_gap(played: Played) -> None:
    session, job = played.sessions["gap"], played.jobs["gap"]
    run, turns = the_run(session), turns_of(session)
    assert run["job_id"] == job.id
    assert session["coverage"] < 1.0
    assert session["gaps"]
    assert len(played.missed) == 2, "until the agent uploads its report"
    assert turns.keys() == {fact["id"] for fact in job.facts("item")}
    assert run["turns"] == len(turns)


def test_nothing_that_was_spoken_is_in_the_log_the_sessions_or_the_store(played: Played) -> None:
    everything = "\n".join([*played.lines, json.dumps(played.sessions)])
    assert "Traceback" not in everything
    for secret in SECRETS:
        assert secret not in everything
        assert secret.encode() not in played.stored
