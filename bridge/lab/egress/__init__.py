"""LiveKit's recording in the laboratory: a Redis, and a stand-in for the egress worker.

LiveKit records through a service of its own, which speaks psrpc over Redis and needs Chromium and
GStreamer.  `redis_server` starts a Redis on loopback where its program is on this machine.
`standin_egress` answers a real livekit-server as an egress worker would, and records nothing.
It speaks `psrpc` over `redis_connection`.
"""
