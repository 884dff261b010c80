"""One event for an endpoint, to see whether it arrives: `outbox test`."""

from __future__ import annotations

import secrets
import time
from typing import Protocol

from actors.outlets.outlet_port import Attempt, Delivery
from bridge.livekit.tokens import ApiKey
from bridge.outlets.endpoint_url import EndpointUrl
from bridge.outlets.formats import Format
from bridge.outlets.http_sender import HttpSender
from bridge.outlets.signatures import Signer


class EndpointSettings(Protocol):
    """The part of an endpoint's settings that a trial needs."""

    @property
    def url(self) -> EndpointUrl: ...
    @property
    def format(self) -> Format: ...
    @property
    def secret(self) -> tuple[str, ...]: ...


async def try_endpoint(endpoint: EndpointSettings, api_key: str, api_secret: str) -> Attempt:
    """Send an event named ``test`` once."""
    signer = Signer.of(endpoint.format, endpoint.secret, ApiKey(api_key, api_secret))
    sender = HttpSender(endpoint.url, endpoint.format, signer)
    delivery = Delivery(
        f"test-{secrets.token_hex(8)}", 0, "test", "test", "", "test", time.time(), {}
    )
    try:
        return await sender.send(delivery)
    finally:
        await sender.aclose()
