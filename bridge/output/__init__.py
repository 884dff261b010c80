"""What page, terminal and log share: text of strangers made safe, tables, timelines, CSV.

Nothing here reads a file or a socket.  The launcher imports `progress` before anything is
installed, so this package imports nothing by itself.
"""
