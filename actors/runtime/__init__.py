"""Actors on trio: mailboxes, asks, watches and supervisors, in structured concurrency.

A small library of its own: nothing in it knows what a room is.
"""

from actors.runtime.actor import Actor, Down, receives
from actors.runtime.cell import Context, LifeCycle
from actors.runtime.errors import (
    ActorDown,
    ActorError,
    AskTimeout,
    Escalated,
    Exit,
    ExitKind,
    SelfAsk,
    StartTimeout,
)
from actors.runtime.first_of import first_of
from actors.runtime.mailbox import MailboxSpec, Overflow, Policy
from actors.runtime.ref import Ref, ask_all
from actors.runtime.reply import ReplyTo
from actors.runtime.service import Service
from actors.runtime.signals import (
    ActorEnded,
    Crashed,
    DeadLetter,
    Failed,
    GroupEscalated,
    Overran,
    Restarting,
    Signal,
    Started,
)
from actors.runtime.spec import Backoff, ChildSpec, GroupSpec, Intensity, Restart, Strategy
from actors.runtime.supervisor import Supervisor
from actors.runtime.system import (
    ActorSystem,
    Node,
    open_system,
    render_running,
    render_tree,
)

__all__ = [
    "Actor",
    "ActorDown",
    "ActorEnded",
    "ActorError",
    "ActorSystem",
    "AskTimeout",
    "Backoff",
    "ChildSpec",
    "Context",
    "Crashed",
    "DeadLetter",
    "Down",
    "Escalated",
    "Exit",
    "ExitKind",
    "Failed",
    "GroupEscalated",
    "GroupSpec",
    "Intensity",
    "LifeCycle",
    "MailboxSpec",
    "Node",
    "Overflow",
    "Overran",
    "Policy",
    "Ref",
    "ReplyTo",
    "Restart",
    "Restarting",
    "SelfAsk",
    "Service",
    "Signal",
    "StartTimeout",
    "Started",
    "Strategy",
    "Supervisor",
    "ask_all",
    "first_of",
    "open_system",
    "receives",
    "render_running",
    "render_tree",
]
