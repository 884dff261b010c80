"""Actors on trio: mailboxes, asks, watches and supervisors, in structured concurrency.

A small library of its own: nothing in it knows what a room is.  Everything outside imports
from here, and import-linter checks that.  To read it in order: `spec` (how a child restarts),
`actor` and `context` (what a user writes), `ref` and `reply` (tell and ask), `mailbox`
(what happens to a message), `cell` (one actor: its incarnations), `supervisor` (restarts
and stops), `system` (the root and the registry), `inspection`, `reports`, `signals`,
`stderr_report` (what is shown where nobody listens); `senders` is the debug mode; `deadlines`
and `timers` wait for a time.

A message passes from `Ref.tell` through `Mailbox.offer` to the handler that `Cell` calls.
An exception passes from the handler to `Cell.run_incarnation`, which returns an `Exit` to
the `Supervisor`; each step is a `Signal`.
"""

from actors.runtime.actor import Actor, receives
from actors.runtime.cell import BATCH, LifeCycle
from actors.runtime.context import Context
from actors.runtime.deadlines import Timer
from actors.runtime.errors import (
    ActorDown,
    ActorError,
    AskTimeout,
    Down,
    Exit,
    ExitKind,
    GroupEscalatedError,
    SelfAsk,
    StartTimeout,
)
from actors.runtime.inspection import Node, render_tree
from actors.runtime.mailbox import Counters, Mailbox, MailboxSpec, Overflow, Policy
from actors.runtime.race import first_of
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
from actors.runtime.stderr_report import write_to_stderr
from actors.runtime.supervisor import Supervisor
from actors.runtime.system import ActorSystem, open_system, render_running
from actors.runtime.system_core import Incarnation
from actors.runtime.timers import Alarm, Sleepers, TimerClock, sleep, sleep_until

__all__ = [
    "BATCH",
    "Actor",
    "ActorDown",
    "ActorEnded",
    "ActorError",
    "ActorSystem",
    "Alarm",
    "AskTimeout",
    "Backoff",
    "ChildSpec",
    "Context",
    "Counters",
    "Crashed",
    "DeadLetter",
    "Down",
    "Exit",
    "ExitKind",
    "Failed",
    "GroupEscalated",
    "GroupEscalatedError",
    "GroupSpec",
    "Incarnation",
    "Intensity",
    "LifeCycle",
    "Mailbox",
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
    "Sleepers",
    "StartTimeout",
    "Started",
    "Strategy",
    "Supervisor",
    "Timer",
    "TimerClock",
    "ask_all",
    "first_of",
    "open_system",
    "receives",
    "render_running",
    "render_tree",
    "sleep",
    "sleep_until",
    "write_to_stderr",
]
