"""Access tokens for LiveKit: the least grant that each caller needs, signed with the API secret.

Why PyJWT and not `livekit.api.AccessToken`: importing `livekit.api` brings aiohttp,
8.5 MiB and 0.13 s into a process that speaks HTTP through trio; PyJWT, which
livekit-api itself signs with, costs 0.3 MiB and 4 ms.  A test verifies each of these
tokens with `livekit.api.TokenVerifier`.

Clock skew: LiveKit allows 60 s each way for `nbf` and `exp` and ignores `iat`.  So there is no
`nbf`: with it, a machine whose clock runs ahead could not connect.  `exp` lies ten minutes ahead,
so that a machine whose clock runs behind can connect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
from attrs import field, frozen

AGENT_NAME_ATTRIBUTE: Final = "lk.agent_name"
"""The attribute in which LiveKit puts the name under which an agent was dispatched."""

INSTANCE_ATTRIBUTE: Final = "room_actors.instance"
"""Our participant's attribute with the instance id of its worker."""

CHECK_PREFIX: Final = "room-actors-check-"
"""Rooms with this prefix are opened by `check` for an instant.  They are never watched."""

NO_SUCH_CONFIGURATION: Final = "room-actors-makes-no-room"
"""The name of a room configuration that no server has.

When somebody joins a room that does not exist, LiveKit makes it and looks up the configuration
that the token names.  An unknown name is an error, and the room is not made.  If the room exists,
LiveKit ignores the name.  Measured on 1.13.5: a join of a room that does not exist fails within
0.2 s, and so does the full reconnect after a server's restart (the server's own refreshed tokens
keep the name).  Servers before 1.8 do not know the claim.
"""

SHORT_TTL: Final = 600.0
"""Seconds.  For calls and for the worker's socket: the token is read only when they begin."""

LEEWAY: Final = 60.0
"""Seconds by which the clocks may differ, each way.  LiveKit itself allows as much."""

ROOM_TTL: Final = 3600.0
"""Seconds.  For a room: the token is read again at each reconnect (LiveKit's own agents get one
hour)."""


def _wall_clock() -> float:
    return time.time()


@frozen
class ApiKey:
    """An API key and its secret.  No repr has the secret."""

    key: str
    secret: str = field(repr=False)
    now: Callable[[], float] = field(default=_wall_clock, repr=False, eq=False)
    """Unix seconds, on LiveKit's clock where it is known.  So a machine whose clock is hours off
    makes valid tokens too."""

    def sign(
        self,
        video: Mapping[str, Any],
        *,
        ttl: float = SHORT_TTL,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """A token with the grant `video` (LiveKit's name for the grants about rooms)."""
        return jwt.encode(
            {
                "iss": self.key,
                "exp": int(self.now() + ttl),
                "video": dict(video),
                **(claims or {}),
            },
            self.secret,
            algorithm="HS256",
        )


@frozen
class RoomGrants:
    """The permissions of a participant in a room."""

    subscribe: bool = False
    publish: bool = False
    publish_data: bool = False
    update_metadata: bool = False
    """Change its own name, metadata and attributes."""


WATCHER_GRANTS: Final = RoomGrants(subscribe=True)
"""An agent that watches takes tracks and sends nothing."""

SENDER_GRANTS: Final = RoomGrants(subscribe=True, publish_data=True)
"""The same with rules that send texts."""


def worker_token(api_key: ApiKey) -> str:
    """A token that allows to register as an agent worker, and nothing else."""
    return api_key.sign({"agent": True})


def room_token(
    api_key: ApiKey,
    *,
    room: str,
    identity: str,
    agent_name: str,
    visible: bool = False,
    attributes: Mapping[str, str] | None = None,
    configuration: Mapping[str, Any] | None = None,
    may_make: bool = True,
    grants: RoomGrants = WATCHER_GRANTS,
) -> str:
    """A token to join `room` as an agent that watches.  LiveKit lets an agent in without a job
    (docs/livekit-facts.md#own-agent-token).

    `configuration` (LiveKit's RoomConfiguration as JSON) is for the room that this join
    makes, where there is none.

    The grants are those of an assignment (`JobKind.grants`), so that nobody in the room can tell
    the difference.  Without `may_make` the join of a room that does not exist fails
    (`NO_SUCH_CONFIGURATION`).
    """
    claims: dict[str, Any] = {
        "sub": identity,
        "name": agent_name,
        "kind": "agent",
        "attributes": {AGENT_NAME_ATTRIBUTE: agent_name, **(attributes or {})},
    }
    if not may_make:
        claims["roomPreset"] = NO_SUCH_CONFIGURATION
    if configuration is not None:
        claims["roomConfig"] = dict(configuration)
    return api_key.sign(
        {
            "roomJoin": True,
            "room": room,
            "agent": True,
            "hidden": not visible,
            "canSubscribe": grants.subscribe,
            "canPublish": grants.publish,
            "canPublishData": grants.publish_data,
        },
        ttl=ROOM_TTL,
        claims=claims,
    )


def claims_of(token: str, api_key: ApiKey, now: float) -> Mapping[str, Any] | None:
    """The claims of a token that this key signed and that is valid `now` (Unix seconds); None for
    any other.  Never raises."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            api_key.secret,
            algorithms=["HS256"],
            issuer=api_key.key,
            options={
                "require": ["exp", "iss"],
                # These are checked below, by our own clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                # LiveKit leaves it empty.
                "verify_sub": False,
            },
        )
    except (jwt.InvalidTokenError, RecursionError):  # the second: a header with many brackets
        return None
    begins, ends = claims.get("nbf", 0), claims["exp"]
    numbers = isinstance(begins, int | float) and isinstance(ends, int | float)
    # No sum with a claim: a whole number of JSON may be too large for a float.
    return claims if numbers and begins <= now + LEEWAY and now - LEEWAY < ends else None
