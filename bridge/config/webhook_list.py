"""`[[webhook]]`: the endpoints that get webhooks of this program; `--webhook-url` is one more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from attrs import field, frozen

from actors.outlets.subscription import DEFAULT_EVENTS, unknown_events
from bridge.config import values
from bridge.config.setting_lists import ListKey, SettingList, register_list
from bridge.config.values import BadValue
from bridge.outlets.endpoint_url import BadEndpoint, EndpointUrl
from bridge.outlets.formats import FORMATS, Format
from bridge.outlets.signing_keys import BadSecret, key_of

NAME_LENGTH: Final = 64
MOST_SECRETS: Final = 5


@frozen
class WebhookSettings:
    """One endpoint."""

    name: str
    url: EndpointUrl
    secret: tuple[str, ...] = field(repr=False)
    """The newest first; empty: not signed."""
    events: tuple[str, ...]
    rooms: tuple[str, ...]
    format: Format


def endpoint_url(value: object) -> EndpointUrl:
    if not isinstance(value, str):
        raise BadValue("is not a URL; put it in quotes")
    try:
        return EndpointUrl.parse(value)
    except BadEndpoint as error:
        # The URL itself is not shown: its path or query may be a secret.
        raise BadValue(f"is refused: {error}") from None


def signing_secrets(value: object) -> tuple[str, ...]:
    """A secret or a list of them, each as in a file that holds it."""
    given: list[object] = value if isinstance(value, list) else [value]
    if not 1 <= len(given) <= MOST_SECRETS:
        raise BadValue(f"is a secret, or a list of 1 to {MOST_SECRETS}")
    secrets = tuple(map(values.secret, given))
    for one in secrets:
        try:
            key_of(one)
        except BadSecret as error:
            raise BadValue(f"cannot sign: {error}") from None
    return secrets


def _name(value: object) -> str:
    name = values.text(value)
    if not 0 < len(name) <= NAME_LENGTH or not all(one.isalnum() or one in "-_." for one in name):
        raise BadValue(f"is 1 to {NAME_LENGTH} letters, digits, '-', '_' and '.'")
    return name


def _patterns(value: object) -> tuple[str, ...]:
    given: list[object] = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, str) and one for one in given):
        raise BadValue('is a list of names with * and ?, like ["team-*"]')
    return tuple(map(str, given))


def _events(value: object) -> tuple[str, ...]:
    patterns = _patterns(value)
    unknown = unknown_events(patterns)
    if unknown:
        raise BadValue(
            f"has {values.shown(unknown[0])}, which no event is called; see docs/contract.md"
        )
    return patterns


def _format() -> Callable[[object], Format]:
    read = values.choice(*FORMATS)

    def parse(value: object) -> Format:
        word = read(value)
        return next(one for one in FORMATS if one == word)

    return parse


WEBHOOKS: Final = SettingList(
    "webhook",
    WebhookSettings,
    (
        ListKey("name", _name, required=True),
        ListKey("url", endpoint_url, required=True),
        ListKey("secret", signing_secrets, default=(), hidden=True),
        ListKey("events", _events, default=DEFAULT_EVENTS),
        ListKey("rooms", _patterns, default=("*",)),
        ListKey("format", _format(), default="standard"),
    ),
    unique="name",
)
register_list(WEBHOOKS)

FLAG_NAME: Final = "webhook"
"""The name of the endpoint that `--webhook-url` gives."""


class _HasWebhooks(Protocol):
    """The part of the settings that names endpoints."""

    @property
    def webhook_url(self) -> EndpointUrl | None: ...
    @property
    def webhook_secret(self) -> tuple[str, ...]: ...
    def tables(self, row: SettingList[WebhookSettings]) -> tuple[WebhookSettings, ...]: ...


def webhooks_of(settings: _HasWebhooks) -> tuple[WebhookSettings, ...]:
    """The endpoints of the file, and the one of `--webhook-url`."""
    tables = settings.tables(WEBHOOKS)
    if settings.webhook_url is None:
        return tables
    one = WebhookSettings(
        FLAG_NAME, settings.webhook_url, settings.webhook_secret, DEFAULT_EVENTS, ("*",), "standard"
    )
    return (*tables, one)
