"""The page of agents: by name and by day, over the sessions of a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

from starlette.requests import Request
from starlette.responses import Response

from actors.journal.agent_statistics import AgentStatistics, read_agent_statistics
from actors.journal.session_filters import Filters
from actors.journal.session_reader import SessionReader
from bridge.http.pages.frame import Read, frame_of
from bridge.http.pages.rendering import html, render
from bridge.http.server.routes import HttpRoute
from bridge.output.csv_columns import USAGE

SPANS: Final = (1, 7, 30, 90)
"""Days that one may choose."""
DEFAULT_DAYS: Final = 7
MOST_SHOWN: Final = 50
"""Agents with their days on the page."""
COMPONENTS_SHOWN: Final = (
    ("answer", "answer"),
    ("end_of_turn_delay", "end of turn"),
    ("transcription_delay", "transcript"),
    ("first_token", "first token"),
    ("first_byte", "first byte"),
)
_DAY: Final = 86_400.0


@final
class AgentPages:
    """Has the route of this page."""

    def __init__(self, read: Read, clock: Callable[[], float] = time.time) -> None:
        self._read = read
        self._clock = clock

    def _since(self, days: int) -> float:
        return self._clock() - days * _DAY

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/agents", self._agents),)

    async def _agents(self, request: Request) -> Response:
        text = request.query_params.get("days", "")
        days = next((one for one in SPANS if str(one) == text), DEFAULT_DAYS)
        filters = Filters(since=self._since(days))

        def draw(reader: SessionReader) -> str:
            statistics = read_agent_statistics(reader, filters)
            return render(
                "agents.html",
                **frame_of(request, "/agents"),
                agents=statistics.agents,
                shown=statistics.agents[:MOST_SHOWN],
                looked_at=statistics.sessions,
                complete=statistics.complete,
                usage={one.name: _usage(one) for one in statistics.agents},
                components=COMPONENTS_SHOWN,
                spans=SPANS,
                days=days,
            )

        return html(await self._read(draw))


def _usage(agent: AgentStatistics) -> dict[str, float | None]:
    """By the names of `USAGE`; None where no model reported it."""
    return {name: agent.usage.get(kind, {}).get(what) for name, kind, what in USAGE}
