"""Announcements in many rooms at once: how soon, and what they cost; beside livekit-agents.

    bench/run announcements [--rooms 20] [--together 10] [--count 200] [--no-peer] [--json FILE]

A private livekit-server, rooms with one listener each, and one worker that watches them.

1. One order for all rooms: seconds from the order to the first loud sample at each listener.
2. A tone of 30 s in `--together` rooms: CPU of the worker a room beyond its CPU at rest, memory a
   room more.
3. `--count` short announcements, one after another in each room: threads and memory afterwards.
4. livekit-agents' BackgroundAudioPlayer with the same tone in the same number of rooms, one job
   each: CPU and memory a room beyond those of its worker without jobs.
"""
