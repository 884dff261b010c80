"""`outbox`: outgoing webhooks that wait, failed or were given up; sent again, tried, enabled."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.cli.reading_commands import add_api_flags
from bridge.config.settings import BY_NAME, TABLE, SettingsError
from bridge.config.store_address import store_address_of
from bridge.output.harmless import harmless

if TYPE_CHECKING:
    from bridge.outlets.outbox_queries import OutboxConnection

DOES: Final = ("list", "retry", "test", "enable")
_ELSE: Final = ("config", "env-file")
"""Flags that name files of settings."""
MOST: Final = 1_000
"""Deliveries that are listed where --limit says nothing."""


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "do",
        nargs="?",
        default="list",
        metavar="|".join(DOES),
        help="list: what waits or was given up (default); retry: send it again; "
        "test: send one event to see whether it arrives; enable: after a 410",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="with retry: only these deliveries")
    parser.add_argument("--webhook", metavar="NAME", help="only this endpoint")
    parser.add_argument("--limit", metavar="N", help=f"how many are listed, default: {MOST}")
    add_api_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(flags: Flags) -> int:
    do = str(flags.get("do", "list"))
    if do not in DOES:
        raise SettingsError(f"outbox: '{harmless(do, 80)}' is none of {', '.join(DOES)}")
    if "api" in flags and do != "list":
        raise SettingsError(
            f"outbox {do} works on the machine of the worker, or with --database-url: "
            "leave --api out"
        )
    if do == "test":
        return _test(flags)
    from actors.journal.archive import ArchiveTrouble
    from actors.journal.session_reader import NoStore, StoreRefused
    from actors.outlets.outbox_port import OutboxTrouble
    from bridge.cli.store_access import StoreUnavailable

    try:
        return {"list": _list, "retry": _retry, "enable": _enable}[do](flags)
    except (OutboxTrouble, StoreUnavailable, NoStore, StoreRefused, ArchiveTrouble) as trouble:
        complain(str(trouble))
        return FAILED


def _connection(flags: Flags) -> AbstractContextManager[OutboxConnection]:
    """The outbox, in a transaction.  Raises `StoreUnavailable` where there is none."""
    from bridge.outlets.sqlite_outbox import FILE, changing_outbox

    store = store_address_of(flags)
    if store.database_url is not None:
        from bridge.outlets.database_outbox import changing_database_outbox

        return changing_database_outbox(store.database_url)
    directory = store.data_dir
    if not (directory / FILE).exists():
        from bridge.cli.store_access import StoreUnavailable

        raise StoreUnavailable(
            f"no outbox in {directory}: name the directory of the worker by "
            f"{BY_NAME['data-dir'].how()}; a worker makes an outbox when a webhook is configured "
            "([[webhook]] in --config, or --webhook-url)"
        )
    return changing_outbox(directory)


def _only(flags: Flags) -> str | None:
    name = flags.get("webhook")
    return None if name is None else str(name)


def _list(flags: Flags) -> int:
    from bridge.outlets.outbox_queries import listed, outlets
    from bridge.outlets.outbox_view import delivery_row, outlet_row

    try:
        limit = int(str(flags.get("limit", MOST)))
    except ValueError:
        limit = 0
    if limit < 1:
        raise SettingsError("--limit: it must be a whole number from 1 on")
    only = _only(flags)
    if "api" in flags:
        from bridge.cli.store_access import api_of

        with api_of(flags) as reader:
            answer = reader.outbox()
        rows = [
            {"webhook": one.name, **{key: getattr(one, key) for key in _COUNTS}}
            for one in answer.webhooks
            if only in (None, one.name)
        ]
        listed_there = [one for one in answer.deliveries if only in (None, one.webhook)]
        deliveries = [_fields(one) for one in listed_there[:limit]]
        return _print(flags, rows, deliveries)
    with _connection(flags) as db:
        rows = [outlet_row(n, row) for n, row in outlets(db).items() if only in (None, n)]
        deliveries = [delivery_row(n, one) for n, one in listed(db, only, limit)]
    return _print(flags, rows, deliveries)


_COUNTS: Final = ("waiting", "dead", "dropped", "disabled")


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _print(flags: Flags, rows: list[dict[str, Any]], deliveries: list[dict[str, Any]]) -> int:
    if "json" in flags:
        import msgspec

        text = msgspec.json.encode({"webhooks": rows, "deliveries": deliveries}).decode()
        sys.stdout.write(f"{text}\n")
        return 0
    from bridge.output.table import print_table

    print_table(
        ("webhook", "waiting", "given up", "dropped", "disabled"),
        [
            (
                r["webhook"],
                str(r["waiting"]),
                str(r["dead"]),
                str(r["dropped"]),
                r["disabled"] or "",
            )
            for r in rows
        ],
    )
    if deliveries:
        sys.stdout.write("\n")
        print_table(
            ("id", "webhook", "event", "room", "attempts", "next", "error"),
            [
                (
                    r["id"],
                    r["webhook"],
                    r["event"],
                    r["room"],
                    str(r["attempts"]),
                    "given up" if r["dead"] else r["due"],
                    r["error"],
                )
                for r in deliveries
            ],
        )
    return 0


def _retry(flags: Flags) -> int:
    from bridge.outlets.outbox_queries import send_again

    raw = flags.get("ids") or []
    ids = [str(one) for one in raw] if isinstance(raw, list) else []
    with _connection(flags) as db:
        count = send_again(db, _only(flags), ids, time.time())
    if ids and not count:
        complain("no such delivery waits or was given up; `outbox list` has their ids")
        return FAILED
    sys.stdout.write(f"{count} will be sent again by a running worker\n")
    return 0


def _enable(flags: Flags) -> int:
    from bridge.outlets.outbox_queries import outlets, set_disabled

    with _connection(flags) as db:
        disabled = [name for name, row in outlets(db).items() if row.disabled is not None]
        only = _only(flags)
        chosen = [name for name in disabled if only in (None, name)]
        for name in chosen:
            set_disabled(db, name, None)
    if not chosen:
        complain("no such webhook is disabled")
        return FAILED
    sys.stdout.write(f"enabled: {', '.join(chosen)}\n")
    return 0


def _test(flags: Flags) -> int:
    """Send one event to each endpoint of the settings, now, from here."""
    from bridge.config.settings import load
    from bridge.config.webhook_list import webhooks_of

    settings = load(
        {name: value for name, value in flags.items() if name in BY_NAME or name in _ELSE}
    )
    only = _only(flags)
    chosen = [one for one in webhooks_of(settings) if only in (None, one.name)]
    if not chosen:
        raise SettingsError(
            "no such webhook is configured: [[webhook]] in --config, or --webhook-url"
        )
    import trio

    from bridge.outlets.trial import try_endpoint

    well = True
    for one in chosen:
        attempt = trio.run(try_endpoint, one, settings.api_key, settings.api_secret)
        well = well and attempt.delivered
        what = f"arrived, status {attempt.status}" if attempt.delivered else attempt.detail
        sys.stdout.write(f"{one.name} {one.url.shown} {what}\n")
    return 0 if well else FAILED


OUTBOX: Final = Command(
    "outbox",
    "outgoing webhooks: what waits, failed or was given up",
    "Lists what waits for an endpoint or was given up, sends it again, tries an endpoint.\n"
    "It works beside running workers, which do the sending; with --database-url on any machine.",
    _run,
    TABLE,
    takes="[list|retry|test|enable]",
    add_flags=_add_flags,
)
