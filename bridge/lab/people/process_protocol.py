"""The protocol between the two processes: one JSON object a line.

::

    parent → child   {"url": ..., "api_key": ..., "api_secret": ...}       the first line
                     {"id": 7, "do": "publish", "person": 3, "source": "camera"}
                     {"id": 8, "do": "everyone_leaves", "person": 0}
    child → parent   {"ready": true}                                       the first line
                     {"id": 7, "ok": {"track": "TR_x", "at": 1.5}}
                     {"id": 7, "error": "the text"}
                     {"event": "left", "person": 3, "reason": "participant_removed", "at": 1.5}

The secret goes through the pipe and not through arguments or the environment, where
other users of the machine could read it.  End of file on the child's standard input
is its order to leave every room and end, so it cannot outlive its parent.  Payloads of
data messages are base64.  Times are Unix seconds.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import frozen

Kind: TypeAlias = Literal["standard", "agent", "egress", "ingress", "sip"]
Source: TypeAlias = Literal["microphone", "camera", "screen", "screen_audio"]
Scenario: TypeAlias = Literal[
    "signal_reconnect", "full_reconnect", "node_failure", "migration", "server_leave"
]

SOURCES: Final[tuple[Source, ...]] = ("microphone", "camera", "screen", "screen_audio")
SCENARIOS: Final[tuple[Scenario, ...]] = (
    "signal_reconnect",
    "full_reconnect",
    "node_failure",
    "migration",
    "server_leave",
)

LONGEST_LINE: Final = 4 * 1024 * 1024
"""Bytes.  Metadata of 64 KB and messages of 1 MB, escaped or in base64, fit in."""


@frozen
class Grants:
    """The permissions in a person's token.  The defaults are those of an ordinary visitor who may
    also change name, metadata and attributes (without that right the SDK reports success
    and nothing happens)."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    can_update_own_metadata: bool = True
    hidden: bool = False
    recorder: bool = False
