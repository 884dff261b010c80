"""Format ``livekit``, read by LiveKit's own receivers: Python's and node's, side by side."""

from __future__ import annotations

import time
from typing import Any, Final

from attrs import evolve
from google.protobuf.json_format import MessageToDict
from livekit.api import TokenVerifier, WebhookReceiver

from actors.outlets.outlet_port import Delivery
from actors.session.timeline_entry import ENTRY_KEYS
from bridge.livekit.tokens import ApiKey
from bridge.outlets.envelope import body_of
from bridge.outlets.signatures import Signer
from tests.outlets.node_receiver import receive

KEY: Final = ApiKey("devkey", "a secret of thirty-two characters")
STRANGER: Final = ApiKey("devkey", "another secret of as many letters")
HOSTILE: Final = "a\u2028b\x00\ud800\u202e</script>\r\nX-Header: y \U0001f600"
DATA: Final[dict[str, Any]] = {
    "identity": HOSTILE,
    "sid": "PA_1",
    "name": HOSTILE,
    "id": "EG_1",
    "joined_at": 1.7e9,
    "existing": 3,
    "muted": False,
    "reason": None,
    "summary": {"people": {"unique": 1}, "tracks": [{"sid": "TR_1"}]},
}
KINDS: Final = {"track_published": {"kind": "audio", "source": "screen_audio", "sid": "TR_1"}}
OTHERS: Final = {"kind": "sip"}


def deliveries() -> list[Delivery]:
    """One of every event that there is, with texts that a participant may choose."""
    return [
        Delivery(
            f"1700000000000000-{number}-0",
            number << 16,
            "1700000000000000",
            HOSTILE,
            "RM_1",
            event,
            1.7e9 + number,
            {**DATA, **KINDS.get(event, OTHERS)},
        )
        for number, event in enumerate(ENTRY_KEYS)
    ]


def signed(delivery: Delivery, key: ApiKey = KEY) -> tuple[str, str]:
    body = body_of(delivery, "livekit")
    [(_, token)] = Signer.of("livekit", [], key).headers(delivery.id, body, time.time())
    return body.decode(), token


def test_node_and_python_read_the_same_of_every_event() -> None:
    requests = [signed(one) for one in deliveries()]
    python = WebhookReceiver(TokenVerifier(KEY.key, KEY.secret))
    read = receive(KEY, requests)
    assert [one.get("error") for one in read] == [None] * len(requests)
    for delivery, request, one in zip(deliveries(), requests, read, strict=True):
        assert one["event"] == MessageToDict(python.receive(*request)), delivery.event
        assert one["event"]["id"] == delivery.id
        assert one["event"]["room"] == {"sid": "RM_1", "name": HOSTILE.replace("\ud800", "?")}


def test_what_livekit_has_too_is_where_its_receivers_look_for_it() -> None:
    wanted = {one.event: one for one in deliveries()}
    names = ("participant_connected", "track_published", "recording_started", "room_ended")
    joined, track, recording, ended = (
        one["event"] for one in receive(KEY, [signed(wanted[name]) for name in names])
    )
    assert joined["event"] == "participant_joined"
    assert (joined["participant"]["sid"], joined["participant"]["kind"]) == ("PA_1", "SIP")
    assert track["track"] == {"sid": "TR_1", "source": "SCREEN_SHARE_AUDIO"}, "AUDIO is the default"
    assert recording["event"] == "egress_started"
    assert recording["egressInfo"]["egressId"] == "EG_1"
    assert ended["event"] == "room_finished"


def test_node_refuses_what_was_changed_signed_by_another_or_not_at_all() -> None:
    delivery = evolve(deliveries()[0], room="standup")
    body, token = signed(delivery)
    _, strangers = signed(delivery, STRANGER)
    changed = body.replace("standup", "another")
    assert changed != body
    results = receive(
        KEY, [(body, token), (changed, token), (body, strangers), (body, ""), (body, "garbage")]
    )
    assert ["event" in one for one in results] == [True, False, False, False, False]
    assert "checksum" in results[1]["error"]
