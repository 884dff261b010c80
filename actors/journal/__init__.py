"""Sessions that outlive their actors: journals, the backlog, and the way to the archive.

A session actor records each event in its `journal`.  The journal hands the encoded row to the
`backlog`, which bounds what waits.  The `store_actor` writes batches of it to an `archive`, the
port that `bridge.store` fills.  After a crash the journal gives the actor its state again.

The way back: `session_reader` (with `session_filters`) and `feed` are the ports through which API,
pages and commands read what is stored.
"""
