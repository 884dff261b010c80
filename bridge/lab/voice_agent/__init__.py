"""A real voice agent of livekit-agents with a model, a recognizer and a voice that are known.

`stub_agent.py` is its program.  It runs in an environment of its own, which `agents_environment`
makes from `requirements-agents.lock`, so nothing of livekit-agents is imported into our process.
The agent keeps a log of truth, with which tests compare what was observed.
"""
