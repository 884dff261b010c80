"""A watch over the videos of a monitored person: they move while counts of their frames grow.

The counts are of one track since its subscription.  A count that goes down is of a new
subscription.  A track without a count was not measured, which says nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from actors.monitoring.monitor_notes import LogNote, Note
from actors.monitoring.monitor_state import Monitor, WatchedVideo

STILL_AFTER: Final = 10.0
"""Seconds without a frame after which a video stands still."""


def with_frames(
    monitor: Monitor, frames: Mapping[str, int], at: float
) -> tuple[Monitor, tuple[Note, ...]]:
    """The monitor after a measure at `at` (Unix seconds): frames by SID of the track."""
    if monitor.over or not monitor.present:
        return monitor, ()
    videos, notes = dict[str, WatchedVideo](), list[Note]()
    total = monitor.frames_total
    for sid in sorted(monitor.videos):
        before, count = monitor.watched_videos.get(sid), frames.get(sid)
        if before is None or count is None:
            video = before or WatchedVideo(count or 0, at, at)
            videos[sid] = evolve(video, moved_at=at, measured_at=at)
            continue
        videos[sid] = _measured(before, count, at, notes)
        total += max(0, count - before.frames)
    return evolve(monitor, watched_videos=videos, frames_total=total), tuple(notes)


def _measured(before: WatchedVideo, count: int, at: float, notes: list[Note]) -> WatchedVideo:
    moved = count - before.frames
    if moved == 0:
        still = at - before.moved_at > STILL_AFTER
        if still and not before.still:
            seconds = round(at - before.moved_at, 1)
            notes.append(LogNote("monitored_video_still", {"seconds": seconds}))
        return evolve(before, still=still, measured_at=at, fps=0.0)
    if before.still:
        seconds = round(at - before.moved_at, 1)
        notes.append(LogNote("monitored_video_moves", {"seconds": seconds}))
    took = at - before.measured_at
    fps = round(moved / took, 1) if moved > 0 and took > 0 else None
    return WatchedVideo(count, at, at, fps)
