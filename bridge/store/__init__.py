"""Sessions on disk: one SQLite file in the data directory.

`sqlite` fills the port of `actors.journal.archive` for the one worker that writes, `reader`
shows what is kept to anybody else, at any time.  `schema` is the file's layout and its
versions, `lines` how lines lie in it, `refold` makes a session of what is kept of it,
`prune` drops what is too old or too much, `errors` says what is wrong.

Nothing is imported here: a command that reads does not pay for trio.
"""
