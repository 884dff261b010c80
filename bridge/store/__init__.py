"""Sessions on disk: one SQLite file in the data directory, written by one worker, read by anybody.

Writing: batches go from the store's actor to `sqlite_archive` (the port of
`actors.journal.archive`), which runs the `writer` in a thread.  `retention` drops what is too old
or too much, `quarantine` moves a damaged file aside, `directory_lock` keeps a second worker out.

Reading: `sqlite_reader` opens the file for `sql_reader` (port: `actors.journal.session_reader`),
which gives lists, sessions and live states; `session_queries` are its conditions, `timeline_reader`
its timelines, `live_sessions` what it follows.  These ask any database that fills
`read_connection`; SQLite does by `sqlite_connection`.  `sqlite_feed` (port: `actors.journal.feed`)
gives entries in the order of the journal.

Both: `schema` is the layout of the file and its versions, `journal_rows` and `list_rows` are how
rows are stored, `replay` makes a session from its checkpoint and rows, `store_errors` says what
went wrong and what to do.

Four things read what earlier versions stored.  The steps of `schema` (`STEPS`) bring the tables of
a file up to date when a writer opens it.  `actors.session.stored_names` translates the tags and the
field names of a body that is decoded.  `list_rows` makes a row of a list again from the state where
its `FORM` is another.  `actors.session.codec` gives a field that a body lacks its default.

Nothing is imported here: a command that reads does not pay for trio.
"""
