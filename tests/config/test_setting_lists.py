"""Settings that are lists of tables: read, typed, and refused with one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import field, frozen

from bridge.config import values
from bridge.config.setting_lists import LISTS, ListKey, SettingList, register_list
from bridge.config.settings import Settings, SettingsError, load

KEYS = {"api-key": "key", "api-secret": "a-secret-of-the-flags"}
SECRET = "whsec_abcdefghijkl"


@frozen
class Hook:
    name: str
    url: str | None
    secret: tuple[str, ...] = field(repr=False)
    every: float


def secrets(value: object) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    return tuple(map(values.secret, several))


HOOKS = SettingList(
    "hook",
    Hook,
    (
        ListKey("name", values.text, required=True),
        ListKey("url", values.text),
        ListKey("secret", secrets, required=True, hidden=True),
        ListKey("every", values.duration(1.0, 3600.0), default=30.0),
    ),
    unique="name",
)

Read = Callable[[str], Settings]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Settings of a TOML file, where `[[hook]]` is registered."""
    monkeypatch.setitem(LISTS, "hook", HOOKS)
    path = tmp_path / "settings.toml"

    def read_toml(text: str) -> Settings:
        path.write_text(text)
        path.chmod(0o600)
        return load({**KEYS, "config": str(path)}, {})

    return read_toml


def refused(read: Read, text: str) -> str:
    """The error, which is one line and has no secret."""
    with pytest.raises(SettingsError) as raised:
        read(text)
    error = str(raised.value)
    assert "\n" not in error
    assert SECRET not in error
    return error.partition("settings.toml")[2]


def test_tables_become_typed_values_in_the_order_of_the_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file-of-its-own\n")
    settings = read(f"""
max_rooms = 7
[[hook]]
name = "crm"
url = "https://crm.example.org"
secret = ["{SECRET}", "the-old-secret"]
every = "1m"
[[hook]]
name = "other"
secret-file = "{tmp_path / "secret"}"
""")
    assert settings.max_rooms == 7
    assert settings.tables(HOOKS) == (
        Hook("crm", "https://crm.example.org", (SECRET, "the-old-secret"), 60.0),
        Hook("other", None, ("from-a-file-of-its-own",), 30.0),
    )


def test_no_table_is_an_empty_list(read: Read) -> None:
    assert read("").tables(HOOKS) == ()
    assert load(KEYS, {}).tables(HOOKS) == ()


def test_secrets_of_tables_are_taken_out_of_the_log_and_out_of_every_repr(read: Read) -> None:
    settings = read(f'[[hook]]\nname = "crm"\nsecret = ["{SECRET}", "the-old-secret"]\n')
    assert {SECRET, "the-old-secret"} <= set(settings.secrets)
    assert SECRET not in repr(settings)


HEAD = '[[hook]]\nname = "crm"\n'
GOOD = f'{HEAD}secret = "{SECRET}"\n'


@pytest.mark.parametrize(
    "text, error",
    [
        (f"#\n{GOOD}evry = 5\n", ": [[hook]] 1, line 5: 'evry' is not known; did you mean every?"),
        (
            f"{GOOD}zzzzzz = 5\n",
            ": [[hook]] 1, line 4: 'zzzzzz' is not known; known are name, url, secret, every, sec",
        ),
        (
            f'{GOOD}{HEAD}every = "2h"\nsecret = "x"\n',
            ": [[hook]] 2, line 6: 'every' '2h' is out of range; give 1s to 1h, as 30, 30s or 1m",
        ),
        (f"{GOOD}every = 0\n", ": [[hook]] 1, line 4: 'every' '0' is out of range; give 1s to 1h"),
        (HEAD, ": [[hook]] 1, line 1: 'secret' or 'secret-file' is missing"),
        (f'[[hook]]\nsecret = "{SECRET}"', ": [[hook]] 1, line 1: 'name' is missing"),
        (
            f'{HEAD}secret = "{SECRET} {SECRET}"\n',
            ": [[hook]] 1, line 3: 'secret' has a blank or a control character in it",
        ),
        (f'{HEAD}secret = [["{SECRET}"]]\n', ": [[hook]] 1, line 3: 'secret' is not text"),
        (
            f'{GOOD}secret-file = "/nowhere"\n',
            ": [[hook]] 1, line 4: 'secret-file' 'secret' is there too: keep one of them",
        ),
        (
            f'{HEAD}secret_file = "/nowhere/secret"\n',
            ": [[hook]] 1, line 3: 'secret-file' /nowhere/secret cannot be read: No such file",
        ),
        (
            f"{HEAD}secret_file = 5\n",
            ": [[hook]] 1, line 3: 'secret-file' is not the path of a file; put it in quotes",
        ),
        (
            f"{GOOD}\n{GOOD}",
            ": [[hook]] 2, line 6: 'name' is that of [[hook]] 1 already",
        ),
        (f'[hook]\nsecret = "{SECRET}"\n', ": 'hook' is a list of tables; write [[hook]]"),
        ("hook = 5\n", ": 'hook' is a list of tables; write [[hook]]"),
        (f"{GOOD}every = {2**63}\n", ": 'hook' has a whole number of more than 64 bits"),
        (
            f'hook = [{{ name = "a", secret = "{SECRET}", every = 0 }}]\n',
            ": [[hook]] 1: 'every' '0' is out of range",
        ),
        (f"{GOOD}[[hok]]\n", " has the unknown key 'hok', written [[hok]]; the tables"),
        (
            f'[[hok]]\nsecret = "{SECRET}"\n',
            " has the unknown key 'hok', written [[hok]]; the tables of this version are",
        ),
        (f'[section]\nsecret = "{SECRET}"\n', " has the unknown key 'section', written [section]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_table_line_and_key(
    read: Read, text: str, error: str
) -> None:
    assert refused(read, text).startswith(error)


def test_hostile_keys_and_names_are_shown_as_text(read: Read) -> None:
    assert r"'\x1b[2J' is not known" in refused(read, GOOD + '"\\u001b[2J" = 5\n')
    assert r"[[\x1b[2J]]" in refused(read, '[["\\u001b[2J"]]\nname = 5\n')


@pytest.mark.parametrize("name", ["role", "quota"])
def test_a_list_that_nothing_uses_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[[{name}]]\nname = "crm"\nsecret = "{SECRET}"\n')
    with pytest.raises(SettingsError) as raised:
        load({**KEYS, "config": str(path)}, {})
    assert f"has the unknown key '{name}', written [[{name}]]; the tables of this version" in str(
        raised.value
    )
    assert SECRET not in str(raised.value)


def test_a_file_with_a_secret_in_a_table_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(GOOD)
    path.chmod(0o644)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LISTS, "hook", HOOKS)
        notices = load({**KEYS, "config": str(path)}, {}).notices
    settings = [one.fields["setting"] for one in notices if one.event == "secret_file_readable"]
    assert settings == ["hook secret"]


def test_a_list_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LISTS, "hook", HOOKS)
    register_list(HOOKS)
    with pytest.raises(AssertionError, match="registered twice"):
        register_list(SettingList("hook", Hook, HOOKS.keys))


def test_a_class_that_would_show_a_secret_is_refused() -> None:
    @frozen
    class Leaky:
        secret: str

    with pytest.raises(AssertionError):
        SettingList("leaky", Leaky, (ListKey("secret", values.secret, hidden=True),))
