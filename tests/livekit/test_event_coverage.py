"""Every event of LiveKit is handled, or left out for a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import pytest
from livekit.protocol.webhook import WebhookEvent
from livekit.rtc._proto.room_pb2 import RoomEvent
from livekit.rtc.room import EventTypes

from actors.session import events, webhook_reports
from bridge.livekit import event_coverage
from bridge.livekit.event_coverage import Fate, Handled, LeftOut
from bridge.livekit.rooms import agent_streams, room_follow_ups, sdk_events, streams
from bridge.livekit.webhooks.webhook_events import TRANSLATORS as FROM_WEBHOOKS

ROOT: Final = Path(__file__).parents[2]
WEBHOOK_CLASS: Final = re.compile(r"\bWebhook\w+")


def handled(table: Mapping[str, Fate]) -> set[str]:
    return {name for name, fate in table.items() if isinstance(fate, Handled)}


def test_every_event_of_the_installed_sdk_is_in_the_table() -> None:
    assert set(event_coverage.SDK) == set(get_args(EventTypes))


def test_every_message_of_the_installed_native_library_is_in_the_table() -> None:
    messages = RoomEvent.DESCRIPTOR.oneofs_by_name["message"].fields
    assert set(event_coverage.NATIVE) == {field.name for field in messages}


def test_every_field_of_a_webhook_is_in_the_table() -> None:
    assert set(event_coverage.WEBHOOK_FIELDS) == set(WebhookEvent.DESCRIPTOR.fields_by_name)


def test_what_the_tables_call_handled_is_what_the_code_handles() -> None:
    assert handled(event_coverage.SDK) == set(sdk_events.TRANSLATORS) | set(
        room_follow_ups.FOLLOW_UPS
    )
    assert handled(event_coverage.WEBHOOKS) == set(FROM_WEBHOOKS)
    native = handled(event_coverage.NATIVE)
    assert native & sdk_events.NEEDLESS == agent_streams.PARTS
    assert native >= set(sdk_events.RAW) | streams.MESSAGES


def test_a_native_message_that_the_room_emits_is_handled_where_the_room_s_event_is() -> None:
    to_the_room = {name for name in event_coverage.NATIVE if name in event_coverage.SDK}
    handled_by_the_room = {"connection_state_changed", "token_refreshed"}
    for name in to_the_room - handled_by_the_room:
        assert type(event_coverage.NATIVE[name]) is type(event_coverage.SDK[name]), name


def test_every_event_of_ours_that_a_table_names_exists() -> None:
    ours = {
        name for module in (events, webhook_reports) for name in vars(module) if name[0].isupper()
    }
    for fate in event_coverage.WEBHOOK_FIELDS.values():
        assert isinstance(fate, LeftOut) or set(WEBHOOK_CLASS.findall(fate.by)) <= ours
    for table in (event_coverage.SDK, event_coverage.WEBHOOKS):
        for fate in table.values():
            if isinstance(fate, Handled) and not fate.by.startswith("bridge."):
                assert fate.by.partition(";")[0] in ours


@pytest.mark.parametrize("table", event_coverage.TABLES.values(), ids=event_coverage.TABLES)
def test_every_reason_is_a_sentence(table: Mapping[str, Fate]) -> None:
    for fate in table.values():
        assert isinstance(fate, Handled) or fate.because.endswith(".")
        assert isinstance(fate, LeftOut) or fate.by


def test_the_page_of_the_docs_is_made_from_the_tables() -> None:
    shown = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert shown == event_coverage.page(), (
        "python -m bridge.livekit.event_coverage > docs/coverage.md"
    )
