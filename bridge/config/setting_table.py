"""Every setting in one table: its flag, its variable, its parser, its default and its help.

The table also makes the flags, with argparse.  cyclopts would print prettier help.  But it
validates only flags, and four sources must be validated alike.  It shows rejected values, which
may be a secret, in panels of several lines.  And it costs 0.1 s of every start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from attrs import frozen

from actors.journal.text_masks import BUILT_IN
from bridge.config import values
from bridge.config.values import HttpAddress
from bridge.config.webhook_list import endpoint_url, signing_secrets

MAX_ROOMS: Final = 500
"""The default's upper bound; tested up to this number."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
DAY: Final = 86_400.0
YEAR: Final = 366 * DAY


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
    """Makes the default from the environment."""
    default_text: str = ""
    required: bool = False
    empty_env_counts: bool = False
    kind: Literal["value", "switch", "list"] = "value"
    planned: bool = False
    """Its value is checked, but has no effect yet.  It is not in the help, and not in
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
    # The XDG specification says that a relative path must be ignored.
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
        "rooms to watch without a dispatch, as 'team-*,lobby'; '' for none",
        default=("*",), default_text="*", empty_env_counts=True, kind="list",
    ),
    _row(
        "job-types", "ROOM_ACTORS_JOB_TYPES", "TYPES",
        values.choices("room", "participant", "publisher", "media", required="room"),
        "jobs to take: room, and also participant (as participant-monitor), publisher "
        "(as publisher-monitor), media (as media-publisher)",
        default=("room",), default_text="room", kind="list",
    ),
    _row(
        "max-rooms", "ROOM_ACTORS_MAX_ROOMS", "N", values.whole_number(1, 5000),
        "rooms to watch at once",
        default_text=f"from the open-file limit, at most {MAX_ROOMS}",
    ),
    _row(
        "reserve", "ROOM_ACTORS_RESERVE", "N", values.whole_number(0, 5000),
        "places of --max-rooms for rooms of the first pattern of --watch only", default=0,
    ),
    _row(
        "data-dir", "ROOM_ACTORS_DATA_DIR", "DIR", values.directory,
        "directory of the sessions", default=_data_home, default_text="$XDG_DATA_HOME/room-actors",
    ),
    _row(
        "worker-name", "ROOM_ACTORS_WORKER_NAME", "NAME", values.worker_name,
        "id of this worker, also after a restart; no two workers may have the same",
        default_text="a random id kept in the data directory",
    ),
    _row(
        "person-key", "ROOM_ACTORS_PERSON_KEY", "KEY", values.person_key,
        "key that identifies a person if identities are new at each join: "
        "attributes.user_id, or metadata.user_id (JSON)",
        default_text="the identity",
    ),
    _row(
        "keep", "ROOM_ACTORS_KEEP", "TIME", values.duration(3600, 100 * YEAR),
        "time to keep sessions after their end",
        default=90 * DAY, default_text="90d",
    ),
    _row(
        "keep-events", "ROOM_ACTORS_KEEP_EVENTS", "TIME", values.duration(3600, 100 * YEAR),
        "time to keep their timelines", default=14 * DAY, default_text="14d",
    ),
    _row(
        "keep-size", "ROOM_ACTORS_KEEP_SIZE", "SIZE", values.size(10**6, 10**15),
        "most bytes of the store; above it the longest timelines go, then the oldest sessions",
        default=10 * 10**9, default_text="10GB",
    ),
    _row(
        "keep-transcripts", "ROOM_ACTORS_KEEP_TRANSCRIPTS", "TIME",
        values.duration_or_off(3600, 100 * YEAR),
        "keep what agents and the people who talk to them say and write, for this time",
        default_text="off",
    ),
    _row(
        "keep-tool-payloads", "ROOM_ACTORS_KEEP_TOOL_PAYLOADS", "TIME",
        values.duration_or_off(3600, 100 * YEAR),
        "keep arguments and results of agents' tools, for this time", default_text="off",
    ),
    _row(
        "agent-uploads", "ROOM_ACTORS_AGENT_UPLOADS", "on|off", values.switch,
        "take what voice agents upload (LIVEKIT_OBSERVABILITY_URL=http://HOST:PORT of --http)",
        default=True, default_text="on",
    ),
    _row(
        "keep-recordings", "ROOM_ACTORS_KEEP_RECORDINGS", "TIME",
        values.duration_or_off(3600, 100 * YEAR),
        "keep recordings that voice agents upload, as files in the data directory, for this time",
        default_text="off",
    ),
    _row(
        "keep-spans", "ROOM_ACTORS_KEEP_SPANS", "TIME", values.duration_or_off(3600, 100 * YEAR),
        "keep the spans of voice agents, without content, for this time", default_text="off",
    ),
    _row(
        "otlp-forward", "ROOM_ACTORS_OTLP_FORWARD", "URL", endpoint_url,
        "pass traces that voice agents upload on to this OTLP collector, as http://HOST:4318",
        default_text="none",
    ),
    _row(
        "mask-text", "ROOM_ACTORS_MASK_TEXT", "KINDS", values.choices(*BUILT_IN),
        "never store these parts of such texts: card, phone, email; more of them as [[mask]] in "
        "--config",
        default=(), default_text="none", empty_env_counts=True, kind="list",
    ),
    _row(
        "database-url", "ROOM_ACTORS_DATABASE_URL", "URL", values.database_url,
        "PostgreSQL for the sessions of several workers; better in the environment",
        default_text="SQLite file in the data directory",
        in_file=True, hidden=True,
    ),
    _row(
        "events", "ROOM_ACTORS_EVENTS", "WHERE", values.events,
        "with a database, where events go: shared, into the database; local, onto this "
        "machine's disk, and into the database some seconds later",
        default="shared",
    ),
    _row(
        "http", "ROOM_ACTORS_HTTP", "ADDRESS", values.http_address,
        "address of the page, the API and the metrics, or off",
        default=HttpAddress("127.0.0.1", 8088),
    ),
    _row(
        "http-token", "ROOM_ACTORS_HTTP_TOKEN", "TOKEN", values.secret,
        "token that HTTP clients must show; required if --http is not loopback",
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
        "webhook-url", "ROOM_ACTORS_WEBHOOK_URL", "URL", endpoint_url,
        "send webhooks there; more of them as [[webhook]] in --config", default_text="none",
        in_file=True, hidden=True,
    ),
    _row(
        "webhook-secret", "ROOM_ACTORS_WEBHOOK_SECRET", "SECRET", signing_secrets,
        "sign the webhooks of --webhook-url (Standard Webhooks)", default=(),
        default_text="unsigned", in_file=True, hidden=True,
    ),
    _row(
        "max-recordings", "ROOM_ACTORS_MAX_RECORDINGS", "N", values.whole_number(1, 1000),
        "recordings by rules at the same time", default=10,
    ),
    _row(
        "recording-webhook-url", "ROOM_ACTORS_RECORDING_WEBHOOK_URL", "URL", endpoint_url,
        "our own /livekit/webhook as LiveKit reaches it, for news of recordings",
        default_text="that of --http, where LiveKit runs on this machine",
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
        "quality-threshold", "ROOM_ACTORS_QUALITY_THRESHOLD", "SHARE", values.share,
        "monitors warn of a connection below it; excellent 1, good 0.75, poor 0.25, lost 0",
        default=0.5,
    ),
    _row(
        "inactivity-timeout", "ROOM_ACTORS_INACTIVITY_TIMEOUT", "TIME",
        values.duration(0.1, 30 * DAY),
        "time after which a monitored person counts as inactive, or is waited for no longer",
        default=300.0, default_text="5m",
    ),
    _row(
        "measure-tracks", "ROOM_ACTORS_MEASURE_TRACKS", "WHICH",
        values.choice("off", "sampled", "all"),
        "measure loss, jitter and concealment of tracks: off, sampled (microphones, 2 s of every "
        "30 s) or all (also videos, all the time)",
        default="off",
    ),
    _row(
        "measure-budget", "ROOM_ACTORS_MEASURE_BUDGET", "N", values.whole_number(1, 1000),
        "tracks of a room that are measured at the same time", default=20,
    ),
    _row(
        "notify-people", "ROOM_ACTORS_NOTIFY_PEOPLE", "", values.switch,
        "let monitors send messages to people: welcome, speaking, poor connection",
        default=False, default_text="off", kind="switch",
    ),
    _row(
        "speech-engine", "ROOM_ACTORS_SPEECH_ENGINE", "ENGINE",
        values.choice("espeak-ng", "hibari"),
        "speaks the texts of announcements: espeak-ng or hibari",
        default_text="the first that is installed",
    ),
    _row(
        "speech-voice", "ROOM_ACTORS_SPEECH_VOICE", "VOICE", values.voice,
        "the engine's voice or language, as en-us", default="", default_text="the engine's own",
    ),
    _row(
        "announcer-name", "ROOM_ACTORS_ANNOUNCER_NAME", "NAME", values.agent_name,
        "the name that people see while something is announced", default="Announcement",
    ),
    _row(
        "speak-people-text", "ROOM_ACTORS_SPEAK_PEOPLE_TEXT", "", values.switch,
        "let texts that people in a room wrote be spoken",
        default=False, default_text="off", kind="switch",
    ),
    _row(
        "media-commands", "ROOM_ACTORS_MEDIA_COMMANDS", "GLOBS", values.globs,
        "identities that may command the media publisher, as 'host-*'; '' for nobody",
        default=(), default_text="nobody", empty_env_counts=True, kind="list",
    ),
    _row(
        "media-folder", "ROOM_ACTORS_MEDIA_FOLDER", "DIR", values.text,
        "the folder of the sound files that the media publisher may play",
        default="", default_text="none",
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
        "log-level", "ROOM_ACTORS_LOG_LEVEL", "LEVEL", values.choice(*LOG_LEVELS),
        f"the least severe lines of the log: {', '.join(LOG_LEVELS)}", default="info",
    ),
    _row(
        "log-payloads", "ROOM_ACTORS_LOG_PAYLOADS", "", values.switch,
        "log the content of data messages, not only sender, topic, size and kind",
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
    _row(
        "sdk-tracks", "ROOM_ACTORS_SDK_TRACKS", "N", values.whole_number(1, 100_000),
        "people of a room whose quality and speech are followed at most: 0.27 MiB each",
        default=1000,
    ),
)  # fmt: skip

BY_NAME: Final[Mapping[str, Setting]] = {row.name: row for row in TABLE}
