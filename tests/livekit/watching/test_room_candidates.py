"""The decisions of the reconciler, from plain data."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from livekit.protocol import agent, agent_dispatch, models

from bridge.livekit.tokens import INSTANCE_ATTRIBUTE
from bridge.livekit.watching import room_candidates as r

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


INSTANCE = INSTANCE_ATTRIBUTE.replace(".", "__")


@pytest.mark.parametrize(
    "who, agent_name, instance",
    [
        (participant(AGENT, lk__agent_name="watcher"), "watcher", None),
        (participant(AGENT, lk__agent_name="watcher", **{INSTANCE: "x"}), "watcher", "x"),
        (participant(AGENT, lk__agent_name="other"), "watcher", None),
        (participant(AGENT), "watcher", None),
        (participant(STANDARD, lk__agent_name="watcher", **{INSTANCE: "x"}), "watcher", None),
        (participant(AGENT, lk__agent_name="", **{INSTANCE: "x"}), "", "x"),
        (participant(AGENT, lk__agent_name=""), "", None),
        (participant(AGENT), "", None),
    ],
)
def test_an_agent_is_ours_by_its_kind_and_name_whatever_people_call_themselves(
    who: models.ParticipantInfo, agent_name: str, instance: str | None
) -> None:
    result = [agent.instance for agent in r.our_agents([who], agent_name)]
    assert result == ([] if instance is None else [instance])


@pytest.mark.parametrize(
    "who, joined_at",
    [
        (models.ParticipantInfo(kind=AGENT, joined_at=17, joined_at_ms=17_250), 17.25),
        (models.ParticipantInfo(kind=AGENT, joined_at=17), 17.0),
    ],
)
def test_a_server_that_tells_whole_seconds_only_is_understood(
    who: models.ParticipantInfo, joined_at: float
) -> None:
    who.attributes["lk.agent_name"] = "watcher"
    who.attributes[INSTANCE_ATTRIBUTE] = "here"
    (agent,) = r.our_agents([who], "watcher")
    assert agent.joined_at == joined_at


@pytest.mark.parametrize(
    "who, agent_name, result",
    [
        (participant(AGENT, lk__agent_name="watcher"), "watcher", ("agent-1",)),
        (participant(AGENT, lk__agent_name="watcher", **{INSTANCE: "x"}), "watcher", ()),
        (participant(AGENT, lk__agent_name="other"), "watcher", ()),
        (participant(STANDARD, lk__agent_name="watcher"), "watcher", ()),
        (participant(AGENT, lk__agent_name=""), "", ()),
    ],
)
def test_an_agent_that_only_bears_our_name_is_a_namesake(
    who: models.ParticipantInfo, agent_name: str, result: tuple[str, ...]
) -> None:
    assert r.namesakes([who], agent_name) == result


def at(joined_at: float, identity: str, instance: str) -> r.ListedAgent:
    return r.ListedAgent(identity, instance, joined_at)


@pytest.mark.parametrize(
    "agents, goes",
    [
        ([], []),
        ([at(1, "a", "here")], []),
        ([at(2, "b", "there")], []),
        ([at(1, "a", "here"), at(2, "b", "there")], ["b"]),
        ([at(2, "a", "here"), at(1, "b", "there")], ["a"]),
        ([at(1, "a", "here"), at(1, "b", "there")], ["b"]),
        ([at(3, "a", "here"), at(2, "b", "there"), at(1, "c", "third")], ["a", "b"]),
        # What a crash left behind is nobody to its successor, and somebody to another.
        ([at(1, "ghost", "here"), at(2, "a", "here")], []),
        ([at(1, "ghost", "here"), at(2, "b", "there")], ["b"]),
        # Two connections of one worker: the same rule.
        ([at(1, "a", "here"), at(2, "a2", "here")], ["a2"]),
    ],
)
def test_of_two_workers_in_a_room_the_one_that_came_first_stays_whoever_looks(
    agents: list[r.ListedAgent], goes: list[str]
) -> None:
    mine = {"here": {"a", "a2"}, "there": {"b"}, "third": {"c"}}
    decisions = [
        identity
        for instance, identities in mine.items()
        for identity in r.duplicate_agents(agents, identities, instance)
    ]
    assert decisions == goes


@pytest.mark.parametrize(
    "dispatches, seconds",
    [
        ([], 0),
        ([dispatch(0.5)], 3.0),
        ([dispatch(3.6)], 0),
        ([dispatch(0.1, "other")], 0),
        ([dispatch(0.1, deleted=True)], 0),
        ([dispatch(9, by_us=True)], 1.0),
        ([dispatch(11, by_us=True)], 0),
        ([dispatch(60, job_age=2)], 3.0),
        ([dispatch(60, job_age=50)], 0),
        ([dispatch(60), dispatch(1)], 2.5),
        ([dispatch(3), dispatch(60, job_age=1)], 4.0),
        ([dispatch(0.5, dispatch_id="AD_vain")], 0),
        ([dispatch(0.5, dispatch_id="AD_vain", job_age=0)], 5.0),
        ([dispatch(-3)], 6.5),
    ],
)
def test_a_dispatch_is_under_way_for_a_few_seconds(
    dispatches: list[agent_dispatch.AgentDispatch], seconds: float
) -> None:
    left = r.dispatch_wait(dispatches, "watcher", NOW, failed={"AD_vain"})
    assert left == pytest.approx(seconds, abs=1e-3)


def test_in_a_burst_somebody_elses_dispatch_is_not_waited_for_long() -> None:
    for age, left in ((0.5, 0.3), (1.0, 0.0)):
        result = r.dispatch_wait([dispatch(age)], "watcher", NOW, grace=r.SHORT_DISPATCH_GRACE)
        assert result == pytest.approx(left, abs=1e-3)


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
    assert r.is_superseded(mine, [mine, other]) is expected
    if not other.state.deleted_at and other.agent_name == "watcher" and expected:
        assert not r.is_superseded(other, [mine, other]), "never both"


def room(name: str) -> r.ListedRoom:
    return r.ListedRoom(f"RM_{name}", name)


def test_candidates_are_the_rooms_that_are_ours_and_those_that_should_be() -> None:
    names = ("late", "ours", "elsewhere", "excluded", "wanted", "room-actors-check-1a2b")
    rooms = [room(name) for name in names]
    memory = {each.sid: r.RoomMemory(inspect_at=10.0) for each in rooms}
    memory["RM_ours"].ours = True
    result = r.candidates(
        rooms,
        memory,
        patterns=("*l*", "[r]*"),
        resumable={"RM_wanted"},
        excluded=lambda name, sid: (name, sid) == ("excluded", "RM_excluded"),
    )
    assert [each.name for each in result] == ["late", "ours", "elsewhere", "wanted"]


def test_retries_wait_twice_as_long_each_time_and_longer_where_many_were_dispatched() -> None:
    waits = [3.5, 7, 14, 28, 56, 60, 60]
    assert [r.retry_delay(tries) for tries in (1, 2, 3, 4, 5, 6, 7)] == waits
    assert [r.retry_delay(tries, 300) for tries in (1, 2, 3, 4)] == [10, 20, 40, 60]
    assert r.retry_delay(10_000) == 60
