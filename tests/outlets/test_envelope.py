"""The three formats, each read by somebody who knows it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from livekit.api import TokenVerifier, WebhookReceiver

from actors.outlets.outlet_port import Delivery
from bridge.livekit.tokens import ApiKey
from bridge.outlets.envelope import MOST_BYTES, body_of
from bridge.outlets.formats import FORMATS, Format
from bridge.outlets.signatures import Signer
from bridge.outlets.signing_keys import BadSecret, key_of

DELIVERY = Delivery(
    "1700000000000000-7-0", 7, "1700000000000000", "standup", "RM_1", "track_muted", 1.7e9,
    {"identity": "alice", "sid": "TR_1"},
)  # fmt: skip
KEY = ApiKey("devkey", "a secret of thirty-two characters")


def read(form: Format, delivery: Delivery = DELIVERY) -> dict[str, Any]:
    return json.loads(body_of(delivery, form))


def test_standard_webhooks() -> None:
    assert read("standard") == {
        "type": "track_muted",
        "id": "1700000000000000-7-0",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "sequence": 7,
        "room": "standup",
        "session": "1700000000000000",
        "data": {"identity": "alice", "sid": "TR_1"},
    }


def test_cloudevents_in_structured_mode() -> None:
    event = read("cloudevents")
    assert {key: event[key] for key in ("specversion", "type", "subject", "sequence")} == {
        "specversion": "1.0",
        "type": "room-actors.track_muted",
        "subject": "standup",
        "sequence": "000000000007",
    }
    assert event["data"] == DELIVERY.data


def test_a_receiver_of_livekits_own_sdk_takes_it() -> None:
    body = body_of(DELIVERY, "livekit")
    [(name, token)] = Signer.of("livekit", [], KEY).headers(DELIVERY.id, body, 1.7e9)
    assert name == "Authorization"
    event = WebhookReceiver(TokenVerifier(KEY.key, KEY.secret)).receive(body.decode(), token)
    assert (event.event, event.room.name, event.room.sid) == ("track_muted", "standup", "RM_1")
    assert (event.participant.identity, event.track.sid) == ("alice", "TR_1")
    assert (event.id, event.created_at) == (DELIVERY.id, 1_700_000_000)


def test_livekits_own_events_have_livekits_names() -> None:
    joined = evolve(DELIVERY, event="participant_connected", data={"identity": "a", "sid": "PA_1"})
    event = read("livekit", joined)
    assert (event["event"], event["participant"]["sid"]) == ("participant_joined", "PA_1")
    assert "track" not in event


def test_a_body_that_was_changed_is_refused_by_livekits_receiver() -> None:
    body = body_of(DELIVERY, "livekit")
    [(_, token)] = Signer.of("livekit", [], KEY).headers(DELIVERY.id, body, 1.7e9)
    receiver = WebhookReceiver(TokenVerifier(KEY.key, KEY.secret))
    with pytest.raises(Exception, match="hash mismatch"):
        receiver.receive(body.decode().replace("alice", "mallory"), token)


def test_the_signature_is_that_of_the_specification_and_two_secrets_give_two() -> None:
    """Written anew from the specification: base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    new, old = "whsec_" + base64.b64encode(b"n" * 24).decode(), "a plain old secret"
    body = body_of(DELIVERY, "standard")
    headers = dict(Signer.of("standard", [new, old]).headers(DELIVERY.id, body, 1_700_000_123.9))
    assert headers["webhook-timestamp"] == "1700000123"
    signed = DELIVERY.id.encode() + b".1700000123." + body
    assert headers["webhook-signature"].split(" ") == [
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in (b"n" * 24, b"a plain old secret")
    ]


@pytest.mark.parametrize("secret", ["whsec_!!", "whsec_c2hvcnQ=", "short"])
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(BadSecret) as caught:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_secret_is_in_a_repr() -> None:
    assert "plain old" not in repr(Signer.of("livekit", ["a plain old secret"], KEY))
    assert KEY.secret not in repr(Signer.of("livekit", ["a plain old secret"], KEY))


texts = st.text(max_size=20)  # lone surrogates, too


@given(texts, st.dictionaries(texts, st.one_of(texts, st.lists(texts, max_size=3)), max_size=4))
def test_any_text_of_a_participant_makes_a_body_that_every_parser_takes(
    room: str, data: dict[str, Any]
) -> None:
    for form in FORMATS:
        body = body_of(evolve(DELIVERY, room=room, data=data), form)
        body.decode("utf-8")
        assert json.loads(body)
        assert "\\ud" not in body.decode()


def test_a_summary_that_is_too_long_goes_without_its_lists_and_says_so() -> None:
    huge = {"room": "standup", "participants": [{"name": "x" * 1000}] * 2000}
    event = read("standard", evolve(DELIVERY, event="session_ended", data=huge))
    assert event["data"] == {"room": "standup", "trimmed": True}
    assert len(json.dumps(huge)) > MOST_BYTES
