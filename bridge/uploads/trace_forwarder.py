"""Passes bodies of traces on to an OTLP collector (`--otlp-forward`), as they came.

The agent's answer never waits for it: bodies wait in a bounded queue, and beyond it they are
dropped and counted.  A collector that fails is tried again a few times.  Its answers are not read.
"""

from __future__ import annotations

import ssl
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

import structlog
import trio

from bridge.outlets.endpoint_url import EndpointUrl
from bridge.uploads.upload_desk import LOG_AGAIN, Upload

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger()

MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes of bodies that wait."""
DEADLINE: Final = 10.0
"""Seconds for one attempt."""
PAUSES: Final = (1.0, 5.0)
"""Seconds before the second and the third attempt; then a body is given up."""
RETRIED: Final = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP asks a client to try again."""
TRACES: Final = "/v1/traces"
"""Where a collector takes traces, after its URL."""

ForwardOutcome: TypeAlias = Literal["forwarded", "dropped", "failed"]


@final
class TraceForwarder:
    """The queue, and the service `run` that sends it."""

    def __init__(self, url: EndpointUrl) -> None:
        self.counts: Counter[ForwardOutcome] = Counter()
        scheme, target = ("https" if url.secure else "http"), url.target.rstrip("/")
        path = target if target.endswith(TRACES) else target + TRACES
        self._url = f"{scheme}://{url.authority}{path}"
        self._secure, self._shown = url.secure, url.shown
        self._waiting: deque[Upload] = deque()
        self._bytes = 0
        self._work = trio.Event()
        self._logged_at = float("-inf")

    def take(self, upload: Upload) -> None:
        """Queue a body of traces.  Never waits, never raises."""
        if self._bytes + upload.size > MOST_WAITING:
            self.counts["dropped"] += 1
            self._say("the collector is too slow")
            return
        self._bytes += upload.size
        self._waiting.append(upload)
        self._work.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while not self._waiting:
            self._work = trio.Event()
            await self._work.wait()
        import httpx2

        async with httpx2.AsyncClient(
            timeout=None,  # one deadline around the whole call instead
            verify=ssl.create_default_context() if self._secure else False,
            trust_env=False,
        ) as http:
            while True:
                while self._waiting:
                    await self._send(http, self._waiting[0])
                    self._bytes -= self._waiting.popleft().size
                self._work = trio.Event()
                await self._work.wait()

    async def _send(self, http: httpx2.AsyncClient, upload: Upload) -> None:
        status: int | None = None
        for pause in (0.0, *PAUSES):
            await trio.sleep(pause)
            status = await self._post(http, upload)
            if status is not None and status not in RETRIED:
                break
        if status is not None and 200 <= status < 300:
            self.counts["forwarded"] += 1
        else:
            self.counts["failed"] += 1
            self._say("no answer" if status is None else f"status {status}")

    async def _post(self, http: httpx2.AsyncClient, upload: Upload) -> int | None:
        """The status of the answer; None without one."""
        import httpx2

        headers = {"content-type": "application/x-protobuf"}
        if upload.packed:
            headers["content-encoding"] = "gzip"
        try:
            with trio.fail_after(DEADLINE):
                async with http.stream(
                    "POST", self._url, content=upload.body, headers=headers
                ) as response:
                    return response.status_code
        except (trio.TooSlowError, httpx2.HTTPError, OSError):
            return None

    def _say(self, error: str) -> None:
        now = trio.current_time()
        if now - self._logged_at >= LOG_AGAIN:
            self._logged_at = now
            log.warning(
                "traces_not_forwarded",
                collector=self._shown,
                error=error,
                dropped=self.counts["dropped"],
                failed=self.counts["failed"],
            )
