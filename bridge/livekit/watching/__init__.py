"""Which rooms are ours: the reconciler lists rooms and claims those that nobody watches.

`decisions` is pure: lists in, what to do out.  `reconciler` asks the server and carries it out.
"""
