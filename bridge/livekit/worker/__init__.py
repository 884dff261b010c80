"""The agent socket: the worker protocol without I/O, the book of jobs, and the socket itself.

Messages come from `bridge.livekit.websocket` to `conversation`.  `worker_protocol` makes events of
them.  `worker` keeps the connection and calls the room manager.  `job_kinds` has the types of jobs,
`job_refusals` the reasons to refuse an offer, and `jobs` the book of all jobs.  `worker_rejection`
explains why LiveKit does not accept the worker itself.
"""
