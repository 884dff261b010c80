"""The error with which a measure fails."""


class BenchError(Exception):
    """Something did not happen, or not in time."""
