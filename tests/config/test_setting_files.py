"""Files that settings come from: of one secret, LiveKit's key file, `.env`; and their bounds."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bridge.config import setting_files
from bridge.config.settings import (
    KEY_FILE,
    TABLE,
    Setting,
    Settings,
    SettingsError,
    load,
    read_settings,
)

KEYS = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "a-long-secret-word"}
BY_FILE = [row for row in TABLE if row.in_file]


def put(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def events(settings: Settings) -> list[tuple[str, str]]:
    return [(notice.event, notice.setting) for notice in settings.notices]


def refused(env: dict[str, str], **flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load({name.replace("_", "-"): value for name, value in flags.items()}, env)
    text = str(caught.value)
    assert text.isprintable()
    assert "hunter2" not in text
    return text


# ---------------------------------------------------------------- a secret in a file


def test_every_secret_may_be_in_a_file_of_its_own() -> None:
    assert [row.env_file for row in BY_FILE] == [
        "LIVEKIT_API_KEY_FILE",
        "LIVEKIT_API_SECRET_FILE",
        "ROOM_ACTORS_DATABASE_URL_FILE",
        "ROOM_ACTORS_HTTP_TOKEN_FILE",
        "ROOM_ACTORS_WEBHOOK_URL_FILE",
        "ROOM_ACTORS_WEBHOOK_SECRET_FILE",
    ]
    assert {row.name for row in TABLE if row.hidden} < {row.name for row in BY_FILE}


@pytest.mark.parametrize("row", BY_FILE, ids=lambda row: row.name)
@pytest.mark.parametrize("by", ["variable", "toml"])
def test_a_file_of_a_secret_is_read_without_its_line_end(
    row: Setting, by: str, tmp_path: Path
) -> None:
    value = {
        "database-url": "postgresql://a:hunter2@h/d",
        "webhook-url": "https://crm.example/hunter2",
    }.get(row.name, "hunter2-hunter2-hunter2")
    path = put(tmp_path / "secret", f"{value}\n")
    env = {name: text for name, text in KEYS.items() if name != row.env}
    if by == "variable":
        settings = load({}, {**env, row.env_file: path})
    else:
        config = put(tmp_path / "ours.toml", f'{row.name}-file = "{path}"\n')
        settings = load({"config": config}, env)
    assert getattr(settings, row.field) == row.parse(value)
    assert row.name in settings.given
    # A flag still wins.
    given = load({row.name: value.replace("2", "3")}, {**env, row.env_file: path})
    assert getattr(given, row.field) == row.parse(value.replace("2", "3"))


@pytest.mark.parametrize("table", [False, True])
def test_a_url_of_webhooks_with_a_password_is_refused_without_being_shown(
    table: bool, tmp_path: Path
) -> None:
    url = "https://crm:hunter2@example.org/hooks"
    if table:
        text = f'[[webhook]]\nname = "crm"\nurl = "{url}"\n'
        why = refused(KEYS, config=put(tmp_path / "ours.toml", text))
    else:
        why = refused({**KEYS, "ROOM_ACTORS_WEBHOOK_URL": url})
    assert "must not hold a user or a password" in why
    assert "hunter2" not in why


def test_what_a_secrets_file_can_be_wrong_in(tmp_path: Path) -> None:
    env = {"LIVEKIT_API_KEY": "devkey"}
    name = "LIVEKIT_API_SECRET_FILE"
    assert "none cannot be read: No such file" in refused({**env, name: str(tmp_path / "none")})
    assert "cannot be read: Is a directory" in refused({**env, name: str(tmp_path)})
    assert "is empty" in refused({**env, name: put(tmp_path / "empty", "\n")})
    two = refused({**env, name: put(tmp_path / "two", "hunter2\nhunter2\n")})
    assert two.startswith(f"{name}: has a blank or a control character")
    both = refused({**KEYS, name: put(tmp_path / "one", "hunter2")})
    assert both.startswith(f"{name}: LIVEKIT_API_SECRET is set too: keep one of them")
    config = put(tmp_path / "both.toml", "api-secret = 'hunter2'\napi-secret-file = 'x'\n")
    assert "has both 'api-secret' and 'api-secret-file'" in refused(env, config=config)
    # An empty one is not set, as with every variable.
    assert load({}, {**KEYS, name: ""}).api_secret == KEYS["LIVEKIT_API_SECRET"]


def test_what_never_ends_or_never_begins_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting_files, "PATIENCE", 0.05)
    env = {"LIVEKIT_API_KEY": "devkey"}
    name = "LIVEKIT_API_SECRET_FILE"
    reads: list[int] = []
    real = os.read

    def count(file: int, most: int) -> bytes:
        piece = real(file, most)
        reads.append(len(piece))
        return piece

    monkeypatch.setattr(os, "read", count)
    assert "/dev/zero is too large: at most 1024 KiB" in refused({**env, name: "/dev/zero"})
    assert sum(reads) == setting_files.MOST + 1
    assert "/dev/zero is too large" in refused(env, config="/dev/zero")
    assert "/dev/zero is too large" in refused(env, env_file="/dev/zero")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "nothing came within" in refused({**env, name: str(fifo)})
    writer = os.open(fifo, os.O_RDWR)
    assert "nothing came within" in refused({**env, name: str(fifo)})
    os.write(writer, b"first")
    assert "nothing came within" in refused({**env, name: str(fifo)})
    os.close(writer)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert "cannot be read" in refused({**env, name: str(tmp_path / "s")})


def test_a_pipe_with_a_writer_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a-secret-from-a-pipe\n")
    os.close(writer)
    env = {"LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET_FILE": f"/dev/fd/{reader}"}
    assert load({}, env).api_secret == "a-secret-from-a-pipe"
    os.close(reader)


# ---------------------------------------------------------------- LiveKit's key file


def test_key_and_secret_come_from_livekits_own_key_file(tmp_path: Path) -> None:
    one = put(tmp_path / "one", "# made by us\ndevkey: 'a:secret'\n")
    settings = load({}, {KEY_FILE: one})
    assert (settings.api_key, settings.api_secret) == ("devkey", "a:secret")


def test_of_several_keys_one_is_named(tmp_path: Path) -> None:
    two = put(tmp_path / "two", "---\nfirst: one-secret\nsecond:   two-secret\n\n")
    env = {KEY_FILE: two}
    assert "has 2 keys; name the one to use (set by --api-key KEY or" in refused(env)
    assert load({"api-key": "second"}, env).api_secret == "two-secret"
    assert load({}, {**env, "LIVEKIT_API_KEY": "first"}).api_secret == "one-secret"
    assert "no secret of the API key" in refused({**env, "LIVEKIT_API_KEY": "third"})
    # What is set directly wins.
    assert load({}, {**env, **KEYS}).api_secret == KEYS["LIVEKIT_API_SECRET"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no 'key: secret'"),
        ("devkey hunter2", "line 1: give"),
        ("a: b\nc:hunter2", "line 2"),
        ("devkey:\n", "line 1: give"),
        (": hunter2\n", "line 1: give"),
        ("k: 'hunter2", "line 1"),
    ],
)
def test_what_is_no_key_file_is_told_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    line = refused({KEY_FILE: put(tmp_path / "keys", text)})
    assert line.startswith(f"{KEY_FILE}: ")
    assert message in line


# ---------------------------------------------------------------- .env files

ENV_FILE = """
# of the whole stack
POSTGRES_PASSWORD=x
export LIVEKIT_API_KEY=devkey   # ours
LIVEKIT_API_SECRET="a-\\$ecret\\"word"
ROOM_ACTORS_WATCH='team-*, #1'
ROOM_ACTORS_MAX_ROOMS = 7
ROOM_ACTORS_HTTP_TOKEN=a#b-is-no-comment-here
ROOM_ACTORS_AGENT_NAME=
"""


def test_an_env_file_is_below_the_environment_and_above_the_config(tmp_path: Path) -> None:
    flags = {
        "env-file": put(tmp_path / ".env", ENV_FILE),
        "config": put(tmp_path / "c.toml", "max-rooms = 9\nstatus-every = 5\n"),
    }
    settings = load(flags, {})
    assert (settings.api_key, settings.api_secret) == ("devkey", 'a-$ecret"word')
    assert settings.watch == ("team-*", "#1")
    assert settings.http_token == "a#b-is-no-comment-here"
    assert settings.agent_name == "simple-room-agent"
    assert (settings.max_rooms, settings.status_every) == (7, 5.0)
    assert load(flags, {"ROOM_ACTORS_MAX_ROOMS": "8", "LIVEKIT_API_KEY": ""}).max_rooms == 8
    assert load(flags, {"ROOM_ACTORS_WATCH": ""}).watch == ()
    assert load({**flags, "max-rooms": "6"}, {}).max_rooms == 6


def test_a_wrong_env_file_is_told_with_its_line(tmp_path: Path) -> None:
    def wrong(text: str) -> str:
        return refused(dict(KEYS), env_file=put(tmp_path / ".env", text))

    assert ".env, line 2: give NAME=value" in wrong("A=1\nhunter2\n")
    assert ".env, line 1: the quotes of A do not close" in wrong("A='hunter2\n")
    assert ".env, line 1: the quotes of A do not close" in wrong("A='hunter2' hunter2\n")
    unknown = wrong("ROOM_ACTORS_WACH=*\n")
    assert ".env: environment variable ROOM_ACTORS_WACH is no setting; did you mean" in unknown
    assert "ROOM_ACTORS_MAX_ROOMS in" in wrong("ROOM_ACTORS_MAX_ROOMS=many\n")
    assert "cannot be read" in refused(dict(KEYS), env_file=tmp_path / "none")


# ---------------------------------------------------------------- Kubernetes

LINKS = {
    "ROOM_ACTORS_METRICS_SERVICE_HOST": "10.0.0.1",
    "ROOM_ACTORS_METRICS_SERVICE_PORT": "8088",
    "ROOM_ACTORS_METRICS_SERVICE_PORT_HTTP": "8088",
    "ROOM_ACTORS_METRICS_PORT": "tcp://10.0.0.1:8088",
    "ROOM_ACTORS_METRICS_PORT_8088_TCP": "tcp://10.0.0.1:8088",
    "ROOM_ACTORS_METRICS_PORT_8088_TCP_PROTO": "tcp",
    "ROOM_ACTORS_METRICS_PORT_8088_TCP_PORT": "8088",
    "ROOM_ACTORS_METRICS_PORT_8088_TCP_ADDR": "10.0.0.1",
    "ROOM_ACTORS_HTTP_PORT": "udp://10.0.0.1:53",
    "ROOM_ACTORS_SERVICE_HOST": "10.0.0.1",
    "ROOM_ACTORS_PORT": "tcp://10.0.0.1:80",
}


@pytest.mark.parametrize("name", LINKS)
def test_what_kubernetes_adds_for_services_is_passed_over(name: str) -> None:
    assert load({}, {**KEYS, name: LINKS[name]}) == load({}, KEYS)


@pytest.mark.parametrize(
    "name", ["ROOM_ACTORS_HTTP_PORT", "ROOM_ACTORS_PORT", "ROOM_ACTORS_METRICS_HOST"]
)
def test_what_only_looks_like_it_is_still_an_error(name: str) -> None:
    assert f"{name} is no setting" in refused({**KEYS, name: "8088"})


# ---------------------------------------------------------------- what others can read

TOKEN = "a-long-token-that-nobody-guesses"


def test_a_secret_on_the_command_line_is_warned_of() -> None:
    flags = {"api-secret": "a-long-secret-word", "http-token": TOKEN}
    settings = load(flags, {"LIVEKIT_API_KEY": "devkey"})
    assert events(settings) == [
        ("secret_on_command_line", "api-secret"),
        ("secret_on_command_line", "http-token"),
    ]
    assert settings.notices[1].fields == {
        "flag": "--http-token",
        "variable": "ROOM_ACTORS_HTTP_TOKEN",
        "file_variable": "ROOM_ACTORS_HTTP_TOKEN_FILE",
    }
    assert events(load({}, {**KEYS, "ROOM_ACTORS_HTTP_TOKEN": TOKEN})) == []


def test_a_token_that_can_be_guessed_is_warned_of() -> None:
    short = load({}, {**KEYS, "ROOM_ACTORS_HTTP_TOKEN": "t" * 15})
    assert events(short) == [("http_token_short", "http-token")]
    assert events(load({}, {**KEYS, "ROOM_ACTORS_HTTP_TOKEN": "t" * 16})) == []


@pytest.mark.parametrize("flag", ["config", "env-file"])
def test_a_file_with_a_secret_that_everybody_can_read_is_warned_of(
    flag: str, tmp_path: Path
) -> None:
    secret, other = {
        "config": ("api-secret = 'a-long-secret-word'\n", "watch = ['*']\n"),
        "env-file": ("LIVEKIT_API_SECRET=a-long-secret-word\n", "ROOM_ACTORS_WATCH=*\n"),
    }[flag]
    path = tmp_path / "file"

    def warnings_for(text: str, mode: int) -> list[tuple[str, str]]:
        return events(load({flag: put(path, text, mode)}, {"LIVEKIT_API_KEY": "k", **extra}))

    extra: dict[str, str] = {}
    assert warnings_for(secret, 0o644) == [("secret_file_readable", "api-secret")]
    assert warnings_for(secret, 0o640) == []
    extra = {"LIVEKIT_API_SECRET": "another-secret-word"}
    assert warnings_for(other, 0o644) == []


def test_no_notice_has_a_secret_in_it(tmp_path: Path) -> None:
    config = put(tmp_path / "c.toml", "api-secret = 'hunter2'\n", 0o644)
    read = read_settings({"config": config, "http-token": "hunter2"}, {"LIVEKIT_API_KEY": "k"})
    assert len(read.notices) == 3
    assert "hunter2" not in repr(read)
