"""Voice agents watched: turns missing, delays, what listening costs, agents that never came.

    bench/run agents [--conversations 10] [--base REV] [--never 20] [--joins 100] [--json FILE]

A private livekit-server, a real worker of livekit-agents (the stub agent of
`bridge/lab/voice_agent`), and one caller for each conversation, who greets, asks, calls a tool,
interrupts, types, and makes a tool fail: 11 turns.  The working tree watches all of it.  Afterwards
its sessions are compared with the agents' own logs: turns that are missing, the largest difference
of a delay that is copied, and of one that is computed from the agent's states.

With `--base REV` a commit without listening watches the same rooms at the same time.  What the
working tree uses more, of CPU and of memory, is what listening costs.

`--never N` dispatches an agent whose worker is full, N times: seconds from the dispatch until the
problem is logged.  `--joins N` dispatches one that comes, N times: none may be called missing.
"""
