"""Every line of this file is right: the type checker must find nothing in it."""

from __future__ import annotations

from attrs import frozen

from actors.runtime import Actor, ChildSpec, Ref, ReplyTo, Supervisor, ask_all, receives


@frozen
class Add:
    amount: int


@frozen
class Total:
    reply_to: ReplyTo[int]


class Adder(Actor[Add | Total]):
    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    def add(self, message: Add) -> None:
        self.total += message.amount

    @receives(Total)
    async def tell_total(self, message: Total) -> None:
        message.reply_to.send(self.total)
        self.context.after(1.0, Add(1))


def start(group: Supervisor) -> Ref[Add | Total]:
    return group.start_child(ChildSpec("adder", Adder))


async def use(group: Supervisor) -> int:
    ref = start(group)
    narrow: Ref[Add] = ref
    narrow.tell(Add(1))
    total: int = await ref.ask(Total, timeout=1.0)
    outcomes = await ask_all([ref], Total, timeout=1.0)
    return total + sum(answer for answer in outcomes if isinstance(answer, int))
