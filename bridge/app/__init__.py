"""Composition: which parts the running program has, and who is started under whom.

`program` puts the parts of a worker together, `room_actors` its actors, `web` its HTTP side.
`worker_role` and `demo_role` are what `start` and `demo` run.
"""
