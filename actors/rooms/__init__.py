"""Who watches rooms: jobs come in at the manager, and each room has a connection and a session.

`manager` turns jobs into rooms.  `room_group` is one room: `connection_actor` keeps us in it
through the `room_port`, `session_actor` folds its events.  `room_table` says which rooms are
watched; `recovery` takes over what an earlier run left; `reporter` polls snapshots by message.
"""
