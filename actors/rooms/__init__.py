"""The actors that watch rooms: jobs come in at the manager, each room has a group of parts.

`manager` turns jobs into rooms and writes the `room_table`; everybody else reads it through
`room_table_view`.  `room_group` makes the actors of one room from a list of parts:
`connection_actor` keeps us in the room through the `room_port`, `session_actor` folds its events.
A session publishes entries to the `subscriber`s.  `recovery` takes over the sessions of an
earlier run, `reporter` polls snapshots by message, `room_control` is the port for acting on rooms.

The state of a session is an immutable value.  Only the session's actor replaces it; everybody may
look at the newest one.
"""
