"""The cost and the promise of webhooks out: see `__main__`."""
