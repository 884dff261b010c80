"""Every setting by flag, environment and file, and what is said of a wrong one."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bridge.config.machine import (
    CLIENTS_AT_LEAST,
    clients_for_descriptors,
    descriptors_for_rooms,
    rooms_for_descriptors,
)
from bridge.config.settings import BY_NAME, TABLE, Settings, SettingsError, load, read_settings
from bridge.config.values import HttpAddress
from bridge.outlets.endpoint_url import EndpointUrl

KEYS: Mapping[str, object] = {"api-key": "devkey", "api-secret": "a-long-secret-word"}
VARIABLES = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-long-secret-word"}
FLAG, VARIABLE, FILE = "flag", "variable", "file"

# name -> three texts (flag, variable, TOML) and what each becomes
EXAMPLES: dict[str, tuple[tuple[str, Any], tuple[str, Any], tuple[str, Any]]] = {
    "url": (
        ("ws://a:1", "ws://a:1"),
        ("https://b.example/", "wss://b.example"),
        ('"http://[::1]:7880"', "ws://[::1]:7880"),
    ),
    "api-key": (("k1", "k1"), ("k2", "k2"), ('"k3"', "k3")),
    "api-secret": (("s1", "s1"), (" s2\n", "s2"), ('"s3"', "s3")),
    "agent-name": (("one", "one"), ("two", "two"), ('""', "")),
    "watch": (
        ("team-*, lobby", ("team-*", "lobby")),
        ("", ()),
        ('["a,b", "c"]', ("a,b", "c")),
    ),
    "job-types": (
        ("room,participant", ("room", "participant")),
        ("publisher, room", ("publisher", "room")),
        ('["room"]', ("room",)),
    ),
    "measure-tracks": (("sampled", "sampled"), ("all", "all"), ('"off"', "off")),
    "measure-budget": (("1", 1), ("2", 2), ("30", 30)),
    "max-rooms": (("1", 1), ("20", 20), ("30", 30)),
    "reserve": (("1", 1), ("2", 2), ("3", 3)),
    "data-dir": (("/one", Path("/one")), ("/two", Path("/two")), ('"/three"', Path("/three"))),
    "person-key": (
        ("attributes.user_id", "attributes.user_id"),
        ("metadata.user.id", "metadata.user.id"),
        ('"attributes.a"', "attributes.a"),
    ),
    "worker-name": (("one", "one"), ("two.b_2-c", "two.b_2-c"), ('"three"', "three")),
    "keep": (("90d", 7_776_000.0), ("1d12h", 129_600.0), ("3600", 3_600.0)),
    "keep-events": (("14d", 1_209_600.0), ("12h", 43_200.0), ('"7d"', 604_800.0)),
    "keep-size": (("10GB", 10**10), ("1.5 tb", 1_500 * 10**9), ("2000000", 2 * 10**6)),
    "keep-transcripts": (("7d", 604_800.0), ("off", None), ("3600", 3_600.0)),
    "keep-tool-payloads": (("1d", 86_400.0), ("off", None), ("false", None)),
    "mask-text": (
        ("card", ("card",)),
        ("phone,email", ("phone", "email")),
        ('["card", "email"]', ("card", "email")),
    ),
    "database-url": (
        ("postgresql://h/one", "postgresql://h/one"),
        ("postgres://h/two", "postgres://h/two"),
        ('"postgresql://h/three"', "postgresql://h/three"),
    ),
    "events": (("local", "local"), ("shared", "shared"), ('"local"', "local")),
    "http": (
        ("127.0.0.1:0", HttpAddress("127.0.0.1", 0)),
        ("[::1]:8088", HttpAddress("::1", 8088)),
        ('"off"', None),
    ),
    "http-token": (("t1", "t1"), ("t2", "t2"), ('"t3"', "t3")),
    "http-host": (
        ("Rooms.example.org", ("rooms.example.org",)),
        ("a, b.example.", ("a", "b.example")),
        ('["c"]', ("c",)),
    ),
    "http-root": (("/rooms", "/rooms"), ("/a/b/", "/a/b"), ('"/x"', "/x")),
    "trusted-proxies": (
        ("127.0.0.1", (ip_network("127.0.0.1"),)),
        ("::1, 10.0.0.0/8", (ip_network("::1"), ip_network("10.0.0.0/8"))),
        ('["192.0.2.1/24"]', (ip_network("192.0.2.0/24"),)),
    ),
    "webhook-url": (
        ("https://a.example/hooks", EndpointUrl.parse("https://a.example/hooks")),
        ("http://b.example:81/", EndpointUrl.parse("http://b.example:81/")),
        ('"https://c.example/?key=1"', EndpointUrl.parse("https://c.example/?key=1")),
    ),
    "webhook-secret": (
        ("the-first-of-three-secrets", ("the-first-of-three-secrets",)),
        ("the-second-of-three-secrets", ("the-second-of-three-secrets",)),
        (
            '["the-new-one-of-two", "the-old-one-of-two"]',
            ("the-new-one-of-two", "the-old-one-of-two"),
        ),
    ),
    "agent-uploads": (("off", False), ("no", False), ("false", False)),
    "keep-recordings": (("7d", 604_800.0), ("off", None), ('"12h"', 43_200.0)),
    "keep-spans": (("7d", 604_800.0), ("off", None), ('"12h"', 43_200.0)),
    "otlp-forward": (
        ("http://a.example:4318", EndpointUrl.parse("http://a.example:4318")),
        ("https://b.example/otlp", EndpointUrl.parse("https://b.example/otlp")),
        ('"http://c.example:4318"', EndpointUrl.parse("http://c.example:4318")),
    ),
    "max-recordings": (("1", 1), ("20", 20), ("30", 30)),
    "recording-webhook-url": (
        (
            "https://a.example/livekit/webhook",
            EndpointUrl.parse("https://a.example/livekit/webhook"),
        ),
        ("http://b.example:81/", EndpointUrl.parse("http://b.example:81/")),
        ('"https://c.example/"', EndpointUrl.parse("https://c.example/")),
    ),
    "status-every": (("1", 1.0), ("1m", 60.0), ("2.5", 2.5)),
    "report-every": (("500ms", 0.5), ("1m30s", 90.0), ('"1h"', 3600.0)),
    "quality-threshold": (("0.3", 0.3), ("1", 1.0), ("0.25", 0.25)),
    "inactivity-timeout": (("10m", 600.0), ("30", 30.0), ('"1h"', 3600.0)),
    "speech-engine": (
        ("espeak-ng", "espeak-ng"),
        ("hibari", "hibari"),
        ('"espeak-ng"', "espeak-ng"),
    ),
    "speech-voice": (("en-us", "en-us"), ("de+f3", "de+f3"), ('"mb-en1"', "mb-en1")),
    "announcer-name": (("Reception", "Reception"), ("The host", "The host"), ('"K 9"', "K 9")),
    "speak-people-text": (("true", True), ("1", True), ("true", True)),
    "notify-people": (("true", True), ("1", True), ("true", True)),
    "media-commands": (("host,h-*", ("host", "h-*")), ("a", ("a",)), ('["a", "b"]', ("a", "b"))),
    "media-folder": (("/a", "/a"), ("/b c", "/b c"), ('"/d"', "/d")),
    "stop-timeout": (("1s", 1.0), ("2", 2.0), ("3", 3.0)),
    "visible": (("true", True), ("1", True), ("true", True)),
    "log-format": (("json", "json"), ("json", "json"), ('"json"', "json")),
    "log-level": (("debug", "debug"), ("error", "error"), ('"warning"', "warning")),
    "log-payloads": (("on", True), ("yes", True), ("true", True)),
    "sdk-demux": (("off", False), ("no", False), ("false", False)),
    "sdk-native-logs": (("on", True), ("yes", True), ("true", True)),
    "sdk-gather-once": (("off", False), ("no", False), ("false", False)),
    "sdk-dual-connection": (("off", False), ("no", False), ("false", False)),
    "sdk-pause-microphones": (("off", False), ("no", False), ("false", False)),
    "sdk-renew-paused": (("off", False), ("no", False), ("false", False)),
    "sdk-tracks": (("20", 20), ("1", 1), ("30", 30)),
}


def config_file(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def value_of(settings: Settings, name: str) -> Any:
    return getattr(settings, BY_NAME[name].field)


def test_the_examples_cover_the_table() -> None:
    assert set(EXAMPLES) == {row.name for row in TABLE}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("underscores", [False, True])
def test_a_flag_wins_over_its_variable_and_that_over_the_file(
    name: str, underscores: bool, tmp_path: Path
) -> None:
    (flag, by_flag), (variable, by_variable), (toml, by_file) = EXAMPLES[name]
    needed = {key: value for key, value in KEYS.items() if key != name}
    key = name.replace("-", "_") if underscores else name
    with_file = {**needed, "config": config_file(tmp_path, f"{key} = {toml}")}
    env = {BY_NAME[name].env: variable}
    assert value_of(load(with_file, {}), name) == by_file
    assert value_of(load(with_file, env), name) == by_variable
    assert value_of(load({**with_file, name: flag}, env), name) == by_flag
    assert name in load({**with_file, name: flag}, env).given


def test_without_anything_given_the_defaults_hold() -> None:
    settings = load({}, {**VARIABLES, "HOME": "/home/alice", "XDG_DATA_HOME": "/data"})
    expected = Settings(
        url="ws://localhost:7880",
        api_key="devkey",
        api_secret="a-long-secret-word",
        agent_name="simple-room-agent",
        watch=("*",),
        job_types=("room",),
        max_rooms=settings.max_rooms,
        reserve=0,
        data_dir=Path("/data/room-actors"),
        worker_name=None,
        person_key=None,
        keep=90 * 86_400,
        keep_events=14 * 86_400,
        keep_size=10**10,
        keep_transcripts=None,
        keep_tool_payloads=None,
        agent_uploads=True,
        keep_recordings=None,
        keep_spans=None,
        otlp_forward=None,
        mask_text=(),
        database_url=None,
        events="shared",
        http=HttpAddress("127.0.0.1", 8088),
        http_token=None,
        http_host=(),
        http_root="",
        trusted_proxies=(),
        webhook_url=None,
        webhook_secret=(),
        max_recordings=10,
        recording_webhook_url=None,
        status_every=30,
        report_every=60,
        quality_threshold=0.5,
        inactivity_timeout=300,
        measure_tracks="off",
        measure_budget=20,
        notify_people=False,
        speech_engine=None,
        speech_voice="",
        announcer_name="Announcement",
        speak_people_text=False,
        media_commands=(),
        media_folder="",
        stop_timeout=10,
        visible=False,
        log_format="text",
        log_level="info",
        log_payloads=False,
        sdk_demux=True,
        sdk_native_logs=False,
        sdk_gather_once=True,
        sdk_dual_connection=True,
        sdk_pause_microphones=True,
        sdk_renew_paused=True,
        sdk_tracks=1000,
        given=frozenset(KEYS),
    )
    assert settings == expected


@pytest.mark.parametrize("data_home", [None, "", "relative/path"])
def test_without_a_usable_data_home_the_home_is_taken(data_home: str | None) -> None:
    env = {} if data_home is None else {"XDG_DATA_HOME": data_home}
    assert load(KEYS, env).data_dir == Path("~/.local/share/room-actors").expanduser()


@pytest.mark.parametrize("row", [r for r in TABLE if not r.empty_env_counts], ids=lambda r: r.name)
def test_an_empty_variable_counts_as_not_set(row: Any) -> None:
    keys = {name: value for name, value in KEYS.items() if name != row.name}
    read = read_settings(keys, {row.env: ""})
    assert read.origins[row.name] == "default"
    assert (row.name in read.problems) == row.required


# ---------------------------------------------------------------- what is wrong

WRONG: list[tuple[str, str, str]] = [
    ("url", "localhost:7880", "you may mean ws://localhost:7880"),
    ("url", "ftp://localhost", "must begin with ws://"),
    ("url", "ws://", "no host"),
    ("url", "ws://host:port", "not a URL"),
    ("url", "ws://host:99999", "not a URL"),
    ("url", "ws://host:0", "port must not be 0"),
    ("url", "ws://ho st", "blanks"),
    ("url", "ws://host?room=a", "query"),
    ("url", "ws://a..-:1", "malformed"),
    ("url", "nonsense", "ws://HOST"),
    ("agent-name", "a" * 257, "256"),
    ("agent-name", "a\nb", "characters that print"),
    ("watch", "a\x1b*", "control character"),
    ("max-rooms", "0", "out of range; give 1 to 5000"),
    ("reserve", "-1", "out of range; give 0 to 5000"),
    ("reserve", "5000", "leave none for other rooms"),
    ("reserve", "some", "not a whole number"),
    ("max-rooms", "-3", "out of range"),
    ("max-rooms", "5001", "out of range"),
    ("max-rooms", "many", "not a whole number"),
    ("max-rooms", "1.5", "not a whole number"),
    ("max-rooms", "9" * 5000, "out of range"),
    ("data-dir", "a\0b", "not a directory"),
    ("data-dir", "~nobody-of-that-name/x", "home"),
    ("person-key", "user_id", "is no key; give attributes.NAME or metadata.NAME"),
    ("person-key", "metadata.", "is no key"),
    ("worker-name", "a b", "not a worker's name; give at most 64"),
    ("worker-name", "a" * 65, "not a worker's name"),
    ("keep", "10m", "out of range; give 1h to 36600d, as 12h or 30d"),
    ("keep-events", "ever", "not a duration"),
    ("keep-size", "10 potatoes", "not a size; give 1MB or more, as 500MB or 10GB"),
    ("keep-size", "1kb", "out of range"),
    ("keep-transcripts", "10m", "out of range; give 1h to 36600d, as 12h or 30d, or off"),
    ("keep-tool-payloads", "yes", "not a duration"),
    ("mask-text", "cards", "'cards' is not known; give some of card,phone,email"),
    ("keep-size", "true", "not a size"),
    ("keep-size", "9" * 5000, "not a size"),
    ("database-url", "mysql://host/db", "postgresql://"),
    ("database-url", "postgresql://[::1/db", "postgresql://"),
    ("database-url", "postgresql://ada:hunter2/w@host/db", "/ as %2F"),
    ("database-url", "postgresql://ada:12/hunter2@host/db", "/ as %2F"),
    ("database-url", "postgresql://ada:12#hunter2@host/db", "# as %23"),
    ("database-url", "postgresql://ada:12?hunter2@host/db", "? as %3F"),
    ("events", "elsewhere", "give shared or local"),
    ("http", "8088", "HOST:PORT"),
    ("http", "127.0.0.1:70000", "HOST:PORT"),
    ("http", "on", "or off"),
    ("http-host", "https://rooms.example.org", "without scheme, port or path"),
    ("http-host", "rooms.example.org:443", "without scheme, port or path"),
    ("http-root", "rooms", "begins with a slash"),
    ("http-root", "/a//b", "begins with a slash"),
    ("http-root", "/a/../b", "begins with a slash"),
    ("http-root", '/"><script>', "begins with a slash"),
    ("http-root", "/api", "like a path of our own"),
    ("http-root", "/sessions/all", "like a path of our own"),
    ("trusted-proxies", "proxy.example.org", "as 127.0.0.1,10.0.0.0/8"),
    ("trusted-proxies", "10.0.0.0/33", "as 127.0.0.1,10.0.0.0/8"),
    ("status-every", "soon", "not a duration"),
    ("status-every", "0", "out of range"),
    ("status-every", "nan", "not a duration"),
    ("status-every", "inf", "not a duration"),
    ("status-every", "1m1", "not a duration"),
    ("report-every", "25h", "out of range"),
    ("stop-timeout", "2h", "out of range; give 100ms to 1h"),
    ("visible", "perhaps", "neither on nor off"),
    ("log-format", "jsn", "did you mean json?"),
    ("log-payloads", "2", "neither on nor off"),
]


@pytest.mark.parametrize("name, given, message", WRONG)
@pytest.mark.parametrize("source", [FLAG, VARIABLE])
def test_a_wrong_value_is_named_with_the_way_to_set_it_right(
    name: str, given: str, message: str, source: str
) -> None:
    row = BY_NAME[name]
    flags = {**KEYS, **({name: given} if source == FLAG else {})}
    env = {row.env: given} if source == VARIABLE else {}
    with pytest.raises(SettingsError) as caught:
        load(flags, env)
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"{row.flag if source == FLAG else row.env}: ")
    assert row.flag in text
    assert row.env in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("toml", ["max-rooms = 'x'", "max-rooms = true", "max-rooms = [1]"])
def test_a_wrong_value_in_the_file_names_the_file(toml: str, tmp_path: Path) -> None:
    path = config_file(tmp_path, toml)
    with pytest.raises(SettingsError, match="not a whole number") as caught:
        load({**KEYS, "config": path}, {})
    assert f"max-rooms in {path}" in str(caught.value)


@pytest.mark.parametrize(
    "toml, message",
    [
        ("max-room = 3", "unknown key 'max-room'; did you mean max-rooms?"),
        ("[livekit]\nurl = 'ws://a'", "unknown key 'livekit'"),
        ("max-rooms = 3\nmax_rooms = 4", "twice"),
        ("max-rooms =", "is not TOML"),
        ("watch = 3", "not a list"),
        ("api-key = 3", "not text"),
        ("http = true", "not text"),
        ("status-every = false", "not a duration"),
    ],
)
def test_a_wrong_file_is_refused(toml: str, message: str, tmp_path: Path) -> None:
    path = config_file(tmp_path, toml)
    keys = {name: value for name, value in KEYS.items() if name not in toml}
    with pytest.raises(SettingsError) as caught:
        load({**keys, "config": path}, {})
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load({**KEYS, "config": tmp_path / "none.toml"}, {})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load({**KEYS, "config": tmp_path}, {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load({**KEYS, "config": tmp_path / "binary"}, {})


def test_missing_key_and_secret_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {})
    for word in ("--api-key", "--api-secret", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        assert word in str(caught.value)
    with pytest.raises(SettingsError, match="--api-secret is missing") as caught:
        load({"api-key": "k"}, {})
    assert "--api-key" not in str(caught.value)
    with pytest.raises(SettingsError, match="--api-key is missing"):
        load({"api-key": "", "api-secret": "s"}, {})


def test_an_unknown_variable_of_ours_is_refused_but_not_those_of_others() -> None:
    with pytest.raises(SettingsError, match=r"ROOM_ACTORS_MAX_ROOM is .* ROOM_ACTORS_MAX_ROOMS"):
        load(KEYS, {"ROOM_ACTORS_MAX_ROOM": "3"})
    kubernetes = {
        "ROOM_ACTORS_SERVICE_HOST": "10.0.0.1",
        "ROOM_ACTORS_SERVICE_PORT_HTTP": "80",
        "ROOM_ACTORS_PORT": "tcp://10.0.0.1:80",
        "ROOM_ACTORS_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    load(KEYS, {**kubernetes, "ROOM_ACTORS_LIVEKIT_SERVER": "/bin/x", "LIVEKIT_REGION": "eu"})


@pytest.mark.parametrize(
    "address, needs", [("0.0.0.0:1", True), ("[::]:1", True), ("a.example:1", True)]
    + [(f"{host}:1", False) for host in ("127.0.0.1", "127.1.2.3", "localhost", "[::1]")],
)  # fmt: skip
def test_http_for_other_machines_needs_a_token(address: str, needs: bool) -> None:
    if needs:
        with pytest.raises(SettingsError, match="needs a token; set it by --http-token TOKEN or"):
            load({**KEYS, "http": address}, {})
    assert load({**KEYS, "http": address, "http-token": "t" * 20}, {}).http is not None
    if not needs:
        assert load({**KEYS, "http": address}, {}).http is not None


def test_an_empty_agent_name_is_taken_on_purpose_only_and_warned_of() -> None:
    unnamed = load({"agent-name": ""}, VARIABLES)
    assert unnamed.agent_name == ""
    assert [notice.event for notice in unnamed.notices] == ["unnamed_worker"]
    assert load(KEYS, {"ROOM_ACTORS_AGENT_NAME": ""}).agent_name == "simple-room-agent"


def test_rooms_are_bounded_by_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(soft: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, 4096))

    limit(1024)
    fits = rooms_for_descriptors(1024)
    assert fits == 80
    assert load(KEYS, {}).max_rooms == fits
    assert load({"max-rooms": "10"}, VARIABLES).notices == ()
    lowered = load({"max-rooms": "400"}, VARIABLES)
    assert lowered.max_rooms == fits
    assert [notice.event for notice in lowered.notices] == ["max_rooms_lowered"]
    assert lowered.notices[0].fields["asked"] == 400
    for plenty in (65536, resource.RLIM_INFINITY):
        limit(plenty)
        assert load(KEYS, {}).max_rooms == 500
    limit(64)
    assert load(KEYS, {}).max_rooms == 1


# ---------------------------------------------------------------- secrets

SECRETS = {
    "api-secret": "first hunter2",
    "http-token": "hunter2\x07",
    "database-url": "mysql://alice:hunter2@host/db",
    "url": "ws://alice:hunter2@host",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_wrong_secret_is_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**KEYS, name: SECRETS[name]}, {})
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_in_a_repr() -> None:
    settings = load(
        {**KEYS, "http-token": "t0ken-word", "database-url": "postgresql://a:p4ss@h/d"}, {}
    )
    assert settings.secrets == ("a-long-secret-word", "t0ken-word", "p4ss")
    shown = repr(settings) + repr(read_settings(KEYS, {})) + repr(evolve(settings, visible=True))
    assert not [word for word in settings.secrets if word in shown]


@pytest.mark.parametrize("limit", [76, 256, 1024, 4096, 65536])
def test_rooms_and_http_clients_together_fit_under_the_open_file_limit(limit: int):
    for rooms in (1, rooms_for_descriptors(limit)):
        clients = clients_for_descriptors(limit, rooms)
        assert clients >= CLIENTS_AT_LEAST
        # Whatever is neither: 25 before the first room, and reads of the store.
        assert descriptors_for_rooms(rooms) - CLIENTS_AT_LEAST + clients <= limit
