"""The cost of watching 10 to 200 rooms, beside other programs that can.

    bench/run scale [--observer room-actors] [--rooms 10 50] [--runs 3] [--json FILE] [--help]

A *case* is one observer and so many rooms, on a private livekit-server and in a process
of its own, one case after the other:

1. The observer starts, and when it is at rest its memory is read.
2. A room is made by itself, and another one until the observer has one: LiveKit says that a
   worker is registered before it has jobs for it, and livekit-agents refuses what comes at
   once as long as it has no job.  Then all rooms are made at once.  *Watched after* runs
   from before the call that made a room to the moment at which the observer says that it
   has it.  An observer without dispatches needs no first room.  The bench names the rooms
   to it once they are made, so it saves the 0.2 s of LiveKit's dispatch.
3. Three people come into each room, one with a microphone in which nobody speaks.  Memory,
   descriptors, threads are read, and the CPU of `--idle` seconds.
4. Things happen in every room for `--seconds`, first 2.8 a second, then 10.8: six of ten
   are messages, the others mute, unmute and change attributes and metadata.  Each must be
   in the observer's records; what is not is *lost*.  *Lag* runs from just before a message
   is handed to the sender's SDK until the observer has recorded it (the clock of the
   records has whole milliseconds, rounded down).
5. Ten more rooms come, two a second, have somebody with a microphone for a second, and are
   deleted: what one costs from its making to its end.  Only for those that are dispatched.

*CPU an event* is all that the processes of the observer used meanwhile, native threads
included, by the events; *without idle* takes off what they use when nothing happens;
*Python* is the part of the threads that run Python.  *Machine* is how much of all cores
was in use, by the server and the senders too: near 100 % nothing else in the line means
much.  *Memory* is PSS of the whole process tree, *anonymous* the part of it that is no
file's; *a room more* is the growth from the fewest rooms of the same observer (there the
median), by rooms, so that what is paid once is left out.

Observers: room-actors as it is started by its users; livekit-agents as in `bench/run
rooms`; the *stock SDK*, all rooms in one asyncio process, doing the same work; the *floor*, the
same SDK's native library set up as ours, whose events nobody reads; and LiveKit's *Go
SDK*, all rooms in one process, doing the same work.

A case that fails is measured once more, and that it failed is said.  At the end each goal
is met, NOT MET (then we exit 1, as where a case failed) or not measured; what is *wished
for* beyond the goals is judged too, but is no failure.
"""
