"""Whether LiveKit's webhooks reach us: `check` makes a room, and LiveKit should report it.

Without a worker, `check` listens at `--http` itself for that moment.  Beside a running worker it
asks the worker's `/metrics` whether more webhooks came.
"""

from __future__ import annotations

import http.client
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias, final

import h11
import trio
from attrs import field, frozen

from bridge.config.http_address import HttpAddress
from bridge.livekit.tokens import ApiKey
from bridge.livekit.webhooks.verify import BODY_LIMIT, WEBHOOK_PATH, read_event, read_token

Arrival: TypeAlias = Literal["arrived", "refused", "none"]
"""`refused`: they come, and are not signed with our key."""

PATIENCE: Final = 2.5
"""Seconds after the room was made.  LiveKit sends the webhook within tenths of a second."""
_LOOK_EVERY: Final = 0.2
_CONNECTION_SECONDS: Final = 5.0
_MOST_METRICS: Final = 4 << 20
_COUNT: Final = re.compile(
    rb'^room_actors_webhooks_total\{outcome="(\w+)"\} ([0-9.e+]+)', re.MULTILINE
)
_GOOD: Final = frozenset({"accepted", "ignored", "duplicate"})


class WebhookArrivals(Protocol):
    """Says whether webhooks came since the block of `watching` began."""

    @property
    def where(self) -> str:
        """The address, for people."""
        ...

    async def wait(self) -> Arrival:
        """The first good one within `PATIENCE`, else what came."""
        ...


@frozen
class WebhookSource:
    """How to learn of arrivals."""

    address: HttpAddress
    api_key: ApiKey
    worker_runs: bool
    token: str | None = field(default=None, repr=False)

    @asynccontextmanager
    async def watching(self, room: str) -> AsyncGenerator[WebhookArrivals, None]:
        """Arrivals within the block, while `room` is made.  Raises OSError."""
        if self.worker_runs:
            counts = await trio.to_thread.run_sync(self._counts)
            yield _OfWorker(self, counts)
            return
        arrivals = _AtOurPort(self, room)
        host = self.address.host
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(trio.serve_tcp, arrivals.take, self.address.port, host=host)
            )
            yield arrivals
            nursery.cancel_scope.cancel()

    def _counts(self) -> Mapping[str, float]:
        """Webhooks that the worker took, by outcome.  Raises OSError."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address.host, self.address.host)  # noqa: S104
        connection = http.client.HTTPConnection(
            host, self.address.port, timeout=_CONNECTION_SECONDS
        )
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        try:
            connection.request("GET", "/metrics", headers=headers)
            response = connection.getresponse()
            body = response.read(_MOST_METRICS)
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP at {self.address}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise OSError(f"status {response.status} of {self.address}/metrics")
        return Counter({name.decode(): float(count) for name, count in _COUNT.findall(body)})


@final
class _OfWorker:
    def __init__(self, source: WebhookSource, before: Mapping[str, float]) -> None:
        self.where = f"the worker at {source.address}"
        self._source = source
        self._before = before

    async def wait(self) -> Arrival:
        with trio.move_on_after(PATIENCE):
            while True:
                arrival = self._judge(await trio.to_thread.run_sync(self._source._counts))  # noqa: SLF001
                if arrival == "arrived":
                    return arrival
                await trio.sleep(_LOOK_EVERY)
        return self._judge(await trio.to_thread.run_sync(self._source._counts))  # noqa: SLF001

    def _judge(self, counts: Mapping[str, float]) -> Arrival:
        more = {name for name, count in counts.items() if count > self._before.get(name, 0.0)}
        return "arrived" if more & _GOOD else "refused" if more else "none"


@final
class _AtOurPort:
    def __init__(self, source: WebhookSource, room: str) -> None:
        self.where = f"http://{source.address}{WEBHOOK_PATH}"
        self._api_key = source.api_key
        self._room = room.encode()
        self._arrival: Arrival = "none"
        self._good = trio.Event()

    async def wait(self) -> Arrival:
        with trio.move_on_after(PATIENCE):
            await self._good.wait()
        return self._arrival

    async def take(self, stream: trio.SocketStream) -> None:
        """One connection.  Other rooms' webhooks are refused with 503, so LiveKit sends them
        again, to the worker that will run."""
        with trio.move_on_after(_CONNECTION_SECONDS):
            async with stream:
                try:
                    authorization, body = await _request(stream)
                    status = self._judge(authorization, body)
                    head = h11.Response(status_code=status, headers=[("Content-Length", "0")])
                    await stream.send_all(h11.Connection(h11.SERVER).send(head) or b"")
                except (trio.BrokenResourceError, h11.RemoteProtocolError, h11.LocalProtocolError):
                    return

    def _judge(self, authorization: str, body: bytes) -> int:
        if self._room not in body:
            return 503
        claimed = read_token(authorization, self._api_key, time.time())
        if isinstance(claimed, str) or isinstance(read_event(body, claimed, time.time()), str):
            self._arrival = "refused"
            return 401
        self._arrival = "arrived"
        self._good.set()
        return 200


async def _request(stream: trio.SocketStream) -> tuple[str, bytes]:
    """The authorization and the body of one POST."""
    connection, authorization, body = h11.Connection(h11.SERVER), "", bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65_536))
        elif isinstance(event, h11.Request):
            headers = dict(event.headers)
            authorization = headers.get(b"authorization", b"").decode("latin-1")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                return "", b""
        else:
            return authorization, bytes(body)
