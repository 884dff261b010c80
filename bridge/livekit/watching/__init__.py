"""Which rooms are ours: the reconciler lists all rooms and gets those that nobody watches.

`reconciler` runs the passes.  `room_inspection` looks into one room.  `room_acquisition` gets a
room by a claim or a dispatch.  `decisions` is pure: lists in, decisions out.  `watch_state` is
shared by these, and `watch_log` writes their log lines.
"""
