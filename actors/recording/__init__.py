"""Recordings that rules want, carried out by LiveKit's egress.

`egress_port` is the port to LiveKit's recording.  `recorder` is the actor that starts, follows and
stops recordings: one task for each, so that a start that hangs holds up nothing.  `session_access`
is what it needs of the sessions: to read them, to report to them, to have a report on the disk.
`own_recordings` and `recorder_messages` are small parts of it.
`actors.acting.recording_acts` joins it to the acts of rules.

A session's own knowledge of its recordings is in `actors.session.recordings`.
"""
