"""Keeps LiveKit's list of agents fresh, so that a dispatch into a large room is quick.

LiveKit asks its nodes for the names of the registered agents at the first dispatch, join or new
room after a worker registered, and again a minute after it asked last.  It then collects answers
for 5 s.  In this time each job of a named agent takes one of the 50 threads of its pool until the
5 s are over.  So the first dispatch after a quiet minute into a room of about 45 people or more
is offered 5.2 s late (read in livekit-server 1.13.5, and measured).

`refresh` is the cheapest request that makes the server ask: it dispatches an agent that does not
exist into the watched room with the fewest people, and takes the dispatch back.  Nobody in the
room sees it, and LiveKit sends no webhook for it.  In the 5 s after it the server is slow for
large rooms, as it is after every other first request of a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Final, Protocol

import structlog
import trio
from livekit.protocol import agent_dispatch

from bridge.livekit.api_errors import ApiError

log = structlog.get_logger()

NOBODY: Final = "room-actors-refresh"
"""The name of an agent that does not exist."""
REFRESH_EVERY: Final = 61.0
"""Seconds.  LiveKit's list is good for 60 s."""
RETRY_AFTER: Final = 1.0
"""Seconds until the next try where there was no room for it."""
MOST_PEOPLE: Final = 20
"""A room with more people is used for the first refresh only, if there is no other: each of them
takes a thread of the server's pool."""


class DispatchApi(Protocol):
    """The part of LiveKit's API that is used here."""

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch: ...

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None: ...


async def refresh(api: DispatchApi, room: str) -> bool:
    """Have the server ask for the names of the agents.  False if the calls failed."""
    try:
        dispatch = await api.create_dispatch(room, NOBODY)
        await api.delete_dispatch(room, dispatch.id)
    except ApiError as error:
        log.debug("dispatch_refresh_failed", room=room, error=str(error))
        return False
    return True


async def refresh_always(api: DispatchApi, people_by_room: Callable[[], Mapping[str, int]]) -> None:
    """Refresh at once and every minute.

    `people_by_room` gives the number of people in each watched room, by its name.
    """
    most = inf
    while True:
        rooms = [(count, name) for name, count in people_by_room().items() if count > 0]
        count, name = min(rooms, default=(inf, ""))
        done = name != "" and count <= most and await refresh(api, name)
        most = MOST_PEOPLE if done else most
        await trio.sleep(REFRESH_EVERY if done else RETRY_AFTER)
