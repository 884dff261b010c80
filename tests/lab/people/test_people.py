"""People do what they are told, over real WebRTC, and know the truth about it.

What a person claims is held against what the server's own API says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

import psutil
import pytest
import trio
import trio_asyncio
from livekit.api import AccessToken, VideoGrants
from livekit.protocol import models

from bridge.lab.people import (
    Grants,
    People,
    PeopleError,
    Person,
    SharedProcess,
    Source,
    open_people,
    people_seams,
)
from bridge.lab.people.child import PeopleHost
from bridge.lab.people.confirmed_leave import ConfirmedLeave
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey

T = TypeVar("T")


@pytest.fixture
def room() -> str:
    return f"people-{uuid4().hex[:8]}"


@pytest.fixture
async def api(livekit_server: PrivateServer) -> AsyncIterator[ServerApi]:
    key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
    async with ServerApi(Endpoint.parse(livekit_server.url), key) as api:
        yield api


async def eventually(ask: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """Ask the server until the answer is right: there is nothing to wait for at its side."""
    with trio.fail_after(60):
        while True:
            if right(answer := await ask()):
                return answer
            await trio.sleep(0.05)


async def test_a_join_that_fails_halfway_leaves_nobody_in_the_room(
    livekit_server: PrivateServer, api: ServerApi, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("after the connection was made")

    monkeypatch.setattr(people_seams, "narrow_events", fail)
    answers = list[dict[str, Any]]()
    order = {"id": 1, "do": "join", "person": 1, "room": room, "identity": "ann", "name": "Ann"}
    order |= {"metadata": "", "attributes": {}, "kind": "standard", "grants": {}}
    order |= {"subscribe": False, "secret": ""}
    server = (livekit_server.url, livekit_server.api_key, livekit_server.api_secret)
    async with trio_asyncio.open_loop():
        host = PeopleHost(*server, send=answers.append)
        await trio_asyncio.aio_as_trio(host.obey)(order)
    assert answers == [{"id": 1, "error": "after the connection was made"}]
    assert await api.list_participants(room) == []


async def listed_info(api: ServerApi, person: Person) -> models.ParticipantInfo | None:
    everyone = await api.list_participants(person.room)
    return next((one for one in everyone if one.sid == person.sid), None)


async def sees(
    api: ServerApi, person: Person, right: Callable[[models.ParticipantInfo], bool]
) -> models.ParticipantInfo:
    right_info = await eventually(
        lambda: listed_info(api, person), lambda one: one is not None and right(one)
    )
    assert right_info is not None
    return right_info


def deeds(people: People, room: str) -> list[str]:
    return [deed.deed for truth in people.truth() if truth.room == room for deed in truth.deeds]


async def test_who_joins_knows_its_own_sids_and_the_servers_time(
    people: People, api: ServerApi, room: str
):
    alice = await people.join(
        room, "alice", name="Alice", metadata='{"a": 1}', attributes={"hand": "up"}
    )
    info = await sees(api, alice, lambda one: one.state == models.ParticipantInfo.ACTIVE)
    (listed,) = await api.list_rooms([room])
    assert alice.room_sid == listed.sid
    assert alice.joined_at == pytest.approx(info.joined_at_ms / 1000)
    assert (info.name, info.metadata, dict(info.attributes)) == (
        "Alice",
        '{"a": 1}',
        {"hand": "up"},
    )
    (truth,) = people.truth()
    (deed,) = truth.deeds
    assert (truth.room, truth.room_sid, deed.identity, deed.sid) == (
        room,
        listed.sid,
        "alice",
        alice.sid,
    )
    assert deed.data["joined_at"] == alice.joined_at


@pytest.mark.parametrize(
    "source,shown",
    [
        ("microphone", models.TrackSource.MICROPHONE),
        ("camera", models.TrackSource.CAMERA),
        ("screen", models.TrackSource.SCREEN_SHARE),
        ("screen_audio", models.TrackSource.SCREEN_SHARE_AUDIO),
    ],
)
async def test_a_track_is_published_muted_and_unpublished(
    people: People, api: ServerApi, room: str, source: Source, shown: Any
):
    alice = await people.join(room, "alice")
    track = await alice.publish(source)
    info = await sees(api, alice, lambda one: len(one.tracks) == 1)
    assert (info.tracks[0].sid, info.tracks[0].source) == (track, shown)
    await alice.mute(track)
    await sees(api, alice, lambda one: one.tracks[0].muted)
    await alice.unmute(track)
    await sees(api, alice, lambda one: not one.tracks[0].muted)
    await alice.unpublish(track)
    await sees(api, alice, lambda one: not one.tracks)
    assert alice.tracks == {}
    assert deeds(people, room) == ["joined", "published", "muted", "unmuted", "unpublished"]


async def test_name_metadata_and_attributes_are_what_the_server_took(
    people: People, api: ServerApi, room: str
):
    alice = await people.join(room, "alice", attributes={"a": "1", "b": "2"})
    await alice.set_name("Alice \x1b[31m")
    await alice.set_metadata("x" * 60_000)
    await alice.set_attributes({"a": "", "c": "3"})
    info = await sees(api, alice, lambda one: "c" in one.attributes)
    assert (info.name, info.metadata) == ("Alice \x1b[31m", "x" * 60_000)
    assert dict(info.attributes) == alice.attributes == {"b": "2", "c": "3"}


async def test_what_a_person_may_not_change_is_an_error_and_not_a_deed(people: People, room: str):
    grants = Grants(can_update_own_metadata=False)
    alice = await people.join(room, "alice", grants=grants)
    with pytest.raises(PeopleError, match="can_update_own_metadata"):
        await alice.set_name("Root")
    assert deeds(people, room) == ["joined"]
    assert alice.name == ""


async def test_messages_are_kept_with_topic_size_and_format(people: People, room: str):
    alice = await people.join(room, "alice")
    await alice.send_data(b'{"a": 1}', topic="poll")
    await alice.send_data(b"\xff", reliable=False, to=["bob"])
    await alice.send_text("größer")
    (truth,) = people.truth()
    sent = [deed.data for deed in truth.deeds if deed.deed == "sent"]
    assert [(one["topic"], one["size"], one["format"], one["stream"]) for one in sent] == [
        ("poll", 8, "json", False),
        ("", 1, "binary", False),
        ("lk.chat", 8, "text", True),
    ]
    assert [one["to"] for one in sent] == [(), ("bob",), ()]


async def test_only_who_has_a_microphone_can_talk(people: People, room: str):
    alice = await people.join(room, "alice")
    with pytest.raises(PeopleError, match="no microphone"):
        await alice.talk(0.1)
    await alice.publish("microphone")
    await alice.talk(0.1)
    assert deeds(people, room)[-1] == "spoke"


async def test_kinds_and_hidden_people_are_what_the_token_says(
    people: People, api: ServerApi, room: str
):
    bot = await people.join(room, "bot", kind="agent")
    ghost = await people.join(room, "ghost", grants=Grants(hidden=True))
    assert (await sees(api, bot, lambda _: True)).kind == models.ParticipantInfo.AGENT
    assert (await sees(api, ghost, lambda _: True)).permission.hidden


async def test_leaving_is_told_once_and_leaving_again_does_nothing(
    people: People, api: ServerApi, room: str
):
    alice = await people.join(room, "alice")
    await alice.leave()
    await alice.leave()
    assert await alice.out() == "client_initiated"
    assert not alice.present
    assert await listed_info(api, alice) is None
    assert deeds(people, room) == ["joined", "left"]
    with pytest.raises(PeopleError, match="not in the room"):
        await alice.publish("microphone")


async def test_a_goodbye_that_was_lost_is_said_again(
    livekit_server: PrivateServer, people: People, api: ServerApi, room: str
):
    """Somebody who is killed is to the server what a lost goodbye is: the connection is
    gone, and for 20 s it waits for another."""
    alice = await people.join(room, "alice", own_process=True)
    await alice.publish("microphone")
    await sees(api, alice, lambda one: len(one.tracks) == 1)
    await alice.vanish()
    assert await listed_info(api, alice) is not None
    key = (livekit_server.api_key, livekit_server.api_secret)
    grants = VideoGrants(room_join=True, room=room)
    token = AccessToken(*key).with_identity("alice").with_grants(grants).to_jwt()
    leave = ConfirmedLeave(livekit_server.url, *key, token, room=room, identity="alice")
    assert await trio.to_thread.run_sync(asyncio.run, leave.ensure_left())
    assert await listed_info(api, alice) is None
    assert not await trio.to_thread.run_sync(asyncio.run, leave.ensure_left())


async def test_who_is_removed_knows_it(people: People, api: ServerApi, room: str):
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    await api.remove_participant(room, "alice")
    with trio.fail_after(60):
        assert await alice.out() == "participant_removed"


async def test_who_is_pushed_out_by_a_namesake_knows_it(people: People, room: str):
    first = await people.join(room, "alice")
    second = await people.join(room, "alice")
    with trio.fail_after(60):
        assert await first.out() == "duplicate_identity"
    assert second.present
    assert second.sid != first.sid


async def test_two_lives_of_a_room_are_two_truths(people: People, api: ServerApi, room: str):
    first = await people.join(room, "alice")
    await api.delete_room(room)
    with trio.fail_after(60):
        assert await first.out() == "room_deleted"
    await people.join(room, "alice")
    before, after = people.truth()
    assert before.room == after.room == room
    assert before.room_sid != after.room_sid
    assert [deed.deed for deed in before.deeds] == ["joined", "left"]


async def test_a_resumed_connection_is_the_same_join(people: People, api: ServerApi, room: str):
    alice = await people.join(room, "alice")
    track = await alice.publish("microphone")
    await alice.talk(0.5)  # media must flow: before that the SDK restarts and does not resume
    await alice.simulate("signal_reconnect")
    info = await sees(api, alice, lambda one: len(one.tracks) == 1)
    assert info.tracks[0].sid == track
    assert deeds(people, room)[-2:] == ["scenario", "reconnected"]


async def test_a_full_reconnect_is_another_join_at_the_server(
    people: People, api: ServerApi, room: str
):
    """The SDK goes on under the old SID, so the person's own knowledge ends here."""
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    await alice.simulate("full_reconnect")
    await eventually(
        lambda: api.list_participants(room),
        lambda everyone: (
            [one.identity for one in everyone] == ["alice"]
            and everyone[0].sid != alice.sid
            and len(everyone[0].tracks) == 1
        ),
    )


async def test_who_vanishes_says_no_goodbye(people: People, api: ServerApi, room: str):
    stays = await people.join(room, "alice")
    vanishes = await people.join(room, "bob", own_process=True)
    await vanishes.publish("microphone")
    assert len(people.pids) == 2
    await vanishes.vanish()
    assert await vanishes.out() == "connection_timeout"
    assert len(people.pids) == 1
    assert stays.present
    await sees(api, vanishes, lambda one: one.state == models.ParticipantInfo.ACTIVE)


async def test_only_a_person_in_a_process_of_its_own_can_vanish(people: People, room: str):
    alice = await people.join(room, "alice")
    with pytest.raises(PeopleError, match="process of its own"):
        await alice.vanish()
    assert alice.present


async def test_many_join_at_once(people: People, api: ServerApi, room: str):
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(people.join, room, f"guest-{number}")
    assert len(people.present) == 12
    await eventually(lambda: api.list_participants(room), lambda listed: len(listed) == 12)


async def test_a_join_that_is_given_up_leaves_nobody_in_the_room(
    people: People, api: ServerApi, room: str
):
    """Cancelling the SDK's connect would end the whole process 15 s later, so the join
    goes on in the background and is then left."""
    for patience in (0.0, 0.01, 0.03, 0.06):
        with trio.move_on_after(patience):
            await people.join(room, f"hasty-{patience}")
    stayed = await people.join(room, "alice")
    everyone = {person.identity for person in people.present}
    await eventually(
        lambda: api.list_participants(room),
        lambda listed: {one.identity for one in listed} == everyone,
    )
    assert stayed.present


async def test_a_wrong_secret_is_an_error_without_the_token(
    livekit_server: PrivateServer, room: str
):
    async with open_people(livekit_server.url, livekit_server.api_key, "wrong" * 8) as people:
        with pytest.raises(PeopleError) as caught:
            await people.join(room, "alice")
    assert "401" in str(caught.value)
    assert "eyJ" not in str(caught.value)
    assert "wrong" not in str(caught.value)


async def test_when_the_block_ends_everybody_has_left_and_no_process_is_there(
    livekit_server: PrivateServer, api: ServerApi, room: str
):
    async with open_people(
        livekit_server.url, livekit_server.api_key, livekit_server.api_secret
    ) as people:
        alice = await people.join(room, "alice")
        await alice.publish("microphone")
        await alice.speak(True)
        await alice.publish("camera")
        pids = people.pids
    assert alice.left_reason == "client_initiated"
    assert deeds(people, room)[-1] == "left"
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert await listed_info(api, alice) is None


async def test_what_the_block_raises_comes_out_as_it_is(livekit_server: PrivateServer):
    with pytest.raises(KeyError, match="mine"):
        async with open_people(
            livekit_server.url, livekit_server.api_key, livekit_server.api_secret
        ):
            raise KeyError("mine")


async def test_when_the_process_dies_its_people_are_gone_and_orders_fail(people: People, room: str):
    alice = await people.join(room, "alice")
    psutil.Process(people.pids[0]).kill()
    with trio.fail_after(60):
        assert await alice.out() == "connection_timeout"
    with pytest.raises(PeopleError, match="has ended"):
        await alice.publish("microphone")
    with pytest.raises(PeopleError, match="has ended"):
        await people.join(room, "bob")


async def test_a_kept_process_goes_on_in_the_next_block_and_nobody_stays(
    livekit_server: PrivateServer, api: ServerApi, room: str
):
    keys = livekit_server.url, livekit_server.api_key, livekit_server.api_secret
    shared_process = SharedProcess()
    async with open_people(*keys, shared=shared_process) as people:
        alice = await people.join(room, "alice")
        with trio.move_on_after(0.01):
            await people.join(room, "hasty")
        pids = people.pids
    assert alice.left_reason == "client_initiated"
    assert await listed_info(api, alice) is None
    async with open_people(*keys, shared=shared_process) as people:
        assert people.pids == pids
        assert people.present == ()
        bob = await people.join(room, "bob")
        assert {one.identity for one in await api.list_participants(room)} == {"bob"}
        psutil.Process(*pids).kill()
        with trio.fail_after(60):
            assert await bob.out() == "connection_timeout"
    async with open_people(*keys, shared=shared_process) as people:
        assert people.pids != pids
        await people.join(room, "carol")
        pids = people.pids
    await shared_process.end()
    assert not psutil.pid_exists(*pids)
