"""The costs of room-actors, measured: see README.md here.  Nothing of the program imports this."""
