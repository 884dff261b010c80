"""LiveKit: its worker protocol, its server API and its rooms, behind our own vocabulary."""
