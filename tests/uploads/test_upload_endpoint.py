"""`POST /observability/…` as agents and others use it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

import jwt
import pytest
import trio
from attrs import define, field
from structlog.testing import capture_logs

from bridge.http.server.routes import app
from bridge.http.upload_endpoint import (
    OTLP_LIMIT,
    PATHS,
    REPORT_LIMIT,
    SWITCHED_OFF,
    UploadEndpoint,
)
from bridge.livekit.tokens import LEEWAY
from bridge.uploads import upload_desk
from bridge.uploads.audio_files import AudioFiles, AudioUpload
from bridge.uploads.bounded_gzip import unpacked
from bridge.uploads.report_form import MOST_HEADER
from bridge.uploads.report_reader import audio_run
from bridge.uploads.upload_desk import Upload, UploadDesk
from bridge.uploads.upload_facts import RunFacts, RunKey
from bridge.uploads.upload_reader import UploadReader
from tests.http.site import HANG, Answer, Site, answer_in, open_site, polite, read_all
from tests.uploads.agent_uploads import (
    KEY,
    LOGS,
    METRICS,
    OTHER,
    REPORT,
    RUN,
    TRACES,
    captured,
    form,
    header_of,
    otlp_headers,
    packed,
    report_form,
    report_headers,
    token,
)

MIB = 1024 * 1024


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    with trio.fail_after(HANG):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.01)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@define(eq=False)
class Uploads:
    """A site that takes uploads, and what it read of them."""

    site: Site
    desk: UploadDesk
    audio: AudioFiles
    facts: list[RunFacts]
    forwarded: list[Upload] = field(factory=list[Upload])
    hold: threading.Event = field(factory=threading.Event)
    """Set: uploads are read."""
    clock: float = field(factory=time.time)

    async def send(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        # A path of two slashes alone would name a host.
        url = f"http://{self.site.address}{path}"
        return polite(await self.site.http.post(url, content=body, headers=headers))

    async def read(self) -> None:
        """Wait until everything was read."""
        with trio.fail_after(HANG):
            await self.desk.drained()

    async def begin(self, path: str, *lines: str) -> trio.SocketStream:
        """A connection that has sent the head of an upload with these lines in it."""
        stream = await self.site.open()
        head = [f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]
        await stream.send_all("\r\n".join(head).encode())
        return stream


@pytest.fixture
async def uploads(tmp_path: Path) -> AsyncGenerator[Uploads, None]:
    facts: list[RunFacts] = []
    forwarded: list[Upload] = []
    hold = threading.Event()
    hold.set()
    reader = UploadReader(texts=True)

    def read(upload: Upload) -> tuple[RunFacts, ...]:
        assert hold.wait(HANG)
        return reader(upload)

    audio = AudioFiles(tmp_path, keep=3600.0, most_bytes=10 * MIB)
    desk = UploadDesk(read, facts.append, forwarded.append)
    endpoint = UploadEndpoint(
        KEY, desk, open_sink=lambda: AudioUpload(audio, audio_run), clock=lambda: it.clock
    )
    served = app(endpoint.rows, loopback=True, token="operators only")
    async with open_site(served) as site, trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        it = Uploads(site, desk, audio, facts, forwarded, hold)
        yield it
        hold.set()
        nursery.cancel_scope.cancel()


async def test_the_uploads_of_a_real_agent_are_taken_and_read(uploads: Uploads):
    for path, kind in ((TRACES, "traces"), (LOGS, "logs"), (METRICS, "metrics")):
        for slash, body in zip(("", "/") * 4, captured(kind), strict=False):
            answer = await uploads.send(slash + path, body, otlp_headers())
            assert (answer.status, answer.body) == (200, b"")
            assert answer.headers["content-type"] == "application/x-protobuf"
    assert (await uploads.send(REPORT, report_form(b"OggS" * 500), report_headers())).status == 200
    assert (await uploads.send("/" + REPORT, report_form(), report_headers())).status == 200
    await uploads.read()
    assert uploads.desk.counts == {"traces": 7, "logs": 5, "metrics": 2, "report": 2}
    assert {one.run for one in uploads.facts} == {RUN}
    assert [upload.body for upload in uploads.forwarded] == captured("traces")
    assert (uploads.desk.queued, uploads.desk.receiving) == (0, 0)
    recording = uploads.audio.find(RUN.room_sid, RUN.job_id)
    assert recording is not None
    assert recording.path.read_bytes() == b"OggS" * 500


async def test_a_body_without_gzip_is_taken(uploads: Uploads):
    headers = otlp_headers()
    del headers["content-encoding"]
    assert (await uploads.send(TRACES, unpacked(captured("traces")[0], MIB), headers)).status == 200
    await uploads.read()
    assert uploads.desk.counts == {"traces": 1}


# ---------------------------------------------------------------- who may


async def test_only_an_agent_with_our_key_may_upload(uploads: Uploads):
    now = int(time.time())
    unsigned = jwt.encode({"iss": KEY.key, "exp": now + 60}, None, algorithm="none")
    wrong: list[tuple[int, str]] = [
        (401, ""), (401, "Bearer"), (401, "Basic Zm9v"), (401, token()),
        (401, "Bearer not.a.token"), (401, f"Bearer {unsigned}"),
        (401, f"Bearer {token(OTHER)}"), (401, f"Bearer {token(OTHER, iss=KEY.key)}"),
        (401, f"Bearer {token(iss='APIother')}"), (401, f"Bearer {token(exp=None)}"),
        (401, f"Bearer {token(exp=now - LEEWAY - 5)}"), (401, f"Bearer {token(nbf=now + 3600)}"),
        (401, f"Bearer {token(exp='soon')}"), (401, f"Bearer {token(nbf=10**400)}"),
        (403, f"Bearer {token(observability=None)}"), (403, f"Bearer {token(observability='x')}"),
        (403, f"Bearer {token(observability={'write': False})}"),
        (403, f"Bearer {token(observability={'write': 'true'})}"),
        (403, f"Bearer {token(observability=None, video={'roomAdmin': True})}"),
    ]  # fmt: skip
    with capture_logs() as logs:
        for status, authorization in wrong:
            headers = {**otlp_headers(), "authorization": authorization}
            answer = await uploads.send(TRACES, b"never read", headers)
            assert answer.problem["status"] == status, authorization
        assert (
            await uploads.send(REPORT, b"never read", {**report_headers(), "authorization": ""})
        ).status == 401
    assert uploads.desk.counts == {"refused": len(wrong) + 1}
    assert [line["event"] for line in logs] == ["upload_refused"]
    good = {**otlp_headers(), "authorization": f"bearer {token(exp=now - 5)}"}
    assert (await uploads.send(TRACES, captured("traces")[0], good)).status == 200


async def test_where_uploads_are_not_wanted_an_agent_is_asked_to_stop():
    async with open_site(app(UploadEndpoint(KEY, None).rows, loopback=True)) as site:
        for path in PATHS:
            for slash in ("", "/"):
                answer = polite(await site.http.post(f"http://{site.address}{slash}{path}"))
                assert answer.status == 401
                # The agent looks for these words in the body.
                assert SWITCHED_OFF.encode() in answer.body.lower()
                assert answer.problem["detail"] == "data recording is disabled"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "status, changed",
    [
        (415, {"content-type": "application/json"}),
        (415, {"content-encoding": "zstd"}),
        (415, {"content-encoding": "gzip, gzip"}),
    ],
)
async def test_another_form_is_refused(uploads: Uploads, status: int, changed: dict[str, str]):
    headers = {**otlp_headers(), **changed}
    assert (await uploads.send(TRACES, b"x", headers)).status == status
    assert uploads.desk.counts == {"refused": 1}


async def test_a_gigabyte_is_refused_declared_or_streamed(uploads: Uploads):
    for path, headers in ((TRACES, otlp_headers()), (REPORT, report_headers())):
        lines = [f"{name}: {value}" for name, value in headers.items()]
        stream = await uploads.begin(path, *lines, f"content-length: {1024**3}")
        async with stream:
            assert answer_in(await read_all(stream)).status == 413
    # Streamed: no length is said, and the bound is met on the way.
    lines = [f"{name}: {value}" for name, value in otlp_headers().items()]
    stream = await uploads.begin(TRACES, *lines, "transfer-encoding: chunked")
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    async with stream:
        with suppress(trio.BrokenResourceError):  # it is not read to its end
            for _ in range(2 * OTLP_LIMIT // 65_536):
                await stream.send_all(chunk)
    await until(lambda: not uploads.desk.receiving and uploads.desk.counts["refused"] == 3)
    assert uploads.desk.counts == {"refused": 3}
    assert REPORT_LIMIT < 1024**3


@pytest.mark.parametrize(
    "status, body",
    [
        (400, b"junk"),
        (400, report_form()[:-20]),
        (413, form(("header", bytes(MOST_HEADER + 1)))),
    ],
)
async def test_a_bad_form_is_refused_and_leaves_nothing(
    uploads: Uploads, status: int, body: bytes, tmp_path: Path
):
    body = body.replace(b'name="chat_history"', b'name="audio"')
    assert (await uploads.send(REPORT, body, report_headers())).problem["status"] == status
    assert uploads.desk.counts == {"refused": 1}
    assert files_in(tmp_path) == []


async def test_an_upload_that_is_cut_short_leaves_nothing(uploads: Uploads, tmp_path: Path):
    lines = [f"{name}: {value}" for name, value in report_headers().items()]
    stream = await uploads.begin(REPORT, *lines, "content-length: 2000000")
    await stream.send_all(report_form(bytes(MIB))[: MIB // 2])
    await stream.aclose()
    await until(lambda: uploads.desk.counts["refused"] == 1 and not files_in(tmp_path))
    assert uploads.desk.receiving == 0


# ---------------------------------------------------------------- floods


async def test_junk_is_answered_counted_and_read_as_nothing(uploads: Uploads):
    with capture_logs() as logs:
        for body in (
            b"",
            b"junk",
            packed(b"<script>alert(1)</script>"),
            captured("traces")[0][:99],
        ):
            assert (await uploads.send(TRACES, body, otlp_headers())).status == 200
        wrong = report_form(header=b"\xff" * 90)
        assert (await uploads.send(REPORT, wrong, report_headers())).status == 200
        await uploads.read()
    assert uploads.desk.counts == {"unreadable": 5}
    assert uploads.facts == []
    assert [line["event"] for line in logs] == ["upload_unreadable"]
    assert "script" not in repr(logs)


async def test_an_answer_never_waits_for_the_reading(uploads: Uploads):
    uploads.hold.clear()
    for body in captured("traces") * 3:
        assert (await uploads.send(TRACES, body, otlp_headers())).status == 200
    assert uploads.desk.counts == {}
    assert uploads.desk.queued == 3 * sum(map(len, captured("traces")))
    uploads.hold.set()
    await uploads.read()
    assert uploads.desk.counts == {"traces": 21}


async def test_beyond_the_queue_an_upload_is_answered_and_dropped(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upload_desk, "MOST_QUEUED", 2 * MIB)
    uploads.hold.clear()
    body = bytes(MIB * 9 // 10)
    with capture_logs() as logs:
        for _ in range(6):
            assert (await uploads.send(LOGS, body, otlp_headers())).status == 200
    assert uploads.desk.queued == 2 * len(body)
    assert uploads.desk.counts == {"dropped": 4}
    assert [line["event"] for line in logs] == ["uploads_dropped"]
    uploads.hold.set()
    await uploads.read()
    assert uploads.desk.counts == {"dropped": 4, "unreadable": 2}


async def test_bodies_that_are_coming_in_share_a_bound(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upload_desk, "MOST_RECEIVING", MIB)
    lines = [f"{name}: {value}" for name, value in otlp_headers().items()]
    half = MIB // 2
    slow: list[trio.SocketStream] = []
    for _ in range(2):
        slow.append(await uploads.begin(TRACES, *lines, f"content-length: {half}"))
        await slow[-1].send_all(bytes(half - 1))
        await until(lambda: uploads.desk.receiving == len(slow) * (half - 1))
    assert (await uploads.send(TRACES, bytes(half), otlp_headers())).status == 200
    assert uploads.desk.counts == {"dropped": 1}
    assert uploads.desk.receiving == 2 * (half - 1)
    for stream in slow:
        async with stream:
            await stream.send_all(b"x")
            await stream.send_eof()
            assert answer_in(await read_all(stream)).status == 200
    await uploads.read()
    assert uploads.desk.counts == {"dropped": 1, "unreadable": 2}
    assert uploads.desk.receiving == 0


async def test_a_fault_of_ours_does_not_end_the_reading():
    def read(upload: Upload) -> tuple[RunFacts, ...]:
        raise ZeroDivisionError("a secret of a participant")

    desk = UploadDesk(read, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        with capture_logs() as logs:
            for _ in range(3):
                desk.take(Upload("logs", b"x"))
            await desk.drained()
        nursery.cancel_scope.cancel()
    assert desk.counts == {"failed": 3}
    assert "secret" not in repr(logs)


async def test_a_recording_of_a_redacted_run_or_with_a_strange_id_is_not_kept(
    uploads: Uploads, tmp_path: Path
):
    for header in (
        header_of(RUN, redacted=True),
        header_of(RunKey("../../etc", "passwd")),
        header_of(RunKey("RM_1", "a/b")),
        header_of(RunKey("RM.1", "AJ_1")),
    ):
        body = report_form(b"OggS" * 100, header=header)
        assert (await uploads.send(REPORT, body, report_headers())).status == 200
    assert files_in(tmp_path) == []


def test_opentelemetry_is_not_imported_before_an_upload_comes():
    code = (
        "import sys, bridge.http.upload_endpoint, bridge.uploads.upload_reader; "
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
