"""The reconciler lists all rooms and gets those that nobody watches.

`reconciler` runs the passes.  `room_inspection` looks into one room.  `room_acquisition` gets a
room by a claim or a dispatch.  `claim_order` says which worker begins.  `ghost_probes` finds agents
that are listed and not there.  `room_candidates` is pure: lists in, candidates out.  `watch_state`
is shared by these, and `watch_log` writes their log lines.
"""
