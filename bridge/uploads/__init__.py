"""Uploads of voice agents to `LIVEKIT_OBSERVABILITY_URL`: checked, bounded and in our words.

`upload_desk` takes a body whose token was checked (`upload_token`), and answers at once.
`upload_reader` reads it later, in a thread: traces (`trace_reader`), logs (`log_reader`) and the
report of a job (`report_form`, `report_reader`).  It gives frozen values (`upload_facts`).
"""
