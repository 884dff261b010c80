"""Where settings come from: flags, environment variables, a `.env` file, a TOML file.

Nothing here judges a value.  It is only found, with the name of its origin, or refused because
nobody knows its name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from bridge.config import values
from bridge.config.setting_files import read_env_file, read_key_file, read_secret, read_text
from bridge.config.setting_lists import (
    LISTS,
    first_exposed,
    is_list,
    read_list,
    refuse_unknown_list,
)
from bridge.config.setting_table import BY_NAME, TABLE, Setting
from bridge.config.values import SettingsError
from bridge.output.harmless import harmless
from bridge.output.text import did_you_mean

KEY_FILE: Final = "LIVEKIT_KEY_FILE"
"""Names a file with `key: secret` lines, as livekit-server's `--key-file` takes."""


class BadSource(values.BadValue):
    """The place of a value cannot be used; `origin` names it."""

    def __init__(self, origin: str, text: str) -> None:
        super().__init__(text)
        self.origin = origin


@frozen
class ConfigFile:
    """The content of the file given with `--config`."""

    values: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    """By setting's name."""
    lists: Mapping[str, tuple[Any, ...]] = field(factory=dict[str, tuple[Any, ...]])
    """The tables of each registered list, by its name."""
    secret_in_table: str | None = None
    """The list and the key of a secret that stands in a table itself."""


@frozen
class VariableLayer:
    """One set of environment variables: the process's own, or those of `--env-file`."""

    variables: Mapping[str, str]
    where: str = ""
    """As ` in FILE`."""

    def has(self, name: str, *, empty_counts: bool = False) -> bool:
        return name in self.variables and (empty_counts or bool(self.variables[name].strip()))

    def origin(self, name: str) -> str:
        return f"{name}{self.where}"


@frozen
class GivenSettings:
    """All given settings, from every source."""

    flags: Mapping[str, object]
    layers: tuple[VariableLayer, ...]
    """The first layer that has a variable wins."""
    config: Path | None
    file: ConfigFile
    env_file: Path | None

    @classmethod
    def read(cls, flags: Mapping[str, object], env: Mapping[str, str]) -> GivenSettings:
        """Raises `SettingsError`."""
        _refuse_unknown_variables(env)
        layers = [VariableLayer(env)]
        env_file = _path(flags, "env-file")
        if env_file is not None:
            try:
                variables = read_env_file(env_file)
            except values.BadValue as error:
                raise SettingsError(f"--env-file: {error}") from None
            layers.append(VariableLayer(variables, f" in {harmless(str(env_file))}"))
            _refuse_unknown_variables(variables, f"--env-file: {harmless(str(env_file))}: ")
        config = _path(flags, "config")
        file = ConfigFile() if config is None else read_config(config)
        return cls(flags, tuple(layers), config, file, env_file)

    def raw(self, row: Setting, api_key: str | None) -> tuple[str, object]:
        """Where a value came from, and what it is there.  Raises `BadSource`.

        `api_key` is the one that is used, for the secret in a file of several.
        """
        if row.name in self.flags:
            return row.flag, self.flags[row.name]
        for layer in self.layers:
            has_value = layer.has(row.env, empty_counts=row.empty_env_counts)
            has_file = row.in_file and layer.has(row.env_file)
            if has_value and has_file:
                text = f"{row.env} is set too: keep one of them"
                raise BadSource(layer.origin(row.env_file), text)
            if has_value:
                return layer.origin(row.env), layer.variables[row.env]
            if has_file:
                origin = layer.origin(row.env_file)
                return origin, _secret_in(origin, layer.variables[row.env_file])
            if row.name in ("api-key", "api-secret") and layer.has(KEY_FILE):
                origin = layer.origin(KEY_FILE)
                return origin, _of_key_file(row, origin, layer.variables[KEY_FILE], api_key)
        config = harmless(str(self.config))
        if row.name in self.file.values:
            return f"{row.name} in {config}", self.file.values[row.name]
        by_file = f"{row.name}-file"
        if by_file in self.file.values:
            origin = f"{by_file} in {config}"
            return origin, _secret_in(origin, self.file.values[by_file])
        return "default", None


def _path(flags: Mapping[str, object], name: str) -> Path | None:
    return Path(str(flags[name])) if name in flags else None


def _secret_in(origin: str, path: object) -> str:
    try:
        if not isinstance(path, str):
            raise values.BadValue("is not the path of a file; put it in quotes")
        return read_secret(Path(path.strip()))
    except values.BadValue as error:
        raise BadSource(origin, str(error)) from None


def _of_key_file(row: Setting, origin: str, path: str, api_key: str | None) -> str:
    """The key, or the secret of `api_key`, in a file of `key: secret` lines."""
    try:
        pairs = read_key_file(Path(path.strip()))
    except values.BadValue as error:
        raise BadSource(origin, str(error)) from None
    if row.name == "api-key":
        if len(pairs) > 1:
            raise BadSource(origin, f"has {len(pairs)} keys; name the one to use")
        return next(iter(pairs))
    if api_key is None or api_key not in pairs:
        raise BadSource(origin, "has no secret of the API key that is used")
    return pairs[api_key]


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
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_has_huge_number, value))
    return isinstance(value, int) and value.bit_length() > 63


def read_config(path: Path) -> ConfigFile:
    """A TOML file of settings by name (`api-key` or `api_key`).  Raises `SettingsError`."""
    where = f"--config: {harmless(str(path))}"
    text, parsed = read_toml(path, "--config: ")
    require_known_keys(where, parsed)
    settings: dict[str, object] = {}
    for key, value in parsed.items():
        name = key.replace("_", "-")
        if name in settings:
            raise SettingsError(f"{where} has the key '{name}' twice")
        if _has_huge_number(value):
            raise SettingsError(f"{where}: '{name}' has a whole number of more than 64 bits")
        settings[name] = value
    for row in TABLE:
        if row.name in settings and f"{row.name}-file" in settings:
            raise SettingsError(f"{where} has both '{row.name}' and '{row.name}-file'")
    lists = {
        name: read_list(row, settings.pop(name), where, text)
        for name, row in LISTS.items()
        if name in settings
    }
    return ConfigFile(settings, lists, first_exposed(parsed))


def require_known_keys(where: str, parsed: Mapping[str, object]) -> None:
    """Raise `SettingsError` for a key of the file that is no setting and no list of settings."""
    known = [*BY_NAME, *(f"{row.name}-file" for row in TABLE if row.in_file)]
    for key, value in parsed.items():
        name = key.replace("_", "-")
        if name in known or name in LISTS:
            continue
        if is_list(value):
            refuse_unknown_list(where, key, value)
        raise SettingsError(
            f"{where} has the unknown key '{harmless(key, 80)}'{did_you_mean(name, known)}"
        )


def read_toml(path: Path, before: str = "") -> tuple[str, dict[str, Any]]:
    """The file as text and as TOML makes it.  An error begins with `before`; `SettingsError`."""
    try:
        text = read_text(path)
        return text, tomllib.loads(text)
    except values.BadValue as error:
        raise SettingsError(f"{before}{error}") from None
    except ValueError as error:
        # TOMLDecodeError says line and column, and quotes at most a key or a character.  A
        # number of thousands of digits is refused by Python itself.
        where = f"{before}{harmless(str(path))}"
        raise SettingsError(f"{where} is not TOML: {harmless(str(error))}") from None
    except RecursionError:
        where = f"{before}{harmless(str(path))}"
        raise SettingsError(f"{where} is not TOML: it is nested too deeply") from None
