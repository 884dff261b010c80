"""Participant monitoring: one actor watches over one person, because a job asked for it.

| module | subject |
|---|---|
| `monitoring_request` | what a job asks for: its metadata, and what is wrong with it |
| `participant_monitor` | one monitor as a pure function: a session's state in, notes out |
| `video_watch` | whether the videos of a person move |
| `monitor_state` | what a monitor knows of its person |
| `monitor_notes` | what a monitor wants logged, or sent to people |
| `monitor_actor` | runs one monitor: entries, deadlines, messages |
| `monitors` | all monitors: jobs in, actors started, entries passed on, jobs ended |

A monitor has no connection of its own.  It is a subscriber of the session that watches the room,
and ends with it.  Monitors are under a supervisor of their own and not in the room's group: what
goes wrong in one must not use up the restarts of its room.
"""
