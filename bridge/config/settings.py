"""Every setting in one table, and how a value is found.

A setting comes from its flag, else from its environment variable, else from the
`--env-file`, else from the TOML file given with `--config`, else it has its default.
All are read and checked by the same parser, so that a value is right or wrong wherever
it stands.  Whatever is wrong ends as one line that names the setting and says how to set it.

A secret may also be in a file of its own, which `NAME_FILE` names in place of `NAME`
(in TOML `name-file`), and key and secret in LiveKit's key file (`LIVEKIT_KEY_FILE`).

Secrets are in no `repr`, in no error text and in no log line (`Settings.secrets` is
what the log takes out of every line).

An empty environment variable counts as not set: that is what a compose file makes
of a variable nobody filled in.  `ROOM_ACTORS_WATCH` is the exception, because there
the empty list has a meaning and does no harm.  So an unnamed worker (`--agent-name
''`), which takes jobs from the user's other unnamed agents, is only had by a flag or
the file.

The table makes the flags too, with argparse.  cyclopts would have printed prettier
help, but it validates flags where we must validate four sources alike, shows
rejected values (a secret among them) in panels of several lines, and costs 0.1 s of
every start.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from attrs import field, frozen

from bridge.config import values
from bridge.config.machine import descriptor_limit, rooms_for_descriptors
from bridge.config.public_address import Network
from bridge.config.setting_files import (
    others_can_read,
    read_env_file,
    read_key_file,
    read_secret,
    read_text,
)
from bridge.config.values import HttpAddress
from bridge.output.harmless import harmless
from bridge.output.text import did_you_mean

MAX_ROOMS: Final = 500
"""The default's upper bound; tried up to here."""

KEY_FILE: Final = "LIVEKIT_KEY_FILE"
"""Names a file with `key: secret` lines, as livekit-server's `--key-file` takes."""
LONG_TOKEN: Final = 16
"""Characters: a shorter `--http-token` can be found by trying."""

DAY: Final = 86_400.0
YEAR: Final = 366 * DAY


class SettingsError(Exception):
    """Wrong use or a wrong setting: one line, exit code 2.  The text holds no secret."""


@frozen
class Notice:
    """Something the user should know about his settings; logged as a warning at start."""

    event: str
    fields: Mapping[str, object]
    setting: str = ""
    """The name of the setting that it is about, where it is about one."""


@frozen
class Setting:
    """One row of the table."""

    name: str
    """As in `--name` and as the TOML key."""
    env: str
    metavar: str
    parse: values.Parser[Any]
    help: str
    default: Callable[[Mapping[str, str]], Any]
    """Takes the environment."""
    default_text: str = ""
    required: bool = False
    empty_env_counts: bool = False
    kind: Literal["value", "switch", "list"] = "value"
    planned: bool = False
    """Its value is checked, but what it sets is not built yet: not in the help, and not in
    `docs/contract.md`."""
    in_file: bool = False
    """The value may also be in a file that `ENV_FILE` names."""
    hidden: bool = False
    """The value is a secret: never shown, and warned of where other users can read it."""

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def env_file(self) -> str:
        """The variable that names a file with the value."""
        return f"{self.env}_FILE"

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    def how(self) -> str:
        flag = self.flag if self.kind == "switch" else f"{self.flag} {self.metavar}"
        return f"{flag} or {self.env}"


def _row(
    name: str,
    env: str,
    metavar: str,
    parse: values.Parser[Any],
    help: str,  # noqa: A002
    **more: Any,
) -> Setting:
    default = more.pop("default", None)
    if not callable(default):
        text = more.setdefault("default_text", "" if default is None else str(default))
        more["default_text"] = text
        return Setting(name, env, metavar, parse, help, lambda _env, it=default: it, **more)
    return Setting(name, env, metavar, parse, help, default, **more)


def _data_home(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_DATA_HOME", "")
    # The XDG rule: a relative path there is to be ignored.
    root = base if Path(base).is_absolute() else "~/.local/share"
    return values.directory(f"{root}/room-actors")


TABLE: Final[tuple[Setting, ...]] = (
    _row(
        "url", "LIVEKIT_URL", "URL", values.livekit_url,
        "the LiveKit server", default="ws://localhost:7880",
    ),
    _row(
        "api-key", "LIVEKIT_API_KEY", "KEY", values.secret, "API key", required=True, in_file=True,
    ),
    _row(
        "api-secret", "LIVEKIT_API_SECRET", "SECRET", values.secret,
        "API secret; better in the environment, where other users cannot read it", required=True,
        in_file=True, hidden=True,
    ),
    _row(
        "agent-name", "ROOM_ACTORS_AGENT_NAME", "NAME", values.agent_name,
        "the name to register and be dispatched under", default="simple-room-agent",
    ),
    _row(
        "watch", "ROOM_ACTORS_WATCH", "GLOBS", values.globs,
        "rooms to watch without anyone dispatching, as 'team-*,lobby'; '' for none",
        default=("*",), default_text="*", empty_env_counts=True, kind="list",
    ),
    _row(
        "max-rooms", "ROOM_ACTORS_MAX_ROOMS", "N", values.whole_number(1, 5000),
        "rooms to watch at once",
        default_text=f"from the open-file limit, at most {MAX_ROOMS}",
    ),
    _row(
        "reserve", "ROOM_ACTORS_RESERVE", "N", values.whole_number(0, 5000),
        "of these, places that only rooms of the first pattern of --watch get", default=0,
    ),
    _row(
        "data-dir", "ROOM_ACTORS_DATA_DIR", "DIR", values.directory,
        "where sessions are kept", default=_data_home, default_text="$XDG_DATA_HOME/room-actors",
    ),
    _row(
        "worker-name", "ROOM_ACTORS_WORKER_NAME", "NAME", values.worker_name,
        "who this worker is, also after a restart; no two workers may have the same",
        default_text="a random id kept in the data directory",
    ),
    _row(
        "person-key", "ROOM_ACTORS_PERSON_KEY", "KEY", values.person_key,
        "what tells people apart where identities are made anew for each join: "
        "attributes.user_id, or metadata.user_id (JSON)",
        default_text="the identity",
    ),
    _row(
        "keep", "ROOM_ACTORS_KEEP", "TIME", values.duration(3600, 100 * YEAR),
        "how long sessions are kept after their end",
        default=90 * DAY, default_text="90d",
    ),
    _row(
        "keep-events", "ROOM_ACTORS_KEEP_EVENTS", "TIME", values.duration(3600, 100 * YEAR),
        "how long their timelines are kept", default=14 * DAY, default_text="14d",
    ),
    _row(
        "keep-size", "ROOM_ACTORS_KEEP_SIZE", "SIZE", values.size(10**6, 10**15),
        "bytes of all that is kept; beyond it the longest timelines go, then the oldest sessions",
        default=10 * 10**9, default_text="10GB",
    ),
    _row(
        "database-url", "ROOM_ACTORS_DATABASE_URL", "URL", values.database_url,
        "PostgreSQL for several workers",
        default_text="SQLite file in the data directory", planned=True,
        in_file=True, hidden=True,
    ),
    _row(
        "http", "ROOM_ACTORS_HTTP", "ADDRESS", values.http_address,
        "address of the page, the API and the metrics, or off",
        default=HttpAddress("127.0.0.1", 8088),
    ),
    _row(
        "http-token", "ROOM_ACTORS_HTTP_TOKEN", "TOKEN", values.secret,
        "what HTTP clients must show; required if --http is not loopback",
        in_file=True, hidden=True,
    ),
    _row(
        "http-host", "ROOM_ACTORS_HTTP_HOST", "NAMES", values.host_names,
        "names by which a proxy calls us, besides those of loopback, as 'rooms.example.org'",
        default=(), default_text="none", kind="list",
    ),
    _row(
        "http-root", "ROOM_ACTORS_HTTP_ROOT", "PATH", values.url_root,
        "the path under which a proxy shows the page", default="", default_text="/",
    ),
    _row(
        "trusted-proxies", "ROOM_ACTORS_TRUSTED_PROXIES", "ADDRESSES", values.networks,
        "addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto count",
        default=(), default_text="none", kind="list",
    ),
    _row(
        "status-every", "ROOM_ACTORS_STATUS_EVERY", "TIME", values.duration(0.1, 86400),
        "time between a room's status lines", default=30.0, default_text="30s",
    ),
    _row(
        "report-every", "ROOM_ACTORS_REPORT_EVERY", "TIME", values.duration(0.1, 86400),
        "time between analytics reports", default=60.0, default_text="60s",
    ),
    _row(
        "stop-timeout", "ROOM_ACTORS_STOP_TIMEOUT", "TIME", values.duration(0.1, 3600),
        "time to leave the rooms after SIGINT or SIGTERM", default=10.0, default_text="10s",
    ),
    _row(
        "visible", "ROOM_ACTORS_VISIBLE", "", values.switch,
        "let participants see the agent", default=False, default_text="hidden", kind="switch",
    ),
    _row(
        "log-format", "ROOM_ACTORS_LOG_FORMAT", "FORMAT", values.choice("text", "json"),
        "text or json", default="text",
    ),
    _row(
        "log-payloads", "ROOM_ACTORS_LOG_PAYLOADS", "", values.switch,
        "log what data messages say, not only sender, topic, size and kind",
        default=False, default_text="off", kind="switch",
    ),
    _row(
        "sdk-demux", "ROOM_ACTORS_SDK_DEMUX", "on|off", values.switch,
        "take events directly from the SDK's native callback: half the CPU an event",
        default=True, default_text="on",
    ),
    _row(
        "sdk-native-logs", "ROOM_ACTORS_SDK_NATIVE_LOGS", "on|off", values.switch,
        "let Python handle the native library's debug records: 13 s of a core for 50 joins",
        default=False, default_text="off",
    ),
    _row(
        "sdk-gather-once", "ROOM_ACTORS_SDK_GATHER_ONCE", "on|off", values.switch,
        "gather ICE candidates once: at most 14 open files a room instead of 90",
        default=True, default_text="on",
    ),
    _row(
        "sdk-dual-connection", "ROOM_ACTORS_SDK_DUAL_CONNECTION", "on|off", values.switch,
        "use one peer connection each way: rooms are entered three times faster",
        default=True, default_text="on",
    ),
    _row(
        "sdk-pause-microphones", "ROOM_ACTORS_SDK_PAUSE_MICROPHONES", "on|off", values.switch,
        "pause microphones that are subscribed only for their signals: a tenth of the CPU",
        default=True, default_text="on",
    ),
    _row(
        "sdk-renew-paused", "ROOM_ACTORS_SDK_RENEW_PAUSED", "on|off", values.switch,
        "subscribe to a paused microphone a second time, so that LiveKit sends no silence",
        default=True, default_text="on",
    ),
)  # fmt: skip

BY_NAME: Final[Mapping[str, Setting]] = {row.name: row for row in TABLE}

_OTHER_VARIABLES: Final = re.compile(r"ROOM_ACTORS_(VENV|TEST_VENV|PYTHON|LIVEKIT_SERVER)")
"""The launcher's, and the private server's."""

_SERVICE_LINKS: Final = re.compile(
    r"ROOM_ACTORS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_SERVICE_PORT: Final = re.compile(r"ROOM_ACTORS_(\w+_)?PORT")
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://\S+")
"""What Kubernetes adds to every container for each service: of one that is called
`room-actors-metrics`, `ROOM_ACTORS_METRICS_SERVICE_HOST`, `ROOM_ACTORS_METRICS_PORT` and
more.  That last name could be a mistake of the user's as well; its value tells."""


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINKS.fullmatch(name):
        return True
    return bool(_SERVICE_PORT.fullmatch(name) and _SERVICE_URL.fullmatch(value))


@frozen
class Settings:
    """What a command runs with.  Times are in seconds."""

    url: str
    """ws or wss, no slash at its end."""
    api_key: str
    api_secret: str = field(repr=False)
    agent_name: str
    watch: tuple[str, ...]
    """Glob patterns of room names; empty: only explicit dispatch."""
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
    database_url: str | None = field(repr=False)
    http: HttpAddress | None
    """None: off."""
    http_token: str | None = field(repr=False)
    http_host: tuple[str, ...]
    """In lower case."""
    http_root: str
    """Without a slash at its end; empty for `/`."""
    trusted_proxies: tuple[Network, ...]
    status_every: float
    report_every: float
    stop_timeout: float
    visible: bool
    log_format: str
    """`text` or `json`."""
    log_payloads: bool
    sdk_demux: bool
    sdk_native_logs: bool
    sdk_gather_once: bool
    sdk_dual_connection: bool
    sdk_pause_microphones: bool
    sdk_renew_paused: bool
    given: frozenset[str] = frozenset()
    """Names of the settings that somebody set; the others have their default."""
    notices: tuple[Notice, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen."""
        password = re.match(r"\w+://[^/@]*:([^/@]+)@", self.database_url or "")
        found = (self.api_secret, self.http_token, password[1] if password else None)
        return tuple(word for word in found if word)


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

    def settings(self) -> Settings:
        """Raises `SettingsError` with the first thing that is wrong."""
        if self.problems:
            raise SettingsError(_first(self.problems, self.origins))
        found = {BY_NAME[name].field: value for name, value in self.values.items()}
        given = frozenset(name for name, origin in self.origins.items() if origin != "default")
        return Settings(**found, given=given, notices=self.notices)


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
    given = _Given.read(flags, env)
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    origins: dict[str, str] = {}
    for row in TABLE:
        origin = "default"
        try:
            origin, raw = given.raw(row, found.get("api-key"))
            origins[row.name] = origin
            found[row.name] = row.default(env) if origin == "default" else row.parse(raw)
        except _BadSource as error:
            origins[row.name] = error.origin
            problems[row.name] = f"{error.origin}: {error} (set by {row.how()})"
            continue
        except values.BadValue as error:
            problems[row.name] = f"{origin}: {error} (set by {row.how()})"
            continue
        if row.required and not found[row.name]:
            problems[row.name] = f"{row.flag} is missing; set it by {row.how()}"
            del found[row.name]
    notices = (*_judge(found, problems, origins), *_exposed(given, found, origins))
    ordered = {row.name: problems[row.name] for row in TABLE if row.name in problems}
    return UncheckedSettings(found, ordered, origins, notices)


class _BadSource(values.BadValue):
    """What should hold a value cannot be used; `origin` names it."""

    def __init__(self, origin: str, text: str) -> None:
        super().__init__(text)
        self.origin = origin


@frozen
class _Layer:
    """One set of environment variables: the process's own, or those of `--env-file`."""

    variables: Mapping[str, str]
    where: str = ""
    """As ` in FILE`."""

    def has(self, name: str, *, empty_counts: bool = False) -> bool:
        return name in self.variables and (empty_counts or bool(self.variables[name].strip()))

    def origin(self, name: str) -> str:
        return f"{name}{self.where}"


@frozen
class _Given:
    """Everything that somebody gave, wherever."""

    flags: Mapping[str, object]
    layers: tuple[_Layer, ...]
    """What is first wins."""
    config: Path | None
    file: Mapping[str, object]
    env_file: Path | None

    @classmethod
    def read(cls, flags: Mapping[str, object], env: Mapping[str, str]) -> _Given:
        """Raises `SettingsError`."""
        _refuse_unknown_variables(env)
        layers = [_Layer(env)]
        env_file = _path(flags, "env-file")
        if env_file is not None:
            try:
                variables = read_env_file(env_file)
            except values.BadValue as error:
                raise SettingsError(f"--env-file: {error}") from None
            layers.append(_Layer(variables, f" in {harmless(str(env_file))}"))
            _refuse_unknown_variables(variables, f"--env-file: {harmless(str(env_file))}: ")
        config = _path(flags, "config")
        file = {} if config is None else read_config(config)
        return cls(flags, tuple(layers), config, file, env_file)

    def raw(self, row: Setting, api_key: str | None) -> tuple[str, object]:
        """Where a value came from, and what it is there.  Raises `_BadSource`.

        `api_key` is the one that is used, for the secret in a file of several.
        """
        if row.name in self.flags:
            return row.flag, self.flags[row.name]
        for layer in self.layers:
            has_value = layer.has(row.env, empty_counts=row.empty_env_counts)
            has_file = row.in_file and layer.has(row.env_file)
            if has_value and has_file:
                text = f"{row.env} is set too: keep one of them"
                raise _BadSource(layer.origin(row.env_file), text)
            if has_value:
                return layer.origin(row.env), layer.variables[row.env]
            if has_file:
                origin = layer.origin(row.env_file)
                return origin, _secret_in(origin, layer.variables[row.env_file])
            if row.name in ("api-key", "api-secret") and layer.has(KEY_FILE):
                origin = layer.origin(KEY_FILE)
                return origin, _of_key_file(row, origin, layer.variables[KEY_FILE], api_key)
        config = harmless(str(self.config))
        if row.name in self.file:
            return f"{row.name} in {config}", self.file[row.name]
        by_file = f"{row.name}-file"
        if by_file in self.file:
            origin = f"{by_file} in {config}"
            return origin, _secret_in(origin, self.file[by_file])
        return "default", None


def _path(flags: Mapping[str, object], name: str) -> Path | None:
    return Path(str(flags[name])) if name in flags else None


def _secret_in(origin: str, path: object) -> str:
    try:
        if not isinstance(path, str):
            raise values.BadValue("is not the path of a file; put it in quotes")
        return read_secret(Path(path.strip()))
    except values.BadValue as error:
        raise _BadSource(origin, str(error)) from None


def _of_key_file(row: Setting, origin: str, path: str, api_key: str | None) -> str:
    """The key, or the secret of `api_key`, in a file of `key: secret` lines."""
    try:
        pairs = read_key_file(Path(path.strip()))
    except values.BadValue as error:
        raise _BadSource(origin, str(error)) from None
    if row.name == "api-key":
        if len(pairs) > 1:
            raise _BadSource(origin, f"has {len(pairs)} keys; name the one to use")
        return next(iter(pairs))
    if api_key is None or api_key not in pairs:
        raise _BadSource(origin, "has no secret of the API key that is used")
    return pairs[api_key]


def _judge(
    found: dict[str, Any], problems: dict[str, str], origins: Mapping[str, str]
) -> tuple[Notice, ...]:
    """What only several settings together, or the machine, can tell."""
    notices: list[Notice] = []
    if found.get("agent-name") == "":
        notices.append(Notice("unnamed_worker", {}, "agent-name"))
    if "max-rooms" not in problems:
        fits = rooms_for_descriptors(descriptor_limit())
        asked = found["max-rooms"]
        if asked is None:
            found["max-rooms"] = min(fits, MAX_ROOMS)
        elif asked > fits:
            found["max-rooms"] = fits
            fields = {"asked": asked, "max_rooms": fits, "open_files": descriptor_limit()}
            notices.append(Notice("max_rooms_lowered", fields, "max-rooms"))
    if "max-rooms" not in problems and "reserve" not in problems:
        reserve, most = found["reserve"], found["max-rooms"]
        if reserve >= most:
            problems["reserve"] = (
                f"{origins['reserve']}: {reserve} of {most} places leave none for other rooms; "
                f"set it by {BY_NAME['reserve'].how()} to 0 to {most - 1}"
            )
        elif reserve and not found.get("watch"):
            problems["reserve"] = (
                f"{origins['reserve']}: --watch names no rooms for which places are reserved; "
                f"set it by {BY_NAME['watch'].how()}, or leave --reserve out"
            )
    http = found.get("http")
    if http is not None and not http.loopback and not found.get("http-token"):
        row = BY_NAME["http-token"]
        problems.setdefault(
            "http-token",
            f"{origins['http']}: {http} can be reached from other machines, which needs a token; "
            f"set it by {row.how()}, or listen on 127.0.0.1",
        )
    return tuple(notices)


def _exposed(given: _Given, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Notice]:
    """Secrets that other users of this machine can read, or others can guess."""
    notices: list[Notice] = []
    secrets = [row for row in TABLE if row.hidden]
    for row in secrets:
        if origins[row.name] == row.flag and found.get(row.name):
            fields = {"flag": row.flag, "variable": row.env, "file_variable": row.env_file}
            notices.append(Notice("secret_on_command_line", fields, row.name))
    if given.config is not None and others_can_read(given.config):
        there = [row for row in secrets if row.name in given.file]
        notices += [_readable("--config", given.config, row) for row in there[:1]]
    if given.env_file is not None and others_can_read(given.env_file):
        there = [row for row in secrets if given.layers[-1].has(row.env)]
        notices += [_readable("--env-file", given.env_file, row) for row in there[:1]]
    token = found.get("http-token")
    if token and len(token) < LONG_TOKEN:
        notices.append(Notice("http_token_short", {"least": LONG_TOKEN}, "http-token"))
    return notices


def _readable(flag: str, path: Path, row: Setting) -> Notice:
    fields = {"flag": flag, "file": str(path), "setting": row.name}
    return Notice("secret_file_readable", fields, row.name)


def _refuse_unknown_variables(env: Mapping[str, str], where: str = "") -> None:
    known = {row.env for row in TABLE} | {row.env_file for row in TABLE if row.in_file}
    for name, value in env.items():
        if name.startswith("ROOM_ACTORS_") and name not in known:
            if _OTHER_VARIABLES.fullmatch(name) or _is_service_link(name, value):
                continue
            raise SettingsError(
                f"{where}environment variable {harmless(name, 80)} is no setting"
                f"{did_you_mean(name, sorted(known))}"
            )


def _has_huge_number(value: object) -> bool:
    """TOML 1.0 knows whole numbers of 64 bits; Python's reader takes any, and what is done
    with one then may fail in other ways."""
    if isinstance(value, list):
        return any(map(_has_huge_number, value))
    return isinstance(value, int) and value.bit_length() > 63


def read_config(path: Path) -> dict[str, object]:
    """A TOML file of settings by name (`api-key` or `api_key`).  Raises `SettingsError`."""
    where = f"--config: {harmless(str(path))}"
    try:
        parsed = tomllib.loads(read_text(path))
    except values.BadValue as error:
        raise SettingsError(f"--config: {error}") from None
    except ValueError as error:
        # TOMLDecodeError says line and column, and quotes at most a key or a character.  A
        # number of thousands of digits is refused by Python itself.
        raise SettingsError(f"{where} is not TOML: {harmless(str(error))}") from None
    except RecursionError:
        raise SettingsError(f"{where} is not TOML: it is nested too deeply") from None
    known = [*BY_NAME, *(f"{row.name}-file" for row in TABLE if row.in_file)]
    settings: dict[str, object] = {}
    for key, value in parsed.items():
        name = key.replace("_", "-")
        if name not in known:
            raise SettingsError(
                f"{where} has the unknown key '{harmless(key, 80)}'{did_you_mean(name, known)}"
            )
        if name in settings:
            raise SettingsError(f"{where} has the key '{name}' twice")
        if _has_huge_number(value):
            raise SettingsError(f"{where}: '{name}' has a whole number of more than 64 bits")
        settings[name] = value
    for row in TABLE:
        if row.name in settings and f"{row.name}-file" in settings:
            raise SettingsError(f"{where} has both '{row.name}' and '{row.name}-file'")
    return settings
