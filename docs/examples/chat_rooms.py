"""Chat rooms: a lobby, an actor a room, and members that are addresses of any actor.

A room watches its members and removes those that have ended.  It ends when it is empty.  The group
of the rooms is the lobby's only table, so a crash of the lobby loses nothing.
"""

from __future__ import annotations

from functools import partial

import trio
from attrs import frozen
from trio_actors.runtime import (
    Actor,
    ActorDown,
    ChildSpec,
    Down,
    GroupSpec,
    Ref,
    ReplyTo,
    Restart,
    Supervisor,
    open_system,
    receives,
)

TRIES = 3


@frozen
class Line:
    """What somebody wrote: for rooms and for members."""

    author: str
    text: str


@frozen
class Enter:
    """For a room: somebody comes in and from now on gets each line.  Answered when it is done."""

    member: Ref[Line]
    reply_to: ReplyTo[None]


@frozen
class Leave:
    """For a room: somebody goes."""

    member: Ref[Line]


@frozen
class Join:
    """For the lobby: take `member` into a room.  The answer is the room's address."""

    room: str
    member: Ref[Line]
    reply_to: ReplyTo[Ref[Line | Leave]]


@frozen
class Rooms:
    """For the lobby: which rooms are open?"""

    reply_to: ReplyTo[tuple[str, ...]]


class Room(Actor[Enter | Leave | Line]):
    def __init__(self) -> None:
        self.members = dict[str, Ref[Line]]()

    @receives(Enter)
    def enter(self, message: Enter) -> None:
        self.members[message.member.path] = message.member
        self.context.watch(message.member)
        message.reply_to.send(None)

    @receives(Leave)
    def leave(self, message: Leave) -> None:
        self._remove(message.member.path)

    @receives(Line)
    def write(self, message: Line) -> None:
        for member in self.members.values():
            member.tell(message)

    def down(self, message: Down) -> None:
        self._remove(message.actor)

    def _remove(self, path: str) -> None:
        if self.members.pop(path, None) is not None and not self.members:
            self.context.stop()


class Lobby(Actor[Join | Rooms]):
    def __init__(self, group: Supervisor) -> None:
        self.group = group

    @receives(Join)
    async def join(self, message: Join) -> None:
        for _ in range(TRIES):
            room = self._room(message.room)
            try:
                await room.ask(partial(Enter, message.member), timeout=1.0)
            except ActorDown:
                continue  # It was empty and ended, or it crashed: the next one takes its place.
            message.reply_to.send(room)
            return
        message.reply_to.fail(ActorDown(f"room {message.room}", "it ends again and again"))

    @receives(Rooms)
    def send_rooms(self, message: Rooms) -> None:
        message.reply_to.send(tuple(sorted(self.group.children)))

    def _room(self, name: str) -> Ref[Enter | Leave | Line]:
        if name in self.group.children:
            return self.group.ref(name)
        return self.group.start_child(ChildSpec(name, Room, restart=Restart.TRANSIENT))


class Person(Actor[Line]):
    """Prints what it reads."""

    def __init__(self, name: str) -> None:
        self.name = name

    @receives(Line)
    def read(self, message: Line) -> None:
        print(f"{self.name} reads {message.author}: {message.text}")


async def open_lobby(root: Supervisor) -> Ref[Join | Rooms]:
    """Start a lobby, and a group for its rooms."""
    group = root.start_group(GroupSpec("rooms"))
    await group.running()
    return root.start_child(ChildSpec("lobby", lambda: Lobby(group)))


async def main() -> None:
    async with open_system() as system:
        root = system.supervisor
        lobby = await open_lobby(root)
        for name in ("ann", "bob"):
            person = root.start_child(ChildSpec(name, partial(Person, name)))
            room = await lobby.ask(partial(Join, "garden", person), timeout=1.0)
            room.tell(Line(name, "hello"))
        print("open:", await lobby.ask(Rooms, timeout=1.0))


if __name__ == "__main__":
    trio.run(main)
