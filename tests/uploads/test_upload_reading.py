"""What is read of uploads: the captured ones of a real agent, and hostile ones."""

from __future__ import annotations

import gzip
import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from attrs import evolve

from bridge.uploads.bounded_gzip import BadUpload, unpacked
from bridge.uploads.log_reader import read_logs
from bridge.uploads.protobuf_fields import MOST_FIELDS
from bridge.uploads.report_form import (
    MOST_HEADER,
    MOST_HISTORY,
    ReportForm,
    UploadTooLarge,
    boundary_of,
)
from bridge.uploads.report_reader import audio_start, read_report
from bridge.uploads.span_files import FOLDER, SpanFiles
from bridge.uploads.trace_reader import MOST_SPAN_BYTES, MOST_SPANS, read_traces
from bridge.uploads.upload_desk import Upload
from bridge.uploads.upload_facts import (
    RunFacts,
    RunKey,
    UploadedError,
    UploadedToolCall,
    UploadedTurn,
)
from bridge.uploads.upload_reader import UploadReader
from tests.uploads.agent_uploads import (
    BOUNDARY,
    CAPTURED,
    RUN,
    MadeSpan,
    captured,
    captured_report,
    form,
    header_of,
    history_of,
    logs_of,
    packed,
    report_form,
    traces_of,
)

ALL = UploadReader(texts=True)
MIB = 1024 * 1024
SPOKEN = "please look it up for amsterdam"
PROMPT = "SECRET SYSTEM PROMPT"


def with_spans(body: bytes) -> tuple[RunFacts, ...]:
    return read_traces(unpacked(body, MIB), spans=True)


def captured_turns() -> list[dict[str, object]]:
    """The messages of the captured report, as the agent wrote them."""
    history = json.loads((CAPTURED / "report-chat-history.json").read_bytes())
    return [item for item in history["items"] if item["type"] == "message"]


# ---------------------------------------------------------------- a real agent


def test_a_report_has_every_turn_call_usage_and_how_it_ended():
    header, history = captured_report()
    facts = read_report(header, history, texts=True)
    assert facts.run == RUN
    assert (facts.agent_name, facts.room, facts.sdk_version) == ("stub-agent", "first", "1.8.9")
    assert facts.close_reason == "participant_disconnected"
    assert facts.report
    assert not facts.redacted
    assert facts.error_counts == {"llm": 1, "stt": 0, "tts": 0, "realtime": 0, "interruption": 0}
    assert facts.ended_at == 1795998870.1857302
    assert facts.started_at == pytest.approx(1795998870.1857302 - 32.237)
    assert audio_start(header) == 1795998837.948

    wanted = captured_turns()
    assert [(turn.item_id, turn.role, turn.interrupted) for turn in facts.turns] == [
        (item["id"], item["role"], item["interrupted"]) for item in wanted
    ]
    metrics = [item["metrics"] for item in wanted]
    for turn, of_item in zip(facts.turns, metrics, strict=True):
        assert isinstance(of_item, dict)
        assert turn.e2e_latency == of_item.get("e2e_latency")
        assert turn.llm_ttft == of_item.get("llm_node_ttft")
        assert turn.tts_ttfb == of_item.get("tts_node_ttfb")
        assert turn.end_of_turn_delay == of_item.get("end_of_turn_delay")
        assert turn.transcription_delay == of_item.get("transcription_delay")
        assert turn.started_at == of_item.get("started_speaking_at")
        assert turn.stopped_at == of_item.get("stopped_speaking_at")
    assert SPOKEN in [turn.text for turn in facts.turns]
    assert [(call.call_id, call.name, call.failed) for call in facts.tool_calls] == [
        ("call_1", "weather", None), ("call_1", "weather", False),
        ("call_2", "broken", None), ("call_2", "broken", True),
    ]  # fmt: skip
    assert {usage.type: dict(usage.amounts) for usage in facts.usage} == {
        "llm_usage": {"input_tokens": 654, "input_cached_tokens": 60, "output_tokens": 150},
        "tts_usage": {"characters_count": 460, "audio_duration": 27.650000000000013},
        "stt_usage": {"audio_duration": 17.64999999999996},
    }


def test_log_records_have_the_same_turns_calls_and_usage_as_the_report():
    report = read_report(*captured_report(), texts=True)
    [facts] = ALL(Upload("logs", captured("logs")[-1], packed=True))
    assert facts.run == RUN
    assert (facts.agent_name, facts.room, facts.sdk_version) == ("stub-agent", "first", "1.8.9")
    # Their times are cut to microseconds on another way.
    for one, other in zip(facts.turns, report.turns, strict=True):
        assert one.started_at == pytest.approx(other.started_at, abs=1e-5)
        times = {"created_at": 0.0, "started_at": None, "stopped_at": None}
        assert evolve(one, **times) == evolve(other, **times)
    assert [(one.call_id, one.item_id, one.failed) for one in facts.tool_calls] == [
        (one.call_id, one.item_id, one.failed) for one in report.tool_calls
    ]
    assert facts.usage == report.usage
    assert facts.log_errors == 3


def test_spans_have_turns_calls_errors_and_the_end_of_the_run():
    facts = [one for body in captured("traces") for one in ALL(Upload("traces", body, packed=True))]
    assert {one.run for one in facts} == {RUN}
    report = read_report(*captured_report(), texts=False)
    begins = {turn.started_at for turn in report.turns if turn.started_at is not None}
    assert {turn.started_at for one in facts for turn in one.turns} == begins
    calls = [call for one in facts for call in one.tool_calls]
    assert [(call.call_id, call.name, call.failed) for call in calls] == [
        ("call_1", "weather", False), ("call_2", "broken", True),
    ]  # fmt: skip
    assert [error for one in facts for error in one.errors] == [
        UploadedError(1795998866.2973466, "llm", "APIError")
    ]
    assert facts[-1].close_reason == "participant_disconnected"
    assert facts[-1].ended_at == 1795998870.2382617


def test_what_a_person_said_is_only_in_the_texts_of_turns_and_calls():
    uploads = [
        *(Upload("traces", body, packed=True) for body in captured("traces")),
        *(Upload("logs", body, packed=True) for body in captured("logs")),
        Upload("report", captured_report()[0], chat_history=captured_report()[1]),
    ]
    with_texts = [one for upload in uploads for one in ALL(upload)]
    assert SPOKEN not in repr(with_texts)
    assert any(SPOKEN in turn.text for one in with_texts for turn in one.turns)
    numbers = [one for upload in uploads for one in UploadReader()(upload)]
    numbers += [one for body in captured("traces") for one in with_spans(body)]
    for secret in (SPOKEN, PROMPT, "Welcome to the stub", "grey", "the model is down", "alice"):
        assert secret not in str([_all_of(one) for one in numbers])
    for secret in (PROMPT, "Always fails"):
        assert secret not in str([_all_of(one) for one in with_texts])


def _all_of(value: object) -> str:
    """Everything, also what a repr leaves out."""
    import attrs

    return str(attrs.asdict(value))


# ---------------------------------------------------------------- made uploads


def test_ids_are_those_of_the_span_and_not_of_the_resource():
    earlier = RunKey("RM_earlier", "AJ_earlier")
    span = MadeSpan("session_close", attributes={"lk.close_reason": "error"})
    [facts] = read_traces(traces_of(RUN, span, resource=earlier), spans=False)
    assert facts.run == RUN
    assert facts.close_reason == "error"


def test_redaction_takes_the_texts():
    _, history = captured_report()
    report = read_report(header_of(RUN, redacted=True), history, texts=True)
    assert report.redacted
    assert report.turns
    item = {"message": {"id": "i", "role": "USER", "created_at": 1.5, "content": [SPOKEN]}}
    flagged = {"chat.item": item, "lk.redaction.enabled": True}
    body = logs_of(RUN, "chat_history", "chat item", attributes=flagged)
    (logged,) = read_logs(body, texts=True)
    assert logged.redacted
    for facts in (report, logged):
        assert not any(turn.text for turn in facts.turns)
        assert not any(call.arguments or call.output for call in facts.tool_calls)


def test_an_agents_own_judgement_and_its_errors_are_counted():
    judgement = {"outcome": "fail", "reason": SPOKEN}
    (judged,) = read_logs(
        logs_of(RUN, "evaluations", "outcome", attributes={"outcome": judgement}),
        texts=True,
    )
    assert judged.outcome == "fail"
    (failed,) = read_logs(logs_of(RUN, "app", SPOKEN, severity=17), texts=True)
    assert failed.log_errors == 1
    retried = MadeSpan("llm_request_run", attributes={"lk.retry_count": 2})
    [facts] = read_traces(traces_of(RUN, retried), spans=False)
    assert facts.retries == 1
    assert SPOKEN not in repr((judged, failed))


def test_values_that_cannot_be_are_none():
    item = {
        "id": "item_1", "type": "message", "role": "assistant", "created_at": 5.0,
        "interrupted": "yes", "content": [{"image": "x"}, ["deep"], "said"],
        "metrics": {"e2e_latency": -1, "llm_node_ttft": "fast", "tts_node_ttfb": 1e300,
                    "started_speaking_at": True},
    }  # fmt: skip
    wrong = [
        {"type": "message", "id": 7, "role": "user"}, {"type": "message", "role": "system"},
        {"type": "message", "id": "x", "role": "developer", "created_at": 1.0},
        {"type": "function_call"}, {"type": 5}, {}, None, [[[]]], "text",
    ]  # fmt: skip
    history = json.dumps({"items": [item, *wrong]}).encode()
    facts = read_report(header_of(RUN, usage={"a": 1}, errors=[1], room=5), history, texts=True)
    assert facts.turns == (UploadedTurn("item_1", "assistant", 5.0, text="said"),)
    assert facts.tool_calls == ()
    assert facts.usage == ()
    assert facts.room == ""


def test_texts_and_labels_are_cut():
    long, text = "x" * 300_000, "a" * 90_000
    items: list[dict[str, object]] = [
        {"type": "function_call", "id": long, "call_id": long, "name": long, "arguments": text},
        {"type": "message", "id": "i", "role": "user", "created_at": 1.0, "content": [text]},
    ]
    facts = read_report(header_of(RUN, agent_name=long), history_of(items), texts=True)
    # An item of more bytes than any real one is left out as a whole.
    assert facts.tool_calls == ()
    assert len(facts.turns[0].text) == 16_384
    assert len(facts.agent_name) == 128
    items[0] |= {"id": "i" * 500, "call_id": "c" * 500, "name": "n" * 500}
    (call,) = read_report(header_of(RUN), history_of(items), texts=True).tool_calls
    assert call == UploadedToolCall("c" * 128, "i" * 128, "n" * 128, arguments="a" * 16_384)


# ---------------------------------------------------------------- hostile bodies


def test_a_gzip_bomb_is_refused_within_its_bound():
    bomb = gzip.compress(bytes(400 * MIB // 8), 9)  # 50 MiB of zeros in 50 KB
    tracemalloc.start()
    with pytest.raises(BadUpload, match="too large"):
        ALL(Upload("traces", bomb, packed=True))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize(
    "body",
    [b"", b"junk", b"\x1f\x8b", packed(b"x")[:-3], packed(b"x") + b"y", packed(b"x") * 2],
)
def test_what_is_not_one_whole_gzip_member_is_refused(body: bytes):
    with pytest.raises(BadUpload):
        unpacked(body, MIB)


def test_of_a_million_spans_a_bounded_number_is_made():
    # Each empty span, and each empty scope of spans, is two bytes here and a hundred in memory.
    spans, others = b"\x12\x00" * 1_000_000, b"\x1a\x00" * 1_000_000
    tracemalloc.start()
    assert read_traces(_nested(1, _nested(2, spans)), spans=True) == ()
    for body in (_nested(1, _nested(2, others)), _nested(1, spans)):
        with pytest.raises(BadUpload, match="too many fields"):
            read_traces(body, spans=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MIB  # these bodies themselves
    assert MOST_SPANS < MOST_FIELDS < 1_000_000


def test_spans_beyond_the_bound_and_spans_too_large_are_left_out():
    many = traces_of(RUN, *[MadeSpan("session_close")] * (MOST_SPANS + 50))
    [facts] = read_traces(many, spans=True)
    assert len(facts.spans) == MOST_SPANS
    large = MadeSpan("session_close", attributes={"x": "y" * MOST_SPAN_BYTES})
    [facts] = read_traces(traces_of(RUN, large, MadeSpan("job_entrypoint")), spans=True)
    assert [span.name for span in facts.spans] == ["job_entrypoint"]


def _nested(number: int, message: bytes) -> bytes:
    """A message in the field with this number of another one."""
    return bytes([number << 3 | 2]) + _varint(len(message)) + message


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a", b"\x0a\x05ab", b"\xff" * 12, b"\x0b\x0c", b"\x09abc", b"\x0d\x01",
        b"\x0a\x04\x12\x02\x12\xff", b"\x0a\x06\x12\x04\x12\x02\x0a\xff",
    ],
)  # fmt: skip
def test_what_is_no_otlp_is_refused(body: bytes):
    for read in (lambda: read_traces(body, spans=True), lambda: read_logs(body, texts=True)):
        try:
            facts = read()
        except BadUpload:
            continue
        assert facts == ()


def test_deep_nesting_is_refused_or_cut():
    deep: dict[str, object] = {"message": {"id": "i"}}
    for _ in range(30):
        deep = {"message": deep}
    body = logs_of(RUN, "chat_history", "chat item", attributes={"chat.item": deep})
    [facts] = read_logs(body, texts=True)
    assert facts.turns == ()
    with pytest.raises(BadUpload):
        read_report(header_of(RUN), b'{"items":' + b"[" * 100_000, texts=True)


def test_a_history_of_too_many_values_is_refused():
    with pytest.raises(BadUpload, match="too many"):
        read_report(header_of(RUN), b'{"items":[' + b"1," * 500_000 + b"1]}", texts=True)


@pytest.mark.parametrize("header", [b"", b"\xff\xff", header_of(RunKey("", "AJ_1"))])
def test_a_report_of_no_run_is_refused(header: bytes):
    with pytest.raises(BadUpload):
        read_report(header, b"", texts=True)


# ---------------------------------------------------------------- the form


def read_form(body: bytes, piece: int = 16_384, boundary: str = BOUNDARY) -> ReportForm:
    read = ReportForm(boundary.encode())
    for start in range(0, len(body), piece):
        read.write(body[start : start + piece])
    read.finish()
    return read


@pytest.mark.parametrize("piece", [1, 7, 16_384])
def test_a_form_is_read_whatever_its_pieces_are(piece: int):
    audio = b"OggS\r\n--" + bytes(range(256)) * 4
    got = bytearray()
    read = ReportForm(BOUNDARY.encode(), got.extend)
    body = report_form(audio)
    for start in range(0, len(body), piece):
        read.write(body[start : start + piece])
    read.finish()
    assert (bytes(read.header), bytes(read.chat_history)) == captured_report()
    assert bytes(got) == audio
    assert read.audio_bytes == len(audio)


def test_a_recording_is_never_in_memory():
    tracemalloc.start()
    read = ReportForm(BOUNDARY.encode())
    head, _, rest = form(("header", b"h"), ("audio", b"@")).partition(b"@")
    read.write(head)
    piece = bytes(64 * 1024)
    for _ in range(1024):
        read.write(piece)
    read.write(rest)
    read.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.audio_bytes == 64 * MIB
    assert peak < 2 * MIB


def test_parts_have_bounds():
    for name, most in (("header", MOST_HEADER), ("chat_history", MOST_HISTORY)):
        with pytest.raises(UploadTooLarge):
            read_form(form((name, bytes(most + 1))))
    with pytest.raises(BadUpload, match="parts"):
        read_form(form(*[("other", b"")] * 20))
    other = read_form(form(("header", b"h"), ("other", bytes(2 * MIB))))
    assert bytes(other.header) == b"h"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"junk", report_form()[:-10], report_form()[:200],
        form(("chat_history", b"{}")),
        report_form().replace(b"Content-Type", b"X" * 5000),
        b"\x00" * 500,
    ],
)  # fmt: skip
def test_what_is_no_whole_form_is_refused(body: bytes, caplog: pytest.LogCaptureFixture):
    with pytest.raises(BadUpload):
        read_form(body)
    assert caplog.records == []  # the parser would log a line for each


def test_only_a_form_has_a_boundary():
    assert boundary_of(f"multipart/form-data; boundary={BOUNDARY}") == BOUNDARY.encode()
    for other in (
        "",
        "multipart/form-data",
        "text/plain; boundary=x",
        "a" * 5000,
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary=",
    ):
        assert boundary_of(other) is None  # fmt: skip


def test_a_file_that_cannot_be_removed_keeps_no_other_one(tmp_path: Path) -> None:
    files = SpanFiles(tmp_path, keep=60.0, most_bytes=MIB)
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "RM_a.AJ_1.jsonl").write_bytes(b"[]\n")
    (folder / "RM_b.AJ_1.jsonl").mkdir()  # It is no file, so it cannot be removed as one.
    os.utime(folder / "RM_a.AJ_1.jsonl", (1.0, 1.0))
    assert files.prune(time.time() + 120) == 1
    assert [one.name for one in folder.iterdir()] == ["RM_b.AJ_1.jsonl"]
