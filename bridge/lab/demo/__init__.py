"""The demo: real people, a worker that watches them, and a comparison of the two."""
