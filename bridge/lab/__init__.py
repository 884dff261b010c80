"""The laboratory of `demo` and the tests: a private LiveKit server, real people, their story."""
