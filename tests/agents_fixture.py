"""The environment of livekit-agents for the tests: made once into the cache.

`bin/test` begins to make it at its start, beside everything else.  Where it cannot be made, the
tests that need it fail if CI is set; elsewhere they are named as not run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.lab.voice_agent.agents_environment import AgentsUnavailableError, ensure_agents
from tests.closing import NO_AGENTS, not_run


@pytest.fixture(scope="session")
def agents_environment() -> Path | AgentsUnavailableError:
    """The Python of the environment, or why there is none."""
    try:
        return ensure_agents()
    except AgentsUnavailableError as error:
        return error


@pytest.fixture
def real_agents(
    request: pytest.FixtureRequest, agents_environment: Path | AgentsUnavailableError
) -> None:
    """A test with a real worker of livekit-agents."""
    if isinstance(agents_environment, AgentsUnavailableError):
        if os.environ.get("CI"):
            pytest.fail(f"not run, because {agents_environment}", pytrace=False)
        not_run(request.node, NO_AGENTS, str(agents_environment))
