"""The part without LiveKit, HTTP or a disk: actors, the fold of a session, its journal.

`runtime` is actors on trio.  `session` is one room instance as a pure fold of its events.
`journal` keeps records that must outlive an actor.  `rooms` watches rooms with these three.
`testing` is a harness for anybody's actors; `simulation` is this program's own simulated world
under it.
"""
