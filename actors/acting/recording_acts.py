"""The acts `record` and `stop_recording` of rules: rows for `actors.acting.act_requests.ACT_KINDS`.

They ask the recorder.  The key of the act becomes the key of the recording's intent, so an act
that is carried out again after a kill starts no second recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Final, TypeAlias

from actors.acting.act_requests import ActKind, ActRequest
from actors.recording.recorder_messages import (
    EndRecording,
    RecorderMessage,
    RecordingResult,
    RecordRoom,
)
from actors.rooms.room_control import ControlRefused, ControlUnavailable
from actors.rules.acts import StartRecording
from actors.runtime import ActorError, Ref, ReplyTo
from actors.session.recording_reports import RecordingRequest

DEADLINE: Final = 600.0
"""Seconds.  The recorder has deadlines of its own, which are shorter."""
KEY_LENGTH: Final = 20

_Message: TypeAlias = Callable[[ReplyTo[RecordingResult]], RecorderMessage]

_RESULTS: Final = {
    "started": "records",
    "running": "a recording of ours runs already",
    "stopped": "stopped",
    "not_running": "nothing of ours was recorded",
}


def recording_kinds(recorder: Ref[RecorderMessage]) -> Mapping[str, ActKind]:
    """The rows of both acts."""
    return {
        "record": ActKind(partial(_record, recorder), deadline=DEADLINE, takes_long=True),
        "stop_recording": ActKind(partial(_stop, recorder), deadline=DEADLINE, takes_long=True),
    }


def intent_of(room_sid: str, act_key: str) -> str:
    """The key of an act's intent: of no other act in any room.  LiveKit shows it in a URL."""
    return hashlib.sha256(f"{room_sid} {act_key}".encode()).hexdigest()[:KEY_LENGTH]


async def _record(recorder: Ref[RecorderMessage], request: ActRequest) -> str:
    state, act = request.state, request.act
    wanted = act.request if isinstance(act, StartRecording) else RecordingRequest()
    intent = intent_of(state.room_sid, request.open_act.plan.key)

    def message(reply_to: ReplyTo[RecordingResult]) -> RecorderMessage:
        return RecordRoom(
            state.room, state.room_sid, intent, request.open_act.rule, wanted, reply_to
        )

    return await _result(recorder, message)


async def _stop(recorder: Ref[RecorderMessage], request: ActRequest) -> str:
    sid, rule = request.state.room_sid, request.open_act.rule
    return await _result(recorder, lambda reply_to: EndRecording(sid, rule, reply_to))


async def _result(recorder: Ref[RecorderMessage], message: _Message) -> str:
    try:
        result = await recorder.ask(message, timeout=inf)
    except ActorError as error:  # It crashed with the question in hand, and is restarted.
        raise ControlUnavailable(str(error)) from None
    if result.outcome == "failed":
        raise (ControlUnavailable if result.retry else ControlRefused)(result.error)
    text = _RESULTS[result.outcome]
    return f"{text} ({result.egress_id})" if result.egress_id else text
