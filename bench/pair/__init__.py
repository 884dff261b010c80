"""Compare checkouts of this repository: they watch the same rooms at the same time.

    bench/run pair [REV ...] [--rooms 50] [--runs 5] [--json FILE] [--help]

Each REV is a git commit. The working tree takes part as well; without REV it is compared
with HEAD. All checkouts are workers of one private livekit-server, under different agent
names, and each of them watches every room. A disturbance of the machine therefore hits all
of them alike. Only ratios are printed, to the first one and to each other product beside them: a
ratio spreads by about 5 % where an absolute figure spreads by 40 %.

A run:

1. All start, in an order that changes from run to run. Their memory is read when they rest.
2. One room is made, and then all rooms. Three people come into each, one with a microphone.
   Memory is read, and the CPU of `--idle` seconds in which nothing happens.
3. For `--seconds`, `--rate` events a second happen in each room (the mix of `bench/run
   scale`). CPU is counted until every checkout has recorded every event.
4. The CPU at rest is read again. The people leave, and the rooms are deleted.

*CPU an event* contains all threads. *Without idle* is less by what the same process uses
at rest, before the events. The threads are grouped by what they do. *Lag* runs from just
before a message is handed to the sender's SDK until it is in the observer's log.

The lines of each checkout's log that name one of the rooms are counted by kind. They must be
equal for all checkouts; each kind that differs is shown, and the exit code is 1, as it is
where an event is missing. Lines that a timer or the worker's own decision causes are left out.

The CPU of livekit-server is for all observers together. `--alone` also measures each one
by itself after each run, on a server of its own; only there can its share be compared.

Beside them, in the same rooms: LiveKit's Go SDK (`--go`), livekit-agents (`--agents`; a
process a room, so take few rooms) and the stock SDK (`--sdk`), as `bench/run scale` has them.
"""
