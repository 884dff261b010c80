"""`forget`: one person erased from the store."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from bridge.cli.command import FAILED, Command, Flags, complain
from bridge.config.settings import BY_NAME, SettingsError
from bridge.config.store_address import StoreAddress, store_address_of

if TYPE_CHECKING:
    from bridge.app.forget import ForgetReport


def _forget(flags: Flags) -> int:
    from actors.journal.archive import ArchiveTrouble
    from actors.journal.conversation_texts import TextTrouble
    from actors.journal.session_reader import NoStore, StoreRefused
    from actors.outlets.outbox_port import OutboxTrouble
    from bridge.app.forget import forget
    from bridge.cli.store_access import no_store
    from bridge.output.harmless import harmless
    from bridge.output.progress import ProgressLine

    person = flags.get("identity")
    if not person:
        raise SettingsError("forget needs an identity or a person key: room-actors forget IDENTITY")
    store = store_address_of(flags)
    try:
        with ProgressLine(sys.stderr) as progress:
            report = forget(store, str(person), progress)
    except NoStore:
        complain(no_store(store))
        return FAILED
    except (StoreRefused, ArchiveTrouble, TextTrouble, OutboxTrouble) as error:
        complain(str(error))
        return FAILED
    if report.nothing:
        complain(f"nobody with the identity '{harmless(str(person))}' is in {store}")
        return FAILED
    if "json" in flags:
        _print_json(report)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(report, store)))
    return 0 if report.whole else FAILED


def _lines(report: ForgetReport, address: StoreAddress) -> list[str]:
    from bridge.output.harmless import harmless

    store = report.store
    others = "; these are one person: " + ", ".join(map(harmless, store.identities))
    counts = f"{store.sessions} sessions, {store.records} records, {store.alerts} alerts"
    if report.texts:
        counts += f", {report.texts} texts of conversations"
    if report.recordings:
        counts += f", {report.recordings} recordings of agents"
    also = others if len(store.identities) > 1 else ""
    lines = [
        f"erased in {counts}, {report.webhooks} webhooks that wait{also}",
        "counts and times stay, under pseudonyms that differ from session to session",
        *(f"ban lifted: {harmless(room)}" for room in report.bans),
    ]
    lines += [
        f"LEFT: session {one.session} of room {harmless(one.room)}: a worker may still write it; "
        "forget again after its end (10 minutes after, while a worker runs)"
        for one in store.left
    ]
    lines += [
        f"LEFT: the ban in room {harmless(room)}: the running worker has it; "
        "end the worker and forget again"
        for room in report.bans_left
    ]
    lines += [f"LEFT: {name}: it was set aside and is not changed; delete it" for name in
              report.set_aside]  # fmt: skip
    if store.unreadable:
        lines.append(f"LEFT: {store.unreadable} sessions with data that cannot be read")
    lines += [
        f"LEFT: {name}: it still has these bytes, perhaps as a part of another text; "
        "forget again while no worker runs"
        for name in report.files_with_bytes
    ]
    if report.whole and address.database_url is None:
        lines.append("no file of the directory has the identity any more")
    elif report.whole:
        lines.append("no row of the database has the identity any more")
        lines.append(
            "not changed: the database's write-ahead log and standbys, and `bans.json` in the data "
            "directories of other workers: forget there too"
        )
    lines.append("backups, logs and receivers of webhooks are not changed")
    return lines


def _print_json(report: ForgetReport) -> None:
    import attrs

    from bridge.output.ascii_json import spaced_json

    whole = {"all_erased": report.whole, **attrs.asdict(report)}
    sys.stdout.write(f"{spaced_json(whole, indent=1)}\n")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identity", nargs="?", metavar="IDENTITY", help="or a person key")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


FORGET: Final = Command(
    "forget",
    "erase one person from the store",
    "Erases the names, metadata and messages of one person from the store, from webhooks that\n"
    "wait and from the bans, and says what it did. The counts stay. It works beside a running\n"
    "worker; a session that is still written is left, and named. Exit code 0 only if nothing is "
    "left.",
    _forget,
    (BY_NAME["data-dir"], BY_NAME["database-url"]),
    "IDENTITY",
    _add_flags,
)
