"""The log: what is logged of a session, how an event becomes a line, and where lines go.

    session_log      which entries of a session are logged
    structured_log   structlog configured: events in, lines out
    processors       from an event to a line, one step after the other
    entry_lines      the short way of frequent entries to the same line
    wording          the words of a text line
    library_logs     what libraries, threads and finalizers log
    sink             lines to a file descriptor that may not block

An event passes from `log.info(...)` through the processors to the sink.
"""
