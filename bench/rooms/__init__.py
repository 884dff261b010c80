"""The cost of a watched room, and the events that are missed, beside livekit-agents.

    bench/run rooms [--rooms 20] [--runs 3] [--json FILE] [--help]

One run measures each side in turn, in changing order, every time on a private
livekit-server of its own with the same rooms and the same people (real WebRTC
participants, in a process of their own):

1. The worker starts; what it costs while it watches nothing is read.
2. `--first` rooms are made one at a time, each with a dispatch for the worker, and three
   people come into each, one of them with a microphone.  What it costs is read.
3. The other rooms are made at the same moment, and filled.  Read again, with its CPU over
   `--idle` seconds in which nobody does anything.
4. In every room people come, talk, mute, write, change and leave; then all of them leave.
   What they say they did is compared with what the worker recorded, one by one.

A worker is dispatched to, and read, when it is done with what came before
(`run.settle`).  *Memory a room* is the growth of the PSS of the whole process tree from
step 2 to step 3 over the rooms added, so that what is paid once counts for neither side.
*CPU an idle room* is what all rooms add to the empty worker's.  *Dispatch to watched* runs
from before the call that makes the room with its dispatch to the moment at which the
worker itself says that it has the room (connected, and everybody read who is in it), by
one clock.

livekit-agents runs as `start` (its production mode) with its defaults: one process a
room, and as many spare processes as there are cores.  Its entrypoint does our work with
its public API (`agent.py`); that has no call to pause a microphone it is subscribed to,
so whatever is said there goes on reaching it, as it does not us.  Three settings differ from its
defaults: it listens on loopback only, it is a hidden participant as we are, and it
always reports itself as free, because it would lose jobs while the machine is busy.
"""
