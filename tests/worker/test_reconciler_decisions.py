"""What the reconciler decides, from plain data."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from livekit.protocol import agent, agent_dispatch, models

from bridge.livekit import reconciler as r
from bridge.livekit.protocol import INSTANCE_ATTRIBUTE

NOW = 1_700_000_000.0
AGENT = models.ParticipantInfo.Kind.AGENT
STANDARD = models.ParticipantInfo.Kind.STANDARD


def dispatch(
    age: float,
    name: str = "watcher",
    *,
    by_us: bool = False,
    dispatch_id: str = "AD_1",
    deleted: bool = False,
    job_age: float | None = None,
) -> agent_dispatch.AgentDispatch:
    def at(seconds_ago: float) -> int:
        return int((NOW - seconds_ago) * 1e9)

    jobs = [] if job_age is None else [agent.Job(state=agent.JobState(started_at=at(job_age)))]
    return agent_dispatch.AgentDispatch(
        id=dispatch_id,
        agent_name=name,
        metadata=r.OUR_DISPATCH if by_us else "",
        state=agent_dispatch.AgentDispatchState(
            created_at=at(age), deleted_at=at(0) if deleted else 0, jobs=jobs
        ),
    )


def participant(kind: models.ParticipantInfo.Kind, **attributes: str) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity="agent-1",
        kind=kind,
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
    )


@pytest.mark.parametrize(
    "patterns, room, expected",
    [
        (("*",), "anything", True),
        ((), "anything", False),
        (("team-*",), "team-1", True),
        (("team-*",), "Team-1", False),
        (("a", "b?"), "b7", True),
        (("a", "b?"), "b77", False),
        (("[ab]*",), "c", False),
        (("*",), "line\nbreak", True),
    ],
)
def test_a_room_is_watched_if_one_glob_fits(
    patterns: Sequence[str], room: str, expected: bool
) -> None:
    assert r.watches(patterns, room) is expected


@pytest.mark.parametrize(
    "participants, expected",
    [
        ([], set[str]()),
        ([participant(AGENT, lk__agent_name="watcher")], {""}),
        ([participant(AGENT, lk__agent_name="other")], set[str]()),
        ([participant(AGENT)], set[str]()),
        ([participant(STANDARD, lk__agent_name="watcher")], set[str]()),
        (
            [
                participant(
                    AGENT, lk__agent_name="watcher", **{INSTANCE_ATTRIBUTE.replace(".", "__"): "x"}
                )
            ],
            {"x"},
        ),
    ],
)
def test_an_agent_is_ours_by_its_kind_and_name_whatever_people_call_themselves(
    participants: list[models.ParticipantInfo], expected: set[str]
) -> None:
    assert r.our_agents(participants, "watcher") == expected


@pytest.mark.parametrize(
    "dispatches, expected",
    [
        ([], False),
        ([dispatch(0.1)], True),
        ([dispatch(4.9)], True),
        ([dispatch(5.1)], False),
        ([dispatch(0.1, "other")], False),
        ([dispatch(0.1, deleted=True)], False),
        ([dispatch(9, by_us=True)], True),
        ([dispatch(11, by_us=True)], False),
        ([dispatch(60, job_age=2)], True),
        ([dispatch(60, job_age=50)], False),
        ([dispatch(60), dispatch(1)], True),
        ([dispatch(-3)], True),
    ],
)
def test_a_dispatch_is_under_way_for_a_few_seconds(
    dispatches: list[agent_dispatch.AgentDispatch], expected: bool
) -> None:
    assert r.under_way(dispatches, "watcher", NOW) is expected


@pytest.mark.parametrize(
    "other, expected",
    [
        (dispatch(1.0, dispatch_id="AD_2"), False),
        (dispatch(1.2, dispatch_id="AD_2"), True),
        (dispatch(0.9, dispatch_id="AD_2"), False),
        (dispatch(1.0, dispatch_id="AD_0"), True),
        (dispatch(60, dispatch_id="AD_0"), False),
        (dispatch(1.2, "other", dispatch_id="AD_0"), False),
        (dispatch(1.2, dispatch_id="AD_0", deleted=True), False),
    ],
)
def test_of_two_dispatches_in_the_same_moment_the_older_stays(
    other: agent_dispatch.AgentDispatch, expected: bool
) -> None:
    mine = dispatch(1.0, dispatch_id="AD_1")
    assert r.superseded(mine, [mine, other]) is expected
    if not other.state.deleted_at and other.agent_name == "watcher" and expected:
        assert not r.superseded(other, [mine, other]), "never both"


def room(name: str) -> r.RoomSeen:
    return r.RoomSeen(f"RM_{name}", name)


def test_due_are_the_rooms_that_match_are_not_held_not_excluded_and_whose_time_has_come() -> None:
    names = ("late", "held", "elsewhere", "excluded", "waits", "early", "room-actors-check-1a2b")
    rooms = [room(name) for name in names]
    memory = {each.sid: r.RoomMemory(next_look=10.0) for each in rooms}
    memory["RM_waits"].next_look = 10.1
    memory["RM_early"].next_look = 9.0
    due = r.due_rooms(
        rooms,
        memory,
        10.0,
        patterns=("*l*", "[whr]*"),
        held={"held"},
        excluded=lambda name, sid: (name, sid) == ("excluded", "RM_excluded"),
    )
    assert {each.name for each in due} == {"early", "late", "elsewhere"}


def test_retries_wait_twice_as_long_each_time_and_longer_where_many_were_dispatched() -> None:
    assert [r.retry_delay(tries, 1) for tries in (1, 2, 3, 4, 5, 6)] == [5, 10, 20, 40, 60, 60]
    assert [r.retry_delay(tries, 300) for tries in (1, 2, 3, 4)] == [10, 20, 40, 60]
    assert r.retry_delay(10_000, 1) == 60
