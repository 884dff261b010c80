"""Composition: which parts the running program has, and who is started under whom.

A *role* is what a command runs: `worker_role` for `start`, `demo_role` for `demo`.  `program` puts
the parts of a worker together: its actors (`room_actors`), what they ask LiveKit
(`livekit_lookups`) and its services.  `simulated_app` does the same over simulated rooms.  Each
gives the HTTP side (`web`) the narrow `web_ports`; a further role fills the same ports.  `shutdown`
is how every role ends.

Data passes from LiveKit's side to the actors, from there to the log and the store; the HTTP side
looks at it through its ports.
"""
