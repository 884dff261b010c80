"""LiveKit: the agent socket, the rooms, the server API and the webhooks, in our own vocabulary.

`watching` decides which rooms are ours and asks for jobs.  `worker` gets the jobs from LiveKit.
`rooms` enters the room of a job and translates its events.  `webhooks` translates LiveKit's HTTP
messages.

Modules beside these packages: `server_api` has the calls of the server API, `api_errors` their
errors, `tokens` the grants, `endpoint` the addresses, `proxies` keeps proxies away.
`livekit_room_control` acts on rooms by `server_api`.  `websocket` carries the agent socket.
`server_clock` estimates LiveKit's clock.  `heartbeat` notices that this process did not run.
`event_coverage` lists all of LiveKit's events, and how each is handled.
"""
