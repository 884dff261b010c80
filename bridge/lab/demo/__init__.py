"""The demo: real people, a worker that watches them, and a comparison of the two.

`script` draws the story from a seed.  `play_script` plays it with real people, and records what
they did; `simulated_people` does the same in simulated rooms.  `demo_run` runs server, worker and
story.  Then `expected_session` makes of the record what each session must show, `compare` and
`differences` compare it with the worker's sessions, and `last_page` draws the result.
"""
