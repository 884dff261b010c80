"""Rooms through LiveKit's SDK, behind the port of `actors.rooms.room_port`.

Native threads hand events to `demux`; `livekit_rooms` drives the SDK with them; `sdk_events`
translates them into `actors.session.events`.  Only `seams` reaches behind the SDK's public face.
"""
