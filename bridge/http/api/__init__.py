"""`/api/v1` for programs.

`endpoints` asks a session reader in a thread and gives the objects of `answer_types`,
`worker_types` and `actors.session.view_types` to `answers`, which makes JSON or CSV of them.
`openapi` describes the same classes.  `event_stream` follows the feed.  `export` makes files that
do not fit in memory.
"""
