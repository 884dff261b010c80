"""A harness for trio actors: seeded, in virtual time, every failure replayable."""
