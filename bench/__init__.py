"""What room-actors costs, measured: see README.md here.  Nothing of the program imports this."""
