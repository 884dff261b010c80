"""The probes of `check` on a LiveKit server, from the socket to the media.

The probes form a chain in which each needs the one before: without a server there is no key to
test, without a key no room.  A probe that could not be tried names the one that must be mended
first.  No probe touches the user's rooms: the worker registers under a name of its own, full and
draining, and the one room that is made has a name of its own and is deleted.

The media path needs a room, because LiveKit sends its candidates to participants only.  Others
notice little of that room.  It is made with a dispatch for an agent of its own name, which does not
exist; without any dispatch LiveKit would offer it to all unnamed agents.  The token has the same
room configuration, for the case that the room is deleted before we join it.  The user's webhooks do
report the room.  So it is announced before, and `--no-media` leaves it out.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, TypeAlias

import trio
from attrs import Factory, define, field, frozen

from bridge.cli.media_probe import DEADLINE, MediaError, MediaPath, try_media
from bridge.cli.nodes_probe import probe_nodes
from bridge.cli.registration_probe import Rejected, register
from bridge.cli.webhook_probe import PATIENCE, Arrival, WebhookSource
from bridge.livekit.api_errors import ApiError, NotSupported
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import CHECK_PREFIX, ApiKey, room_token
from bridge.livekit.websocket import SocketFailed

Status: TypeAlias = Literal["ok", "failed", "skipped", "left out"]
"""`skipped`: another problem must be mended first; `left out`: the user did not want it."""

OLDEST_SERVER: Final = (1, 8, 0)
"""The first livekit-server that sends an agent to a room by its name (AgentDispatchService)."""
ROOM_SECONDS: Final = 20
"""Whole seconds until the server ends the empty room by itself, if we are killed."""


@frozen
class CheckRow:
    """One thing that was tested."""

    name: str
    status: Status
    detail: str
    do: str = ""
    """The advice, where it is not ok."""
    is_default: bool = False
    """A setting that nobody set."""


def version_problem(version: str) -> str | None:
    """Why a server of this version does not work; None where it does or has no version."""
    numbers = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None:
        return None
    if tuple(int(number or 0) for number in numbers.groups()) >= OLDEST_SERVER:
        return None
    return f"too old: agents are sent to rooms by name from {_dotted(OLDEST_SERVER)} on"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


CHECK_URL: Final = "check --url or LIVEKIT_URL: host, port, and wss:// where the server has TLS"
CHECK_KEY: Final = "check --api-key and --api-secret (LIVEKIT_API_KEY, LIVEKIT_API_SECRET)"
OPEN_PORTS: Final = (
    "open the server's media ports to this machine (livekit.yaml: rtc.udp_port or "
    "rtc.port_range_start to port_range_end for UDP, rtc.tcp_port for TCP), and check "
    "rtc.node_ip or rtc.use_external_ip: it must be an address this machine can reach"
)

_KEY_REASONS: Final = ("wrong_key", "wrong_secret", "not_allowed")
_URL_REASONS: Final = ("no_endpoint", "redirected")

SERVER: Final = "server"
KEY: Final = "key and secret"
CLOCK: Final = "clock"
WORKER: Final = "worker registration"
VERSION: Final = "server version"
NODES: Final = "server nodes"
ROOM_SERVICE: Final = "room service"
MEDIA: Final = "media path"
PROBES: Final = (SERVER, KEY, CLOCK, WORKER, VERSION, NODES, ROOM_SERVICE, MEDIA)
WEBHOOKS: Final = "LiveKit's webhooks"
"""Tried where somebody says how to learn of arrivals."""


NO_MEDIA: Final = "left out (--no-media)"


def _announce_nothing(_room: str) -> None:
    """For the check of a private server."""


@define(eq=False)
class ServerCheck:
    """The chain of probes on one server; `run` gives one result for each of `PROBES`.

    Run it inside `trio_asyncio.open_loop()` and let the process end soon after: a media
    connection that failed is cancelled with the loop, and the native library then ends the
    process 15 s later.
    """

    endpoint: Endpoint
    api_key: ApiKey
    agent_name: str
    media_deadline: float = DEADLINE
    announce: Callable[[str], object] | None = _announce_nothing
    """Called with the name of the room before it is made; None: no room is made."""
    no_room: str = NO_MEDIA
    """Why no room is made."""
    proxies: Sequence[str] = ()
    """Variables with an HTTP proxy, which is not used."""
    webhooks: WebhookSource | None = None
    """How to learn whether webhooks arrive; None: nobody wants to know."""
    _name: str = Factory(lambda: f"{CHECK_PREFIX}{secrets.token_hex(4)}")
    """The name of the worker, of its room, and of the participant in it."""
    _results: dict[str, CheckRow] = field(factory=dict[str, CheckRow], init=False)

    async def run(self) -> list[CheckRow]:
        async with ServerApi(self.endpoint, self.api_key) as api:
            worker = await self._worker(api.clock)
            listed = await self._list_rooms(api) if SERVER not in self._failed else None
            self._judge_key(worker, listed)
            self._judge_clock(worker, api.clock)
            if not self._failed:
                nodes = await probe_nodes(api, self.agent_name)
                self._ok(NODES, nodes.detail, nodes.advice)
                if self.announce is not None:
                    self.announce(self._name)
                    await self._watch_webhooks(partial(self._use_room, api))
                else:
                    await self._use_no_room(api, asks_nodes=nodes.asks_nodes)
        names = PROBES if self.webhooks is None else (*PROBES, WEBHOOKS)
        return [self._results.get(name) or self._untried(name) for name in names]

    @property
    def _failed(self) -> list[str]:
        return [name for name, result in self._results.items() if result.status == "failed"]

    def _untried(self, name: str) -> CheckRow:
        return CheckRow(name, "skipped", f"not tried: fix '{self._failed[0]}' first")

    def _ok(self, name: str, detail: str, do: str = "") -> None:
        self._results[name] = CheckRow(name, "ok", detail, do)

    def _fail(self, name: str, detail: str, do: str) -> None:
        self._results[name] = CheckRow(name, "failed", detail, do)

    def _proxy_hint(self, before: str = "") -> str:
        if not self.proxies:
            return ""
        those = ", ".join(self.proxies)
        return f"{before}{those} is not used: LiveKit must be reached without a proxy"

    # ------------------------------------------------------------ key and worker

    async def _worker(self, clock: ServerClock) -> Rejected | None:
        """Register; judges the server, the registration and the version."""
        try:
            worker = await register(self.endpoint, self.api_key, self._name, clock)
        except SocketFailed as error:
            self._fail(SERVER, str(error), CHECK_URL + self._proxy_hint("; "))
            return None
        except Rejected as error:
            if error.reason in _URL_REASONS:
                self._fail(SERVER, str(error), CHECK_URL + self._proxy_hint("; "))
            else:
                self._ok(SERVER, f"answers at {self.endpoint.authority}", self._proxy_hint())
            if error.reason == "other":
                self._fail(WORKER, str(error), "see the log of livekit-server")
            return error
        self._ok(SERVER, f"answers at {self.endpoint.authority}", self._proxy_hint())
        self._ok(WORKER, f"registered as {worker.worker_id}, and left")
        problem = version_problem(worker.server_version)
        version = worker.server_version or "unknown"
        if problem:
            self._fail(VERSION, f"{version} is {problem}", "install a newer livekit-server")
        else:
            self._ok(VERSION, version)
        return None

    async def _list_rooms(self, api: ServerApi) -> ApiError | None:
        try:
            await api.list_rooms([self._name])
        except ApiError as error:
            return error
        return None

    def _judge_key(self, worker: Rejected | None, listed: ApiError | None) -> None:
        if worker is not None and worker.reason in _KEY_REASONS:
            self._fail(KEY, str(worker), CHECK_KEY)
        elif WORKER in self._results and self._results[WORKER].status == "ok":
            self._ok(KEY, "accepted")
        if SERVER in self._failed or listed is None or KEY in self._failed:
            return
        do = "see the log of livekit-server, and of what stands before it"
        if isinstance(listed, NotSupported):
            do = "the server API must be reachable at the same URL as the websocket"
        self._fail(ROOM_SERVICE, str(listed), do)

    def _judge_clock(self, worker: Rejected | None, clock: ServerClock) -> None:
        """Sessions have the server's time, whatever ours is.  All other times are ours."""
        do = "set this machine's clock, and keep it right with NTP"
        offset = clock.offset
        if worker is not None and worker.reason == "clock_skew":
            self._fail(CLOCK, str(worker), do)
        elif offset is None or SERVER in self._failed:
            return
        elif clock.is_off:
            side = "ahead of" if offset > 0 else "behind"
            self._fail(CLOCK, f"{abs(offset):.1f} s {side} the server's", do)
        else:
            within = abs(offset) + (clock.uncertainty or 0.0)
            self._ok(CLOCK, f"agrees with the server's within {math.ceil(within * 100) / 100:g} s")

    # -------------------------------------------------------------- room and media

    async def _watch_webhooks(self, use_room: Callable[..., Awaitable[None]]) -> None:
        """Webhooks change nothing but their own row: a session needs none."""
        if self.webhooks is None:
            await use_room()
            return
        try:
            async with self.webhooks.watching(self._name) as arrivals:

                async def judge() -> None:
                    self._judge_webhooks(await arrivals.wait(), arrivals.where)

                await use_room(judge)
        except OSError as error:
            self._results[WEBHOOKS] = CheckRow(
                WEBHOOKS, "ok", f"unknown: {error.strerror or error}", SET_WEBHOOKS
            )

    def _judge_webhooks(self, arrival: Arrival, where: str) -> None:
        if arrival == "arrived":
            self._ok(WEBHOOKS, f"arrive at {where}")
        elif arrival == "refused":
            self._fail(WEBHOOKS, f"arrive at {where}, and are not signed with this key", SIGN_THEM)
        else:
            self._ok(WEBHOOKS, f"none came to {where} within {PATIENCE:g} s", SET_WEBHOOKS)

    async def _use_room(
        self, api: ServerApi, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        try:
            if await self._can(
                {
                    "create room": lambda: api.create_room(
                        self._name, empty_timeout=ROOM_SECONDS, agents=[self._name]
                    ),
                    "list rooms": lambda: api.list_rooms([self._name]),
                    "list participants": lambda: api.list_participants(self._name),
                    "list dispatches": lambda: api.list_dispatch(self._name),
                }
            ):
                await self._media()
                if then is not None:
                    await then()
        finally:
            await self._delete_room(api)

    async def _use_no_room(self, api: ServerApi, *, asks_nodes: bool) -> None:
        """The calls that can be made about a room that does not exist.  Where the rooms' nodes are
        asked for participants, no node answers for it."""
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "list rooms": lambda: api.list_rooms([self._name])
        }
        if not asks_nodes:
            calls["list participants"] = lambda: api.list_participants(self._name)
        await self._can(calls)
        if not self._failed:
            status: Status = "left out" if self.no_room == NO_MEDIA else "skipped"
            for name in (MEDIA, WEBHOOKS):
                self._results[name] = CheckRow(name, status, self.no_room)

    async def _can(self, calls: Mapping[str, Callable[[], Awaitable[object]]]) -> bool:
        for does, call in calls.items():
            try:
                await call()
            except ApiError as error:
                self._fail(ROOM_SERVICE, f"cannot {does}: {error}", _for_call(error))
                return False
        self._ok(ROOM_SERVICE, f"can {', '.join(calls)}")
        return True

    async def _media(self) -> None:
        token = room_token(
            self.api_key,
            room=self._name,
            identity=self._name,
            agent_name=self.agent_name,
            configuration={
                "emptyTimeout": ROOM_SECONDS,
                "departureTimeout": ROOM_SECONDS,
                "agents": [{"agentName": self._name}],
            },
        )
        try:
            path = await try_media(self.endpoint.room_url, token, deadline=self.media_deadline)
        except MediaError as error:
            self._fail(MEDIA, str(error), OPEN_PORTS)
            return
        self._ok(MEDIA, _way(path), "" if path.protocol != "tcp" else BETTER_UDP)

    async def _delete_room(self, api: ServerApi) -> None:
        """Delete the room, twice if it exists again: a late join makes a deleted room anew.

        An error is ignored: a server that answers late has deleted the room, or its empty timeout
        will.
        """
        with trio.move_on_after(api.deadline, shield=True):
            for _ in range(2):
                with suppress(ApiError):
                    await api.delete_room(self._name)
                with suppress(ApiError):
                    if not await api.list_rooms([self._name]):
                        return


SET_WEBHOOKS: Final = (
    "works without them; with them a session also has visits of under 3 s, exact leaves and "
    "recordings: webhook.urls in livekit.yaml, with the path /livekit/webhook of --http"
)
SIGN_THEM: Final = "name this API key as webhook.api_key in livekit.yaml"
BETTER_UDP: Final = "works; open UDP too, TCP makes sound and picture wait for lost packets"


def _for_call(error: ApiError) -> str:
    if isinstance(error, NotSupported):
        return "install a newer livekit-server"
    return "see the log of livekit-server"


def _way(path: MediaPath) -> str:
    if not path.protocol:
        return "connected"
    relay = ", through a TURN server" if path.kind == "relay" else ""
    return f"connected over {path.protocol.upper()} to {path.address}{relay}"
