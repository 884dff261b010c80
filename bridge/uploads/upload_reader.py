"""Reads one upload, in a thread.

What it needs is imported with the first upload: OpenTelemetry's protobufs are 0.4 MiB and 8 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from attrs import evolve, frozen

from bridge.uploads.bounded_gzip import BadUpload, unpacked
from bridge.uploads.upload_desk import MOST_UNPACKED, Upload

if TYPE_CHECKING:
    from bridge.uploads.span_files import SpanFiles
    from bridge.uploads.upload_facts import RunFacts


@final
@frozen
class UploadReader:
    """The readers of uploads."""

    texts: bool = False
    """Texts are read.  Whether they are kept is decided where the room is known."""
    spans: SpanFiles | None = None
    """Gets the spans, without content; None where none are kept."""

    def __call__(self, upload: Upload) -> tuple[RunFacts, ...]:
        """Raises `BadUpload`."""
        body = unpacked(upload.body, MOST_UNPACKED) if upload.packed else upload.body
        if len(body) > MOST_UNPACKED:
            raise BadUpload("it is too large")
        match upload.kind:
            case "traces":
                from bridge.uploads.trace_reader import read_traces

                runs = read_traces(body, spans=self.spans is not None)
                if self.spans is not None:
                    for run_facts in runs:
                        self.spans.write(run_facts)
                return tuple(evolve(run_facts, spans=()) for run_facts in runs)
            case "logs":
                from bridge.uploads.log_reader import read_logs

                return read_logs(body, texts=self.texts)
            case "report":
                from bridge.uploads.report_reader import read_report

                return (read_report(body, upload.chat_history, texts=self.texts),)
            case "metrics":
                return ()
