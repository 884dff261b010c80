"""The agent socket: the worker protocol without I/O, the book of jobs, and the socket itself.

Bytes come from `websocket`, `worker_protocol` makes events of them, `jobs` decides about each job,
`worker` keeps the connection alive and calls the room manager.
"""
