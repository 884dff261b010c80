"""Spans of agents without content, as files in the data directory, with bounds of age and size.

One file a run, `RM_x.AJ_y.jsonl`: a line for each batch of spans.  A file that has reached
`MOST_RUN_BYTES` takes no more.  Everything here is for a thread of the caller.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
from attrs import frozen

from bridge.uploads.audio_files import erase_files, prune_files
from bridge.uploads.upload_facts import RunFacts, UploadedSpan

log = structlog.get_logger()

FOLDER: Final = "agent-spans"
"""In the data directory."""
MOST_RUN_BYTES: Final = 4 * 1024 * 1024
"""Of one run: an hour and a half of dense talk."""
MOST_READ: Final = 20_000
"""Spans of one run that are read."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_decode_spans: Final = msgspec.json.Decoder(list[UploadedSpan]).decode


@frozen
class SpanFiles:
    """The spans of one data directory."""

    data_dir: Path
    keep: float
    """Seconds after its last span for which a run's spans are kept."""
    most_bytes: int
    """Of all files together."""

    def write(self, run_facts: RunFacts) -> bool:
        """Add the spans of a batch.  False where they are not kept; never raises."""
        path = self._path(run_facts.run.room_sid, run_facts.run.job_id)
        if path is None or not run_facts.spans:
            return False
        line = msgspec.json.encode(run_facts.spans) + b"\n"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                if file.tell() + len(line) > MOST_RUN_BYTES:
                    return False
                file.write(line)
        except OSError as error:
            log.warning("agent_spans_not_written", error=error.strerror or "it failed")
            return False
        return True

    def read(self, room_sid: str, job_id: str) -> list[UploadedSpan]:
        """The spans of a run in the order of their begins, each once: an agent sends a batch again
        whose answer it did not get."""
        path = self._path(room_sid, job_id)
        spans: dict[tuple[str, str], UploadedSpan] = {}
        if path is None:
            return []
        with suppress(OSError), path.open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError):  # a line that was cut by a full disk
                    spans |= {(one.trace_id, one.span_id): one for one in _decode_spans(line)}
                if len(spans) > MOST_READ:
                    break
        return sorted(spans.values(), key=lambda one: one.started_at)[:MOST_READ]

    def prune(self, now: float) -> int:
        """Remove what is older than `keep`, and the oldest beyond `most_bytes`.  Gives the number
        of files.  `now`: Unix seconds."""
        folder = self.data_dir / FOLDER
        return prune_files(folder, "*.jsonl", now, self.keep, self.most_bytes)

    def _path(self, room_sid: str, job_id: str) -> Path | None:
        if not (_ID.fullmatch(room_sid) and _ID.fullmatch(job_id)):
            return None
        return self.data_dir / FOLDER / f"{room_sid}.{job_id}.jsonl"


def erase_spans(data_dir: Path, room_sids: frozenset[str]) -> int:
    """Remove the spans of these room instances.  Gives the number of files."""
    return erase_files(data_dir / FOLDER, "*.jsonl", room_sids)
