"""LiveKit: the agent socket, the rooms, the server API and the webhooks, in our own vocabulary.

`watching` decides which rooms are ours and asks for jobs.  `worker` gets the jobs from LiveKit.
`rooms` enters the room of a job and translates its events.  `webhooks` translates LiveKit's HTTP
messages.  The modules beside these are shared by them.
"""
