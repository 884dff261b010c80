"""`start`: what must hold before a worker runs, and the worker."""

from __future__ import annotations

from typing import Final

from bridge.cli.command import FAILED, Command, Flags, require_descriptors
from bridge.config import machine
from bridge.config.settings import BY_NAME, TABLE, Settings, SettingsError, load
from bridge.output.harmless import harmless


def _start(flags: Flags) -> int:
    machine.raise_descriptor_limit()  # Before the settings: they are bounded by it.
    settings = load(flags)
    require_descriptors()
    _require_data_dir(settings)
    require_free_port(settings)
    from bridge.livekit.proxies import drop_proxies

    proxies = drop_proxies()
    # Must run first: once these packages are imported, the lighter versions no longer help.
    from bridge.livekit.rooms.lean_imports import import_lean

    failed_imports = import_lean(http=settings.http is not None)
    from bridge.app import worker_role
    from bridge.log.structured_log import running_log

    with running_log(settings) as (log, sink):
        for package, error in failed_imports.items():
            effect = f"{package} brings what is never used: more memory"
            log.warning("sdk_seam_lost", seam="import", lost=effect, error=error)
        for notice in settings.notices:
            log.warning(notice.event, **notice.fields)
        if proxies:
            log.warning("proxy_not_used", variables=proxies)
        try:
            return worker_role.run(settings, sink)
        except SettingsError:
            raise
        except Exception as error:
            log.exception("run_failed", error=error)
            return FAILED


def _require_data_dir(settings: Settings) -> None:
    row = BY_NAME["data-dir"]
    try:
        machine.make_writable(settings.data_dir)
    except machine.NoSharedMemory as error:
        raise SettingsError(
            f"{row.flag}: {harmless(str(settings.data_dir))} has no shared memory for SQLite "
            f"({error.strerror}); name a directory on a local disk, by {row.how()}"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{row.flag}: {harmless(str(settings.data_dir))} cannot be written to "
            f"({error.strerror}); name a directory that can, by {row.how()}"
        ) from None
    from actors.journal.session_reader import StoreRefused
    from bridge.store.directory_lock import require_plain_files
    from bridge.store.schema import FILE

    try:
        require_plain_files(settings.data_dir, FILE, f"{FILE}-wal", f"{FILE}-shm")
    except StoreRefused as error:
        raise SettingsError(f"{row.flag}: {error}") from None


def require_free_port(settings: Settings) -> None:
    """Raise `SettingsError` where the address of `--http` is set and taken."""
    if settings.http is None or "http" not in settings.given:
        return
    problem = machine.port_problem(settings.http.host, settings.http.port)
    if problem:
        row = BY_NAME["http"]
        raise SettingsError(
            f"{row.flag}: cannot listen on {settings.http}: {problem}; "
            f"name another address, or off, by {row.how()}"
        )


START: Final = Command(
    "start",
    "watch the rooms of a LiveKit server until SIGINT or SIGTERM",
    "Registers at LiveKit as an agent worker and watches rooms until SIGINT or SIGTERM.\n"
    "A flag wins over its environment variable, and that over --config.",
    _start,
    TABLE,
)
