"""The commands, in the order in which the help lists them.

Each stands in a module with its flags.  These modules import nothing heavy: what a command needs
to run is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.cli import (
    announce_command,
    backup_command,
    check_command,
    demo_command,
    forget_command,
    health_command,
    outbox_command,
    reading_commands,
    rules_command,
    serve_command,
    simulate_command,
    start_command,
    top_command,
)
from bridge.cli.command import Command

COMMANDS: Final[Mapping[str, Command]] = {
    command.name: command
    for command in (
        demo_command.DEMO,
        start_command.START,
        serve_command.SERVE,
        check_command.CHECK,
        top_command.TOP,
        health_command.HEALTH,
        reading_commands.ROOMS,
        reading_commands.SESSIONS,
        reading_commands.REPORT,
        reading_commands.ATTENDANCE,
        reading_commands.PERSON,
        reading_commands.DAYS,
        reading_commands.TRANSCRIPTS,
        outbox_command.OUTBOX,
        rules_command.RULES,
        announce_command.SAY,
        announce_command.PLAY,
        announce_command.SHOW,
        backup_command.BACKUP,
        backup_command.RESTORE,
        forget_command.FORGET,
        simulate_command.SIMULATE,
    )
}
"""By name."""
