"""What the actors of rooms say goes to the log."""

from __future__ import annotations

from structlog.testing import capture_logs

from actors.session import Entry, begin
from bridge.cli import room_actors


def test_a_session_that_only_webhooks_told_of_is_logged_without_a_job() -> None:
    """LiveKit's webhook of a new room is often here before the job."""
    state = begin("standup", "RM_1", (), "worker", "agent", 1_700_000_000.0)
    with capture_logs() as logs:
        room_actors._publish(state, Entry(state.started_at, "reconnecting"))
    assert [(line["room_sid"], line["job_id"]) for line in logs] == [("RM_1", None)]
