"""Announcements: speech and sound files played into rooms that are watched.

    sound             decoded sound, in frames
    publishing_port   the ports: enter a room as a second participant, publish; prepare sound
    announcement      what is to be played where, and its record
    playback          one sound in one or more rooms: enter, publish, feed, leave
    content_checks    what may be announced
    announcements     the queue of each room; one playback actor for what starts together

The agent that watches is hidden, and nobody hears a hidden participant.  So a second, visible
participant enters for each announcement and leaves after it.
"""
