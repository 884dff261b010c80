"""The actors' questions to LiveKit's server API: which rooms exist, and who records.

Each function here fills a port of `actors.rooms` or of `bridge.livekit.rooms`.  A question that
the server cannot answer raises the room port's `RoomUnreachable`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from attrs import evolve, frozen

from actors.rooms.recovery import ListLiving
from actors.rooms.room_port import RoomJob, RoomUnreachable
from actors.rooms.server_lookups import DispatchExists, OwnRoomRemoval, RenewJob
from bridge.livekit.rooms.instance_tracker import LookUp
from bridge.livekit.rooms.recorder_search import ListRecorders
from bridge.livekit.rooms.room_instances import RoomInstances
from bridge.livekit.server_api import ApiError, ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, RoomGrants, room_token
from bridge.livekit.worker.worker import WorkerConfig


@contextmanager
def _errors_as_unreachable() -> Generator[None, None, None]:
    try:
        yield
    except ApiError as error:
        raise RoomUnreachable(str(error)) from None


def room_sid_lookup(api: ServerApi) -> LookUp:
    """Gives the SID of the room that has a name now; empty where there is no such room."""

    async def sid_of(name: str) -> str:
        with _errors_as_unreachable():
            rooms = await api.list_rooms([name])
        return next((room.sid for room in rooms), "")

    return sid_of


def recorder_lookup(api: ServerApi) -> ListRecorders:
    """Gives the participant SIDs of a room that have the `recorder` grant."""

    async def recorders_of(name: str) -> frozenset[str]:
        with _errors_as_unreachable():
            participants = await api.list_participants(name)
        return frozenset(one.sid for one in participants if one.permission.recorder)

    return recorders_of


def living_rooms_lookup(api: ServerApi) -> ListLiving:
    """Gives the SIDs of all rooms that exist."""

    async def list_living() -> frozenset[str]:
        with _errors_as_unreachable():
            return await api.alive()

    return list_living


def current_job_lookup(
    instances: RoomInstances, config: WorkerConfig, grants: RoomGrants
) -> RenewJob:
    """Gives a job with fresh tokens, or None where its room instance does not exist any more.
    `grants` is what our participant may do.

    It is asked before a room is entered and before it is entered again.
    """

    async def renew_job(job: RoomJob) -> RoomJob | None:
        with _errors_as_unreachable():
            sid = await instances.sid_of(job.room)
        if not sid or (job.room_sid and sid != job.room_sid):
            return None
        return with_own_tokens(job, config, grants)

    return renew_job


def dispatch_lookup(api: ServerApi) -> DispatchExists:
    """Says whether the dispatch of a job exists.  LiveKit forgets a dispatch that is deleted before
    it ends the job; it keeps one whose agent left."""

    async def dispatch_exists(job: RoomJob) -> bool:
        with _errors_as_unreachable():
            dispatches = await api.list_dispatch(job.room)
        return any(one.id == job.dispatch_id and not one.state.deleted_at for one in dispatches)

    return dispatch_exists


@frozen
class ApiRoomRemoval(OwnRoomRemoval):
    """Deletes a room that only our own entry made."""

    instances: RoomInstances

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        with _errors_as_unreachable():
            return await self.instances.only_we_made(job.room, room_sid, job.identity)

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        await self.instances.delete(job.room, room_sid)


def with_own_tokens(job: RoomJob, config: WorkerConfig, grants: RoomGrants) -> RoomJob:
    """The job with two tokens of our own: one that cannot make a room, and a spare one that can.

    The spare one is for servers that refuse the first.  The assignment's own token is not used:
    it would make a room again that was deleted in the meantime.
    """
    token, spare_token = (
        room_token(
            config.api_key,
            room=job.room,
            identity=job.identity,
            agent_name=config.agent_name,
            visible=config.visible,
            attributes={INSTANCE_ATTRIBUTE: config.instance},
            may_make=may_make,
            grants=grants,
        )
        for may_make in (False, True)
    )
    return evolve(job, token=token, spare_token=spare_token)
