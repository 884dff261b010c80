"""People do what they are told, over real WebRTC, and know the truth about it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from bridge.people import People


@pytest.fixture
def room() -> str:
    return f"people-{uuid4().hex[:8]}"


async def test_a_person_joins_and_knows_its_own_sids_and_times(people: People, room: str) -> None:
    alice = await people.join(room, "alice", name="Alice")
    assert alice.sid.startswith("PA_")
    assert alice.room_sid.startswith("RM_")
    assert alice.joined_at is not None
