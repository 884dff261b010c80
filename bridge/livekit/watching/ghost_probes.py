"""Ghosts: agents that LiveKit lists although their node died with them.

With Redis, `ListParticipants` reads what the nodes wrote there.  A node that dies never takes its
participants out, so they are listed for as long as the room is.  A room whose only agent is a ghost
would never be watched again.  (With `api.enable_psrpc_for_get_list_participants` in LiveKit's
configuration the server asks the room's node instead, and no ghost is listed.)

A ghost is found by a call that changes nothing: `MutePublishedTrack` of a track that does not
exist.  It goes to the participant itself.  Measured on 1.13.5: a live one answers within 10 ms; for
a ghost the server answers "no response from servers" after 3.0 s.

Only agents of our workers are probed, in rooms that are not ours, and an agent in a room of ours
before we leave the room to it.  Probes run beside the reconciler's passes, `MAX_OPEN` at most at
the same time.  Each agent is probed once in `ANSWER_FRESH`, and any agent of each worker once in
`INSTANCE_FRESH`.  As soon as one agent does not answer, the others of its worker are probed.

A worker that lives can have ghosts too: if only its node died, it comes back into the room by
another node after 11 to 15 s.  So a ghost counts only `RETURN_GRACE` after its worker answered
somewhere, or after the ghost itself did not answer first.  It is probed again then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias

import trio
from attrs import define, field

from bridge.livekit.api_errors import Unavailable
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.room_candidates import ListedAgent, ListedRoom
from bridge.livekit.watching.watch_log import WatchLog

NO_SUCH_TRACK: Final = "TR_room_actors_probe"
"""The track that a probe names.  No participant has it."""

NO_RESPONSE: Final = "no response from servers"
"""LiveKit's text where nobody answers for a participant.  Other errors say nothing about it."""

MAX_OPEN: Final = 4
"""Probes at the same time.  Each has one of the eight connections to the server's API, for 3 s if
it finds a ghost."""

INSTANCE_FRESH: Final = 5.0
"""Seconds for which one answer shows that a worker lives."""

ANSWER_FRESH: Final = 120.0
"""Seconds for which an answer counts for the agent itself."""

GHOST_FRESH: Final = 60.0
"""Seconds until an agent that did not answer is probed again."""

RIVAL_FRESH: Final = 10.0
"""Seconds for which an answer counts where we would leave a room of ours to that agent."""

RETRY_PAUSE: Final = 5.0
"""Seconds between two probes of one agent, at least."""

SILENCE: Final = 3.0
"""Seconds that the server waits for an answer."""

RETURN_GRACE: Final = 16.0
"""Seconds in which a worker that lives may come back into a room whose node died."""

SILENT_AGENTS: Final = 4
"""So many agents of one worker without an answer, and none with one: all older agents of that
worker count as ghosts.  So a worker with hundreds of rooms needs no probe of each."""

NEVER: Final = float("-inf")

Key: TypeAlias = tuple[str, str]
"""The SID of a room, and an agent's identity."""


async def answers_probe(api: ServerApi, room: str, identity: str) -> bool:
    """True if the participant answers, False if nobody does for it.  Raises `ApiError`."""
    try:
        await api.mute_track(room, identity, NO_SUCH_TRACK)
    except Unavailable as error:
        if NO_RESPONSE not in str(error):
            raise
        return False
    return True


@define
class _AgentFindings:
    """The findings of the probes of one agent.  Times are on trio's clock."""

    instance: str
    tried_at: float = NEVER
    answered_at: float = NEVER
    silent_at: float = NEVER
    """When it did not answer last."""
    silent_since: float = float("inf")
    """Since when it does not answer."""
    logged: bool = False


@define
class _InstanceFindings:
    """The findings of the probes of all agents of one worker."""

    answered_at: float = NEVER
    silent: set[Key] = field(factory=set[Key])
    """Its agents that did not answer since one of them did."""
    silent_since: float = NEVER
    """When the first probe of these began; Unix seconds on the server's clock."""


@define(eq=False)
class GhostProbes:
    """Finds ghosts among the agents that the server lists."""

    api: ServerApi
    log: WatchLog
    inspect_now: Callable[[str], object]
    """Called with the SID of a room about which a probe found something new."""
    nursery: trio.Nursery | None = None
    """Where probes run.  Without one none begins."""
    _agents: dict[Key, _AgentFindings] = field(factory=dict[Key, _AgentFindings], init=False)
    _instances: dict[str, _InstanceFindings] = field(
        factory=dict[str, _InstanceFindings], init=False
    )
    _open: set[Key] = field(factory=set[Key], init=False)
    """Agents that are being probed, or wait for their second probe."""
    _limit: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(MAX_OPEN), init=False)

    def present(self, room: ListedRoom, agents: Iterable[ListedAgent]) -> list[ListedAgent]:
        """The agents without the ghosts among them.  Begins the probes that are due."""
        present: list[ListedAgent] = []
        for agent in agents:
            if self._is_due(room, agent):
                self._begin(room, agent)
            if self.is_ghost(room, agent):
                self._note_ghost(room, agent)
            else:
                present.append(agent)
        return present

    def answering(self, room: ListedRoom, agents: Iterable[ListedAgent]) -> list[ListedAgent]:
        """The agents that answered just now.  Begins a probe of each other one that may live; its
        answer has the room inspected again."""
        if self.nursery is None:
            return list(agents)
        now, answering = trio.current_time(), list[ListedAgent]()
        for agent in agents:
            findings = self._of_agent(room, agent)
            if now - findings.answered_at < RIVAL_FRESH:
                answering.append(agent)
            elif now - findings.silent_at >= GHOST_FRESH:
                self._begin(room, agent, is_rival=True)
        return answering

    def keep_rooms(self, sids: Collection[str]) -> None:
        """Forget the agents in all other rooms, and workers without agents."""
        forgotten = [key for key in self._agents if key[0] not in sids]
        if not forgotten:
            return
        for key in forgotten:
            del self._agents[key]
        instances = {findings.instance for findings in self._agents.values()}
        self._instances = {
            name: findings for name, findings in self._instances.items() if name in instances
        }

    # ------------------------------------------------------------------------- findings

    def _of_agent(self, room: ListedRoom, agent: ListedAgent) -> _AgentFindings:
        key = room.sid, agent.identity
        if key not in self._agents:
            self._agents[key] = _AgentFindings(agent.instance)
        return self._agents[key]

    def _of_instance(self, agent: ListedAgent) -> _InstanceFindings:
        return self._instances.setdefault(agent.instance, _InstanceFindings())

    def _is_due(self, room: ListedRoom, agent: ListedAgent) -> bool:
        now = trio.current_time()
        findings, instance = self._of_agent(room, agent), self._of_instance(agent)
        if now - findings.tried_at < RETRY_PAUSE:
            return False
        if findings.silent_since <= now:
            return now - findings.silent_at >= GHOST_FRESH
        return (
            now - findings.answered_at >= ANSWER_FRESH
            or now - instance.answered_at >= INSTANCE_FRESH
            or bool(instance.silent)
        )

    def is_ghost(self, room: ListedRoom, agent: ListedAgent) -> bool:
        """True if it is known that this agent is listed and not there."""
        findings, instance = self._of_agent(room, agent), self._of_instance(agent)
        if findings.silent_since < float("inf"):
            # It was probed again at the end of the grace.
            return findings.silent_at >= self._ghost_from(room, agent)
        return (
            len(instance.silent) >= SILENT_AGENTS
            and trio.current_time() >= instance.answered_at + RETURN_GRACE
            # A worker that was started again has new agents, and perhaps the same id.
            and agent.joined_at < instance.silent_since
        )

    def _ghost_from(self, room: ListedRoom, agent: ListedAgent) -> float:
        """When an agent that does not answer counts as a ghost, if it does not answer then."""
        findings, instance = self._of_agent(room, agent), self._of_instance(agent)
        return min(instance.answered_at, findings.silent_since) + RETURN_GRACE

    def _note_ghost(self, room: ListedRoom, agent: ListedAgent) -> None:
        findings = self._of_agent(room, agent)
        if not findings.logged:
            findings.logged = True
            self.log.ghost(room.name, room.sid, agent.identity, agent.instance)

    # --------------------------------------------------------------------------- probes

    def _begin(self, room: ListedRoom, agent: ListedAgent, *, is_rival: bool = False) -> None:
        key = (room.sid, agent.identity)
        if self.nursery is None or key in self._open or not self._limit.available_tokens:
            return
        self._open.add(key)
        self._of_agent(room, agent).tried_at = trio.current_time()
        self.nursery.start_soon(self._probe, room, agent, is_rival)

    async def _probe(self, room: ListedRoom, agent: ListedAgent, is_rival: bool) -> None:
        """Probe until it answers or counts as a ghost."""
        key = (room.sid, agent.identity)
        try:
            while True:
                async with self._limit:
                    began_at = self.api.clock.now()
                    answers = await answers_probe(self.api, room.name, agent.identity)
                self._note(room, agent, answers, began_at)
                if answers or self.is_ghost(room, agent):
                    break
                await trio.sleep_until(self._ghost_from(room, agent) - SILENCE)
        except Exception as error:  # noqa: BLE001  must not end the reconciler
            self.log.text_of(error)
            return
        finally:
            self._open.discard(key)
        if is_rival or not answers:
            self.inspect_now(room.sid)

    def _note(self, room: ListedRoom, agent: ListedAgent, answers: bool, began_at: float) -> None:
        now = trio.current_time()
        findings, instance = self._of_agent(room, agent), self._of_instance(agent)
        if answers:
            findings.answered_at = instance.answered_at = now
            findings.silent_since = float("inf")
            instance.silent.clear()
            return
        findings.silent_at = now
        findings.silent_since = min(findings.silent_since, now)
        if not instance.silent:
            instance.silent_since = began_at
        instance.silent.add((room.sid, agent.identity))
