"""`serve`: the page, the API and the events of all workers of a database."""

from __future__ import annotations

from typing import Final

from bridge.cli.command import FAILED, Command, Flags, require_descriptors
from bridge.cli.start_command import require_free_port
from bridge.config import machine
from bridge.config.settings import BY_NAME, SettingsError, read_settings

_SETTINGS: Final = tuple(
    BY_NAME[name]
    for name in (
        "database-url", "http", "http-token", "http-host", "http-root", "trusted-proxies",
        "log-format", "log-level",
    )
)  # fmt: skip


def _serve(flags: Flags) -> int:
    machine.raise_descriptor_limit()
    from bridge.app import serve_role
    from bridge.log.structured_log import running_log

    settings = serve_role.serve_settings(read_settings(flags))
    require_descriptors()
    require_free_port(settings)
    with running_log(settings) as (log, sink):
        for notice in settings.notices:
            if notice.setting in flags or notice.setting.startswith("http"):
                log.warning(notice.event, **notice.fields)
        try:
            return serve_role.run(settings, sink)
        except SettingsError:
            raise
        except Exception as error:
            log.exception("run_failed", error=error)
            return FAILED


SERVE: Final = Command(
    "serve",
    "serve page, API and events over a database, watching nothing",
    "Serves the page, the API and the events of all workers of a database until SIGINT or\n"
    "SIGTERM. It watches no room and needs no key of LiveKit. As many as you like may run.",
    _serve,
    _SETTINGS,
)
