"""Where the actors meet the outside: LiveKit, processes, the command line.

`livekit`, asyncio and trio-asyncio are imported below this package only.
"""

__version__ = "0.1.0"
