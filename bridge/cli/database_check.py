"""`check`: the row of a database for the sessions."""

from __future__ import annotations

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import StoreRefused
from bridge.cli.probes import CheckRow
from bridge.config.settings import BY_NAME
from bridge.output.harmless import harmless


def check_database(name: str, url: str) -> CheckRow:
    """Whether a worker can keep its sessions there."""
    from bridge.postgres.database_probe import probe_database
    from bridge.postgres.database_url import shown_url

    try:
        probe = probe_database(url)
    except (StoreRefused, ArchiveTrouble) as error:
        elsewhere = f"mend it, or name another by {BY_NAME['database-url'].how()}"
        return CheckRow(name, "failed", harmless(str(error)), elsewhere)
    detail = (
        f"PostgreSQL {harmless(probe.version)} at {harmless(shown_url(url))}, "
        f"{probe.sessions} sessions are kept, {probe.workers} workers run"
    )
    if not probe.is_tested:
        return CheckRow(name, "ok", detail, "this version is newer than those that are tested")
    return CheckRow(name, "ok", detail)
