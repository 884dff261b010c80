"""The settings of a command: read from everywhere, checked together, and typed.

A setting comes from its flag, else from its environment variable, else from the `--env-file`, else
from the TOML file given with `--config`, else it has its default (`bridge.config.setting_sources`).
All are read and checked by the same parser (`bridge.config.setting_table`), so a value is right or
wrong wherever it stands.  An error is one line that names the setting and says how to set it.

A secret may also be in a file of its own, which `NAME_FILE` names in place of `NAME` (in TOML
`name-file`), and key and secret in LiveKit's key file (`LIVEKIT_KEY_FILE`).  Secrets are in no
`repr`, in no error text and in no log line (`Settings.secrets` is what the log takes out of every
line).

An empty environment variable counts as not set, because a compose file makes that of a variable
without a value.  `ROOM_ACTORS_WATCH` is the exception: there the empty list has a meaning and does
no harm.  An unnamed worker takes jobs from the user's other unnamed agents, so it can be requested
only by flag (`--agent-name ''`) or file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import field, frozen

from bridge.config import (
    limit_list,  # noqa: F401  (these make [[limit]], [[mask]] and [[rule]] settings)
    mask_list,  # noqa: F401
    rule_list,  # noqa: F401
    values,
)
from bridge.config.machine import descriptor_limit, rooms_for_descriptors
from bridge.config.public_address import Network
from bridge.config.setting_files import others_can_read
from bridge.config.setting_lists import SettingList, secrets_of_lists
from bridge.config.setting_sources import KEY_FILE, BadSource, GivenSettings
from bridge.config.setting_table import BY_NAME, MAX_ROOMS, TABLE, Setting
from bridge.config.values import HttpAddress, SettingsError
from bridge.outlets.endpoint_url import EndpointUrl
from bridge.postgres.database_url import secrets_of_url

__all__ = [
    "BY_NAME",
    "KEY_FILE",
    "MAX_ROOMS",
    "TABLE",
    "Notice",
    "Setting",
    "Settings",
    "SettingsError",
    "UncheckedSettings",
    "data_dir_of",
    "load",
    "read_settings",
]

T = TypeVar("T")

LONG_TOKEN: Final = 16
"""Characters: a shorter `--http-token` can be guessed by trying."""


@frozen
class Notice:
    """A warning about the settings, which is logged at the start."""

    event: str
    fields: Mapping[str, object]
    setting: str = ""
    """The name of the setting, where the warning is about one."""


@frozen
class Settings:
    """The settings of a command.  Times are in seconds."""

    url: str
    """ws or wss, no slash at its end."""
    api_key: str
    api_secret: str = field(repr=False)
    agent_name: str
    watch: tuple[str, ...]
    """Glob patterns of room names; empty: only explicit dispatch."""
    job_types: tuple[str, ...]
    """With `room` among them."""
    max_rooms: int
    reserve: int
    """Of these, places for rooms of the first pattern of `watch` only."""
    data_dir: Path
    worker_name: str | None
    person_key: str | None
    """None: the id that is kept in the data directory."""
    keep: float
    keep_events: float
    keep_size: int
    """Bytes."""
    keep_transcripts: float | None
    """None: no speech and no chat of agents is stored."""
    keep_tool_payloads: float | None
    agent_uploads: bool
    keep_recordings: float | None
    """None: no recording of an agent is stored."""
    keep_spans: float | None
    otlp_forward: EndpointUrl | None
    mask_text: tuple[str, ...]
    """Names of `actors.journal.text_masks.BUILT_IN`."""
    database_url: str | None = field(repr=False)
    events: str
    """`shared`: all events go to the database."""
    http: HttpAddress | None
    """None: off."""
    http_token: str | None = field(repr=False)
    http_host: tuple[str, ...]
    """In lower case."""
    http_root: str
    """Without a slash at its end; empty for `/`."""
    trusted_proxies: tuple[Network, ...]
    webhook_url: EndpointUrl | None = field(repr=False)
    webhook_secret: tuple[str, ...] = field(repr=False)
    max_recordings: int
    recording_webhook_url: EndpointUrl | None
    """None: the address of `http`, where LiveKit can reach it."""
    status_every: float
    report_every: float
    quality_threshold: float
    """0 to 1."""
    inactivity_timeout: float
    measure_tracks: str
    """`off`, `sampled` or `all`."""
    measure_budget: int
    """Tracks of a room."""
    notify_people: bool
    speech_engine: str | None
    """None: the first that is installed."""
    speech_voice: str
    announcer_name: str
    speak_people_text: bool
    media_commands: tuple[str, ...]
    media_folder: str
    stop_timeout: float
    visible: bool
    log_format: str
    """`text` or `json`."""
    log_level: str
    """`debug`, `info`, `warning` or `error`."""
    log_payloads: bool
    sdk_demux: bool
    sdk_native_logs: bool
    sdk_gather_once: bool
    sdk_dual_connection: bool
    sdk_pause_microphones: bool
    sdk_renew_paused: bool
    sdk_tracks: int
    given: frozenset[str] = frozenset()
    """Names of the settings that somebody set; the others have their default."""
    notices: tuple[Notice, ...] = ()
    lists: Mapping[str, tuple[Any, ...]] = field(factory=dict[str, tuple[Any, ...]])
    """The tables of each list, by its name; see `tables`."""

    def tables(self, row: SettingList[T]) -> tuple[T, ...]:
        """The tables of a list, in the order of the file."""
        return self.lists.get(row.name, ())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every configured secret; the log takes these out of its lines."""
        words = (self.api_secret, self.http_token, *secrets_of_url(self.database_url))
        more = (*self.webhook_secret, *secrets_of_lists(self.lists))
        return tuple(word for word in (*words, *more) if word)


@frozen
class UncheckedSettings:
    """Settings as far as they could be read: for `check`, which shows all that is wrong."""

    values: Mapping[str, Any] = field(repr=False)
    """By setting's name; a setting with a problem is absent."""
    problems: Mapping[str, str]
    """By setting's name, in the order of the table."""
    origins: Mapping[str, str]
    """By setting's name: the flag, variable or file a value came from, or "default"."""
    notices: tuple[Notice, ...]
    lists: Mapping[str, tuple[Any, ...]] = field(factory=dict[str, tuple[Any, ...]])

    def settings(self) -> Settings:
        """Raises `SettingsError` with the first thing that is wrong."""
        if self.problems:
            raise SettingsError(_first(self.problems, self.origins))
        parsed = {BY_NAME[name].field: value for name, value in self.values.items()}
        given = frozenset(name for name, origin in self.origins.items() if origin != "default")
        return Settings(**parsed, given=given, notices=self.notices, lists=self.lists)


def _first(problems: Mapping[str, str], origins: Mapping[str, str]) -> str:
    missing = [BY_NAME[name] for name in problems if origins[name] == "default"]
    if len(missing) > 1:
        return (
            f"{' and '.join(r.flag for r in missing)} are missing; set them by these flags, by "
            f"{' and '.join(r.env for r in missing)}, or in the file given with --config"
        )
    return next(iter(problems.values()))


def load(flags: Mapping[str, object], env: Mapping[str, str] | None = None) -> Settings:
    """The settings of one command.

    `flags` is by setting's name, only what was given, and may have "config" (a path).
    Raises `SettingsError`.
    """
    return read_settings(flags, env).settings()


def data_dir_of(flags: Mapping[str, object], env: Mapping[str, str] | None = None) -> Path:
    """For a command that only reads: no other setting need be there.  Raises `SettingsError`."""
    read = read_settings(flags, env)
    if "data-dir" in read.problems:
        raise SettingsError(read.problems["data-dir"])
    return read.values["data-dir"]


def read_settings(
    flags: Mapping[str, object], env: Mapping[str, str] | None = None
) -> UncheckedSettings:
    """Read and check everything; raises `SettingsError` only for files and unknown keys."""
    env = os.environ if env is None else env
    given = GivenSettings.read(flags, env)
    parsed: dict[str, Any] = {}
    problems: dict[str, str] = {}
    origins: dict[str, str] = {}
    for row in TABLE:
        origin = "default"
        try:
            origin, raw = given.raw(row, parsed.get("api-key"))
            origins[row.name] = origin
            parsed[row.name] = row.default(env) if origin == "default" else row.parse(raw)
        except BadSource as error:
            origins[row.name] = error.origin
            problems[row.name] = f"{error.origin}: {error} (set by {row.how()})"
            continue
        except values.BadValue as error:
            problems[row.name] = f"{origin}: {error} (set by {row.how()})"
            continue
        if row.required and not parsed[row.name]:
            problems[row.name] = f"{row.flag} is missing; set it by {row.how()}"
            del parsed[row.name]
    notices = (*_judge(parsed, problems, origins), *_exposed(given, parsed, origins))
    ordered = {row.name: problems[row.name] for row in TABLE if row.name in problems}
    return UncheckedSettings(parsed, ordered, origins, notices, given.file.lists)


def _judge(
    parsed: dict[str, Any], problems: dict[str, str], origins: Mapping[str, str]
) -> tuple[Notice, ...]:
    """Checks that need several settings together, or the machine."""
    notices: list[Notice] = []
    if parsed.get("agent-name") == "":
        notices.append(Notice("unnamed_worker", {}, "agent-name"))
    if "max-rooms" not in problems:
        fits = rooms_for_descriptors(descriptor_limit())
        asked = parsed["max-rooms"]
        if asked is None:
            parsed["max-rooms"] = min(fits, MAX_ROOMS)
        elif asked > fits:
            parsed["max-rooms"] = fits
            fields = {"asked": asked, "max_rooms": fits, "open_files": descriptor_limit()}
            notices.append(Notice("max_rooms_lowered", fields, "max-rooms"))
    if "max-rooms" not in problems and "reserve" not in problems:
        reserve, most = parsed["reserve"], parsed["max-rooms"]
        if reserve >= most:
            problems["reserve"] = (
                f"{origins['reserve']}: {reserve} of {most} places leave none for other rooms; "
                f"set it by {BY_NAME['reserve'].how()} to 0 to {most - 1}"
            )
        elif reserve and not parsed.get("watch"):
            problems["reserve"] = (
                f"{origins['reserve']}: --watch names no rooms for which places are reserved; "
                f"set it by {BY_NAME['watch'].how()}, or leave --reserve out"
            )
    http = parsed.get("http")
    if http is not None and not http.loopback and not parsed.get("http-token"):
        row = BY_NAME["http-token"]
        problems.setdefault(
            "http-token",
            f"{origins['http']}: {http} can be reached from other machines, which needs a token; "
            f"set it by {row.how()}, or listen on 127.0.0.1",
        )
    return tuple(notices)


def _exposed(
    given: GivenSettings, parsed: Mapping[str, Any], origins: Mapping[str, str]
) -> list[Notice]:
    """Warnings of secrets that other users of this machine can read, or anybody can guess."""
    notices: list[Notice] = []
    secrets = [row for row in TABLE if row.hidden]
    for row in secrets:
        if origins[row.name] == row.flag and parsed.get(row.name):
            fields = {"flag": row.flag, "variable": row.env, "file_variable": row.env_file}
            notices.append(Notice("secret_on_command_line", fields, row.name))
    if given.config is not None and others_can_read(given.config):
        there = [row.name for row in secrets if row.name in given.file.values]
        in_table = given.file.secret_in_table
        there += [] if in_table is None else [in_table]
        notices += [_readable("--config", given.config, name) for name in there[:1]]
    if given.env_file is not None and others_can_read(given.env_file):
        there = [row.name for row in secrets if given.layers[-1].has(row.env)]
        notices += [_readable("--env-file", given.env_file, name) for name in there[:1]]
    token = parsed.get("http-token")
    if token and len(token) < LONG_TOKEN:
        notices.append(Notice("http_token_short", {"least": LONG_TOKEN}, "http-token"))
    return notices


def _readable(flag: str, path: Path, name: str) -> Notice:
    fields = {"flag": flag, "file": str(path), "setting": name}
    return Notice("secret_file_readable", fields, name)
