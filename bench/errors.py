"""What a measure fails with."""


class BenchError(Exception):
    """Something did not happen, or not in time."""
