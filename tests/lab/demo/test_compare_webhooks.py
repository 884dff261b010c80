"""The chapter of the webhooks finds each fault: lost, unsigned, out of order, a wrong number."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.outlets.outlet_port import Delivery
from bridge.lab.demo.compare_webhooks import WebhookComparison, compare_webhooks
from bridge.lab.demo.webhook_receiver import WebhookReceiver, is_signed
from bridge.outlets.envelope import body_of
from bridge.outlets.signatures import Signer
from tests.lab.demo.test_compare import PlayedDemo, tell

Request: TypeAlias = tuple[dict[str, str], bytes]


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


def deliveries(demo: PlayedDemo) -> list[Delivery]:
    """Each entry of each timeline."""
    all_of_them = list[Delivery]()
    for place, session in enumerate(demo.sessions):
        for number, entry in enumerate(session.timeline or ()):
            data: dict[str, Any] = msgspec.to_builtins(entry)
            at, event = datetime.fromisoformat(data.pop("at")), data.pop("event")
            if event == "session_ended":
                summary = msgspec.to_builtins(msgspec.structs.replace(session, timeline=None))
                data["summary"] = summary
            all_of_them.append(
                Delivery(
                    f"{place}-{number}-0", number << 16, session.room_sid, session.room,
                    session.room_sid, event, at.timestamp(), data,
                )
            )  # fmt: skip
    return all_of_them


def requests(demo: PlayedDemo, receiver: WebhookReceiver) -> list[Request]:
    signer = Signer.of("standard", [receiver.secret])
    all_of_them = list[Request]()
    for one in deliveries(demo):
        body = body_of(one, "standard")
        all_of_them.append((dict(signer.headers(one.id, body, 1.8e9)), body))
    return all_of_them


def compared(demo: PlayedDemo, change: Callable[[list[Request]], object]) -> WebhookComparison:
    receiver = WebhookReceiver(0)
    sent = requests(demo, receiver)
    change(sent)
    for headers, body in sent:
        receiver.take(headers, body)
    return compare_webhooks(demo.stories, demo.sessions, receiver)


def test_what_arrived_whole_and_in_order_has_no_difference(demo: PlayedDemo) -> None:
    result = compared(demo, lambda _: None)
    assert result.differences == ()
    assert result.numbers > 400
    assert result.summaries == len(demo.stories)
    assert result.joins > 0
    assert result.tracks > 0


def test_what_came_twice_makes_no_difference(demo: PlayedDemo) -> None:
    assert compared(demo, lambda sent: sent.insert(5, sent[4])).differences == ()


def of_type(sent: list[Request], event: str) -> int:
    return next(n for n, (_, body) in enumerate(sent) if json.loads(body)["type"] == event)


def lose(event: str) -> Callable[[list[Request]], object]:
    return lambda sent: sent.pop(of_type(sent, event))


def forge(sent: list[Request]) -> None:
    number = of_type(sent, "participant_connected")
    headers, body = sent[number]
    sent[number] = headers, body.replace(b"participant_connected", b"participant_Connected")


def swap(sent: list[Request]) -> None:
    sent[1], sent[2] = sent[2], sent[1]


@pytest.mark.parametrize(
    "change, path",
    [
        (lose("session_started"), "begins"),
        (lose("session_ended"), "ends"),
        (lose("participant_connected"), "joins.length"),
        (lose("track_published"), "tracks.length"),
        (forge, "refused"),
        (swap, "0-1-0"),
    ],
)
def test_each_fault_is_found(
    demo: PlayedDemo, change: Callable[[list[Request]], object], path: str
) -> None:
    assert path in [one.path for one in compared(demo, change).differences]


def test_a_wrong_number_in_a_summary_and_an_unknown_session_are_found(demo: PlayedDemo) -> None:
    receiver = WebhookReceiver(0)
    for headers, body in requests(demo, receiver):
        receiver.take(headers, body)
    ended = next(one for one in receiver.taken if one["type"] == "session_ended")
    ended["data"]["summary"]["people"]["unique"] += 1
    stranger: dict[str, Any] = {**receiver.taken[0], "session": "RM_stranger", "id": "x"}
    receiver.taken.append(stranger)
    paths = [
        one.path for one in compare_webhooks(demo.stories, demo.sessions, receiver).differences
    ]
    assert paths == ["summary.people.unique", "session"]


def test_the_receiver_knows_the_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks specification."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert is_signed(headers, body, secret)
    assert not is_signed(headers, body + b" ", secret)
    assert not is_signed({**headers, "webhook-id": "msg"}, body, secret)
    assert not is_signed({}, body, secret)
