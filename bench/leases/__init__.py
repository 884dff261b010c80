"""Workers that write the sessions of shared rooms into one PostgreSQL, and are killed and stopped.

`room_writer` is one worker without LiveKit, `stored_lines` compares what is stored with what was
promised, `writer_process` runs a worker as a process of its own.
"""
