"""All people: their joins and the record of their actions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final, final

import attrs
import trio

from bridge.lab.people.packet_loss import PacketLoss
from bridge.lab.people.person import Person
from bridge.lab.people.process import END_SECONDS, PeopleError, Process
from bridge.lab.people.process_protocol import Grants, Kind
from bridge.lab.people.truth import Deed, RoomTruth, by_room

_NO_GRANTS: Final = Grants()
_numbers: Final = count(1)
"""Numbers of persons, unique over all blocks that share one process."""


@final
class SharedProcess:
    """A process for people that one `open_people` leaves to the next, also over trio runs.

    Its start costs a second.  If it has ended, or its people are for another server, the next
    block starts another.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._hello: Mapping[str, str] = {}

    async def open(self, nursery: trio.Nursery, hello: Mapping[str, str]) -> Process:
        """Have the process read in `nursery`; `Process.detach` gives it back."""
        if self._process is not None:
            self._process.attach(nursery)
            if self._process.over is None and hello == self._hello:
                return self._process
            await self.end()
        self._hello = dict(hello)
        self._process = await Process.start(nursery, hello)
        return self._process

    async def end(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()


@final
class People:
    """All people.  Made by `open_people`."""

    def __init__(self, nursery: trio.Nursery, hello: Mapping[str, str]) -> None:
        self._nursery = nursery
        self._hello = hello
        self._processes: list[Process] = []
        self._shared: Process | None = None
        self._everyone: list[Person] = []
        self._deeds: list[Deed] = []

    async def join(
        self,
        room: str,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: Kind = "standard",
        grants: Grants = _NO_GRANTS,
        subscribe: bool = False,
        own_process: bool = False,
        loss: PacketLoss | None = None,
        secret: str = "",
    ) -> Person:
        """Bring a person into a room; returns once the person is in.

        `subscribe` makes the person receive everybody's media (and costs accordingly).
        `secret` is the key of end-to-end encryption; an empty one leaves it off.
        `own_process` starts another process for this person, so that `vanish` can kill it.  With
        `loss` there is one too, of which packets are dropped.
        """
        own_process = own_process or loss is not None
        process = await self.start(loss) if own_process else self._processes[0]
        who = {
            "room": room,
            "identity": identity,
            "name": name,
            "metadata": metadata,
            "attributes": dict(attributes or {}),
            "kind": kind,
            "grants": attrs.asdict(grants),
        }
        person = Person(process, next(_numbers), who, self._deeds.append, own_process=own_process)
        await person.enter(subscribe=subscribe, secret=secret)
        self._everyone.append(person)
        return person

    @property
    def present(self) -> tuple[Person, ...]:
        """Everyone who is in some room now."""
        return tuple(person for person in self._everyone if person.present)

    def truth(self) -> tuple[RoomTruth, ...]:
        """The actions of everybody until now, one entry for each room instance."""
        return by_room(self._deeds)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that still live."""
        return tuple(process.pid for process in self._processes if process.over is None)

    async def start(self, loss: PacketLoss | None = None) -> Process:
        """One more process for people, with losses of its own."""
        environment = None if loss is None else loss.environment
        process = await Process.start(self._nursery, self._hello, environment)
        self._processes.append(process)
        return process

    async def borrow(self, shared: SharedProcess) -> None:
        """Begin with a process that is there already."""
        self._shared = await shared.open(self._nursery, self._hello)
        self._processes.append(self._shared)

    async def close(self) -> None:
        """Everybody leaves.  Every process ends, except a shared one."""
        with trio.move_on_after(END_SECONDS):
            async with trio.open_nursery() as nursery:
                for person in self.present:
                    nursery.start_soon(_leave_or_not, person)
        async with trio.open_nursery() as nursery:
            for process in self._processes:
                nursery.start_soon(process.detach if process is self._shared else process.end)


async def _leave_or_not(person: Person) -> None:
    with suppress(PeopleError):  # its process has ended, and so has the person
        await person.leave()


@asynccontextmanager
async def open_people(
    url: str, api_key: str, api_secret: str, *, shared: SharedProcess | None = None
) -> AsyncIterator[People]:
    """A process for people at the server `url`; everybody leaves when the block ends.

    `shared` is a process for this server that outlives the block.
    Raises `PeopleError` where the process does not start.
    """
    hello = {"url": url, "api_key": api_key, "api_secret": api_secret}
    failure: BaseException | None = None
    # An exception of the block does not pass the nursery, so that it comes out as it is and
    # not inside an exception group: the nursery is nobody else's business.
    async with trio.open_nursery() as nursery:
        people = People(nursery, hello)
        try:
            if shared is None:
                await people.start()
            else:
                await people.borrow(shared)
            yield people
        except BaseException as error:  # noqa: BLE001  raised again below
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                await people.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
