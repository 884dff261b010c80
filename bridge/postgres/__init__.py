"""Sessions in PostgreSQL: one database, written by several workers, read by anybody.

Writing: batches go from the store's actor to `postgres_archive` (the port of
`actors.journal.archive`), which runs the `postgres_writer` in a thread.  `postgres_retention` drops
what is too old or too much.  Each worker writes the sessions of rooms that it owns
(`postgres_leases`, the port of `actors.journal.room_leases`): its *epoch* fences each batch
(`postgres_epochs`), so a worker that was replaced cannot write any more.

Reading: `postgres_reader` opens the database for `bridge.store.sql_reader`, which asks both kinds
of database through `bridge.store.read_connection`.  `postgres_feed` gives entries, a place for each
worker in a position.

Both: `postgres_schema` is the layout and its versions, `postgres_connection` makes connections and
keeps hostile text harmless, `database_url` says what of a URL may be shown.

psycopg is imported by these modules only, and these modules only where a postgresql:// URL was
given: the others pay nothing.
"""
