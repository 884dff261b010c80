"""Uploads of agents: the captured ones of a real agent, and made ones, good and hostile."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jwt
from attrs import frozen
from livekit.protocol.metrics import MetricsRecordingHeader
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bridge.livekit.tokens import ApiKey
from bridge.uploads.upload_facts import RunKey

KEY = ApiKey("APIabcdef", "a-secret-of-at-least-thirty-two-bytes-as-those-of-LiveKit-are")
OTHER = ApiKey("APIother", "another-secret-of-at-least-thirty-two-bytes-and-not-ours")
CAPTURED = Path(__file__).parent / "captured"
RUN = RunKey("RM_PCVHTzyLRvcz", "AJ_f3uGrrFiUzPx")
"""The run of the captured uploads."""

TRACES = "/observability/traces/otlp/v0"
LOGS = "/observability/logs/otlp/v0"
METRICS = "/observability/metrics/otlp/v0"
REPORT = "/observability/recordings/v0"
BOUNDARY: Final = "3d60f512b1fb4a96804004f03bca4e74"


def captured(kind: str) -> list[bytes]:
    """The bodies of this kind as they came, in order; gzip."""
    return [path.read_bytes() for path in sorted(CAPTURED.glob(f"{kind}-*.gz"))]


def captured_report() -> tuple[bytes, bytes]:
    """The header and the chat history."""
    return (
        (CAPTURED / "report-header.binpb").read_bytes(),
        (CAPTURED / "report-chat-history.json").read_bytes(),
    )


def token(key: ApiKey = KEY, *, at: float | None = None, **claims: Any) -> str:
    """The token of an agent.  `claims` replace its own, None takes one out."""
    now = int(time.time() if at is None else at)
    ours = {
        "observability": {"write": True}, "sub": "", "iss": key.key, "nbf": now,
        "exp": now + 21_600,
    }  # fmt: skip
    shown = {name: value for name, value in {**ours, **claims}.items() if value is not None}
    return jwt.encode(shown, key.secret, algorithm="HS256")


def otlp_headers(key: ApiKey = KEY, **claims: Any) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token(key, **claims)}",
        "content-type": "application/x-protobuf",
        "content-encoding": "gzip",
    }


def report_headers(key: ApiKey = KEY, **claims: Any) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token(key, **claims)}",
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
    }


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form as aiohttp's client writes it."""
    body = bytearray()
    for name, data in parts:
        body += (
            f"--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="{name}.bin"\r\n'
            f"Content-Length: {len(data)}\r\n\r\n"
        ).encode()
        body += data + b"\r\n"
    return bytes(body + f"--{BOUNDARY}--\r\n".encode())


def report_form(audio: bytes = b"", *, header: bytes | None = None) -> bytes:
    """The captured report as it came; its header replaced, if `header` is given."""
    captured_header, history = captured_report()
    parts = [("header", header or captured_header), ("chat_history", history)]
    return form(*parts, *([("audio", audio)] if audio else ()))


def header_of(run: RunKey, *, redacted: bool = False, **summary: Any) -> bytes:
    header = MetricsRecordingHeader(
        room_id=run.room_sid,
        job_id=run.job_id,
        redaction_enabled=redacted,
        duration=30_000,
        session_summary=json.dumps(summary),
    )
    header.start_time.FromMilliseconds(1_795_998_837_948)
    return header.SerializeToString()


def history_of(items: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"items": items}).encode()


def value_of(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case dict():
            map_value = AnyValue()
            map_value.kvlist_value.values.extend(attributes_of(value))
            return map_value
        case _:
            return AnyValue(string_value=str(value))


def attributes_of(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in values.items()]


@frozen
class MadeSpan:
    name: str
    begin: float = 100.0
    end: float = 101.0
    failed: bool = False
    attributes: Mapping[str, Any] = {}


def traces_of(run: RunKey, *spans: MadeSpan, resource: RunKey | None = None) -> bytes:
    """Unpacked traces, with the ids on each span; the resource may have those of another job."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    of_resource = resource or run
    resource_spans.resource.attributes.extend(
        attributes_of({"room_id": of_resource.room_sid, "job_id": of_resource.job_id})
    )
    scope = resource_spans.scope_spans.add()
    for number, one in enumerate(spans):
        span = scope.spans.add()
        span.CopyFrom(
            Span(
                trace_id=b"t" * 16,
                span_id=number.to_bytes(8, "big"),
                name=one.name,
                start_time_unix_nano=int(one.begin * 1e9),
                end_time_unix_nano=int(one.end * 1e9),
            )
        )
        span.status.code = Status.STATUS_CODE_ERROR if one.failed else Status.STATUS_CODE_OK
        ids = {"room_id": run.room_sid, "job_id": run.job_id}
        span.attributes.extend(attributes_of({**ids, **one.attributes}))
    return request.SerializeToString()


def logs_of(
    run: RunKey,
    scope: str,
    body: str,
    *,
    severity: int = 0,
    attributes: Mapping[str, Any] | None = None,
) -> bytes:
    """Unpacked logs of one record."""
    request = ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = scope
    record = scope_logs.log_records.add()
    record.body.string_value = body
    record.severity_number = severity  # pyright: ignore[reportAttributeAccessIssue]
    ids = {"room_id": run.room_sid, "job_id": run.job_id}
    record.attributes.extend(attributes_of({**ids, **(attributes or {})}))
    return request.SerializeToString()


def packed(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)
