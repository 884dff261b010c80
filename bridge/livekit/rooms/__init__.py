"""Rooms through LiveKit's SDK, behind the port of `actors.rooms.room_port`.

| module | subject |
|---|---|
| `livekit_rooms` | the port: which connections exist, how many are made at once |
| `room_connection` | one connection: connect and leave |
| `room_follow_ups` | what it does after an event of the SDK: subscribe, confirm the instance |
| `instance_tracker`, `room_instances` | which room instance a name means after a reconnect |
| `recorder_search` | participants who record |
| `intake`, `inbox` | events from native threads to the trio thread, with their bounds |
| `sdk_events`, `sdk_values`, `data_messages`, `streams` | what the SDK sends, in our own types |
| `subscriptions` | which tracks are received |
| `seams` | the only module that uses private parts of the SDK |
| `native_memory`, `lean_imports`, `sdk_options` | what the SDK costs |

An event passes `seams` (by room handle, on a native thread), `intake`, `inbox`, then on the trio
thread `intake` again, `sdk_events`, and is offered to the session.
"""
