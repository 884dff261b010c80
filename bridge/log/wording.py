"""The words of the text log.

A line is for a person, and for scripts that search for the wording that `docs/contract.md`
promises; the JSON log is for machines.  An event of the table has the text of its template.  Any
other event is `event key=value`, with its level before it from warning upwards.

A template is a format string over the event's fields, or a function of them.  The fields of a
format string are made harmless as they are put in (`bridge.output.harmless`) and are `-` where they
are missing.  A function gets the raw fields and must do both.  A template with several lines makes
several lines of the log, so no field may bring a newline in: a test gives hostile values to each.

A line of a session that does not name its room ends in ` room=NAME`, and that of a leave in
` room=NAME reason=REASON`, because the lines of many rooms are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from actors.session.texts import length_before_cut
from bridge.output.durations import go_duration
from bridge.output.harmless import harmless
from bridge.output.text import BODY_LIMIT, compact_json, key_values, plain

Raw: TypeAlias = Mapping[str, Any]
Template: TypeAlias = "str | Callable[[Raw], str]"


class _Shown(dict[str, str]):
    """Fields as a format string takes them, each made harmless when it is asked for."""

    def __init__(self, raw: Raw) -> None:
        super().__init__()
        self._raw = raw

    def __missing__(self, key: str) -> str:
        value = self._raw.get(key)
        return "-" if value is None else harmless(plain(value))


def _metadata(raw: Raw) -> str:
    metadata = plain(raw.get("metadata") or "")
    identity = harmless(plain(raw.get("identity")))
    if not metadata:
        return f"Participant metadata cleared: {identity}"
    before_cut = length_before_cut(metadata)
    if before_cut is not None:
        return f"Participant metadata of {identity} is too long to show: {before_cut}"
    as_json = compact_json(metadata)
    if as_json is None:
        size = len(metadata.encode(errors="surrogatepass"))
        return f"Participant metadata of {identity} is not JSON: {size} bytes"
    return f"Participant metadata: {harmless(as_json, BODY_LIMIT)}"


def _room_metadata(raw: Raw) -> str:
    metadata = plain(raw.get("metadata") or "")
    return f"Room metadata changed: {harmless(compact_json(metadata) or metadata, BODY_LIMIT)}"


MESSAGE_FORMATS: Final = {"json": "JSON", "text": "text", "binary": "binary data"}


def _data_message(raw: Raw) -> str:
    """The content is there only with `--log-payloads`."""
    sender = raw.get("identity")
    start = "Data message from " + ("(unknown)" if sender is None else harmless(plain(sender)))
    content = raw.get("content")
    if content is not None:
        content = plain(content)
        return f"{start}: {harmless(compact_json(content) or content, BODY_LIMIT)}"
    form = MESSAGE_FORMATS.get(plain(raw.get("format")), "data")
    topic = plain(raw.get("topic") or "")
    on_topic = f", {key_values({'topic': topic})}" if topic else ""
    return f"{start}: {_plain(raw, 'size')} bytes of {form}{on_topic}"


def _attachment(raw: Raw) -> str:
    sender = raw.get("identity")
    who = "(unknown)" if sender is None else harmless(plain(sender))
    topic = plain(raw.get("topic") or "")
    on_topic = f", {key_values({'topic': topic})}" if topic else ""
    return f"Attachment from {who}: {_plain(raw, 'size')} bytes{on_topic}"


_RIGHTS: Final = {
    "can_publish": "publish",
    "can_subscribe": "subscribe",
    "can_publish_data": "send data",
}


def _permissions(raw: Raw) -> str:
    may = [what for key, what in _RIGHTS.items() if raw.get(key)]
    sources = [harmless(plain(source)) for source in raw.get("sources") or ()]
    only = f" (only {', '.join(sources)})" if sources and raw.get("can_publish") else ""
    identity = harmless(plain(raw.get("identity")))
    return f"Participant permissions changed: {identity} may {', '.join(may) or 'do nothing'}{only}"


def _recording_ended(raw: Raw) -> str:
    line = f"Recording ended: {_plain(raw, 'kind')} ({_plain(raw, 'id')}) {_plain(raw, 'status')}"
    more = {key: raw.get(key) for key in ("error", "file") if raw.get(key)}
    return f"{line}, {key_values(more)}" if more else line


def _alert(raw: Raw) -> str:
    more = {key: raw.get(key) for key in ("on", "text") if raw.get(key)}
    line = f"Alert: {_plain(raw, 'rule')}"
    return f"{line}, {key_values(more)}" if more else line


def _act(raw: Raw) -> str:
    more = {key: raw.get(key) for key in ("on", "result") if raw.get(key)}
    line = f"Rule {_plain(raw, 'rule')}: {_plain(raw, 'act')}"
    return f"{line}, {key_values(more)}" if more else line


def _plain(raw: Raw, key: str) -> str:
    value = raw.get(key)
    return "-" if value is None else harmless(plain(value))


def _attributes(raw: Raw) -> str:
    changed = raw.get("changed")
    pairs = key_values(changed) if isinstance(changed, Mapping) else harmless(plain(changed))
    return f"Participant attributes changed: {harmless(plain(raw.get('identity')))} {pairs}"


def _speakers(raw: Raw) -> str:
    who = ", ".join(harmless(plain(identity)) for identity in raw.get("identities") or ())
    return f"Active speakers: {who or 'nobody'}"


UNKNOWN: Final = "unknown"
"""Instead of a number of messages: all of them are encrypted."""


def _numbers(raw: Raw) -> str:
    messages = raw.get("messages", 0)
    return (
        f"Participants: {raw.get('participants', 0)}, Tracks: {raw.get('tracks', 0)}, "
        f"Messages: {UNKNOWN if messages is None else messages}, "
        f"Duration: {go_duration(raw.get('duration') or 0.0)}"
    )


def _room(raw: Raw) -> str:
    return harmless(plain(raw.get("room")))


def _summary(raw: Raw) -> str:
    messages = raw.get("messages", 0)
    return "\n".join(
        (
            "=== Final Summary ===",
            f"Total rooms monitored: {raw.get('rooms', 0)}",
            f"Total participants: {raw.get('participants', 0)}",
            f"Total tracks: {raw.get('tracks', 0)}",
            f"Total data messages: {UNKNOWN if messages is None else messages}",
            f"Total monitoring time: {go_duration(raw.get('duration') or 0.0)}",
            "====================",
        )
    )


def _monitoring_summary(raw: Raw) -> str:
    lines = ["=== Participant Monitoring Summary ==="]
    for one in raw.get("participants") or ():
        lines += (
            f"Participant: {harmless(plain(one['identity']))}",
            f"  Session Duration: {go_duration(one['duration'])}",
            f"  Speaking Time: {go_duration(one['speaking'])}",
            f"  Track Count: {one['tracks']}",
            f"  Final Quality: {one['quality'] or UNKNOWN}",
        )
    if raw.get("others"):
        lines.append(f"and {raw['others']} before")
    return "\n".join((*lines, "====================================="))


SESSION_LINES: Final[Mapping[str, Template]] = {
    "session_started": "Session started for room: {room} (SID: {room_sid})",
    "participant_found": "Found existing participant: {identity}",
    "participant_connected": "Participant connected: {identity} (SID: {sid})",
    "participant_disconnected": "Participant disconnected: {identity}",
    "participant_metadata": _metadata,
    "participant_name": "Participant name changed: {identity} is now {name}",
    "participant_attributes": _attributes,
    "participant_permissions": _permissions,
    "track_published": "Track published: {source} {kind} by {identity} (SID: {sid})",
    "track_unpublished": "Track unpublished: {sid} by {identity}",
    "track_muted": "Track muted: {sid} by {identity}",
    "track_unmuted": "Track unmuted: {sid} by {identity}",
    "track_subscribed": "Successfully subscribed to track: {sid}",
    "track_subscription_failed": "Could not subscribe to track: {sid} by {identity}: {error}",
    "data_track_published": "Data track published by {identity} (SID: {sid})",
    "data_track_unpublished": "Data track unpublished: {sid} by {identity}",
    "data_message": _data_message,
    "attachment": _attachment,
    "messages_thinned": "Data messages that came too fast, only counted: {count}",
    "attachments_thinned": "Attachments that came too fast, only counted: {count}",
    "changes_overtaken": "Changes that came too fast, only the latest are recorded: {count}",
    "quality_changed": "Connection quality changed for {sid}: {quality}",
    "speakers_changed": _speakers,
    "audio_changed": "Audio of {identity} is {audio} now (SID: {sid})",
    "room_metadata": _room_metadata,
    "room_recording": lambda raw: (
        f"Room {'is' if raw.get('active') else 'is no longer'} being recorded"
    ),
    "reconnecting": "Connection to room lost, reconnecting: {room}",
    "reconnected": "Reconnected to room: {room} (after {gap} s)",
    "suspended": "The process was suspended, room not watched: {room} (for {gap} s)",
    "session_ended": "Analytics session ended for room: {room}",
    "alert_firing": _alert,
    "alert_resolved": "Alert resolved: {rule} (after {seconds} s)",
    "act_done": _act,
    "act_failed": _act,
    "participant_left_at": "Time of leaving corrected: {identity} (SID: {sid})",
    "participant_connection_aborted": "Participant could not connect: {identity} (SID: {sid})",
    "room_ended": "Room had ended: {room}",
    "recording_started": "Recording started: {kind} ({id})",
    "recording_ended": _recording_ended,
    "recording_requested": "Recording wanted by rule {rule}",
    "recording_failed": "Recording wanted by rule {rule} did not start: {error}",
    "recording_lost": "Nobody records although LiveKit says so: {kind} ({id});"
    " its egress worker may have died",
    "recording_resumed": "Recorded again: {kind} ({id})",
    "agent_joined": "Agent joined: {agent} as {identity}",
    "agent_state": "Agent {identity} is {state}",
    "agent_turn": "Turn of {role} with {identity}: {seconds} s (delay {delay} s)",
    "agent_tool_call": "Tool {tool} called by {identity}: {result} ({seconds} s)",
    "agent_error": "Agent {identity} reported an error: {error} of {label}",
    "agent_problem": "WARNING: Agent {agent} is {problem} ({seconds} s)",
    "agent_recovered": "Agent {agent} is no longer {problem} ({seconds} s)",
    "agent_ended": "Agent ended: {agent} as {identity} ({end})",
}
"""One for every entry of a session (`actors.session.timeline_entry.ENTRY_KEYS`)."""

MONITORING_LINES: Final[Mapping[str, Template]] = {
    "monitor_started": (
        "Starting monitoring for participant: {identity} in room: {room} (Job ID: {job_id})"
    ),
    "monitor_created": "Created monitoring session for {identity} in room {room}",
    "monitor_refused": (
        "Monitoring refused for participant: {identity} in room: {room} (Job ID: {job_id}): {error}"
    ),
    "monitor_ended": "Monitoring ended for participant: {identity}",
    "monitor_message_failed": "Messages of the monitor of {identity} are not sent: {error}",
    "monitored_connected": "Target participant connected: {identity}",
    "monitored_disconnected": "Target participant disconnected: {identity}",
    "monitored_track_published": "Track published by {identity}: {sid} ({kind})",
    "monitored_track_unpublished": "Track unpublished by {identity}: {sid}",
    "monitored_audio_started": "Starting audio monitoring for {identity}",
    "monitored_video_started": "Starting video monitoring for {identity}",
    "monitored_video_rate": "Video FPS for {identity}: {fps}",
    "monitored_video_still": "WARNING: No video frames received from {identity} for >10s",
    "monitored_video_moves": "Video frames received from {identity} again, after {seconds} s",
    "monitored_speaking": "Participant {identity} started speaking",
    "monitored_silent": "Participant {identity} stopped speaking",
    "monitored_inactive": "Participant {identity} is inactive, for {seconds} s so far",
    "monitored_active_again": "Participant {identity} is active again, after {seconds} s",
    "monitored_quality_poor": "WARNING: Poor connection quality for participant {identity}",
    "monitored_quality_recovered": "Connection quality recovered for participant {identity}",
    "monitored_long_session": lambda raw: (
        f"INFO: Long session detected for {_plain(raw, 'identity')}: "
        f"{go_duration(raw.get('seconds') or 0.0)}"
    ),
}
"""One for every event of one monitor (`actors.monitoring`)."""

ANNOUNCEMENT_LINES: Final[Mapping[str, Template]] = {
    "announcement_published": "Successfully published audio track: {track}",
    "announcement_spoken": "Speaking text: {text}",
    "announcement_played": "Playing an audio file",
    "announcement_ended": "Publishing ended for room: {room}",
    "announcement_failed": "Announcement in room {room} failed: {error}",
    "media_publishing_started": (
        "Starting media publishing for room: {room} (Job ID: {job_id}, Mode: {mode})"
    ),
    "media_track_published": "Successfully published {kind} track: {track}",
    "media_video_streams": "Streaming video frames at {fps}fps with {pattern} pattern",
    "media_command_received": "Received message type: {type} from {identity}",
    "media_command_refused": "Command refused from {identity}",
    "media_message_failed": "A message of the media publisher in room {room} failed: {error}",
    "media_publishing_ended": "Publishing ended for room: {room}",
    "media_publishing_failed": "Media publishing in room {room} failed: {error}",
}
"""Of announcements (`actors.publishing`)."""

WORKER_LINES: Final[Mapping[str, Template]] = {
    "monitoring_agent_started": "Starting participant monitoring agent...",
    "media_agent_started": "Starting media publisher agent...",
    "monitoring_report": (
        "Monitoring Report - Active: {active}, Speaking: {speaking}, Poor Quality: {poor}"
    ),
    "monitoring_summary": _monitoring_summary,
    "outlet_acquired": "This worker delivers the webhooks of {outlet}",
    "outlet_lost": "Another worker delivers the webhooks of {outlet} now",
    "outlet_trouble": "Webhooks of {outlet} do not arrive: {error}; they wait",
    "outlet_well_again": "Webhooks of {outlet} arrive again",
    "outlet_disabled": "Webhooks of {outlet} are disabled: {reason};"
    " `room-actors outbox enable` sends them again",
    "outlet_enabled": "Webhooks of {outlet} are enabled again",
    "outlet_behind": "Webhooks of {outlet}: events may be missing, because they were no longer"
    " stored",
    "outlet_cursor_lost": "Webhooks of {outlet} begin anew: what was stored of it is not readable",
    "outbox_trouble": "The outbox cannot be written: {error}; webhooks of {outlet} wait",
    "outbox_full": "The outbox is full: {dropped} webhooks of {outlet} were dropped",
    "delivery_given_up": "Webhook {delivery} of {outlet} was given up after {attempts} attempts:"
    " {error}",
    "agent_started": "Starting room analytics agent...",
    "worker_suspended": "This worker did not run for {seconds} s (stopped, or its machine slept):"
    " each of {rooms} rooms has a gap",
    "clock_off": "This machine's clock is off by {offset} s (ahead of LiveKit's where positive):"
    " set it (NTP); sessions have LiveKit's time",
    "clock_right": "This machine's clock agrees with LiveKit's again ({offset} s)",
    "max_rooms": "Watching up to {rooms} rooms at once ({open_files} open files)",
    "room_started": "Starting analytics for room: {room} (Job ID: {job_id})",
    "messages_not_logged": "Data messages not logged one by one: {count} in {room}",
    "changes_not_logged": "Changes not logged one by one: {count} in {room}",
    "room_status": lambda raw: f"Room status - Name: {_room(raw)}, {_numbers(raw)}",
    "report_started": "=== Analytics Report ===",
    "report_room": lambda raw: (
        f"Room: {_room(raw)} ({harmless(plain(raw.get('status')))}) - {_numbers(raw)}"
    ),
    "report_ended": "=======================",
    "final_summary": _summary,
    "signal_received": "Received signal {signal}, shutting down...",
    "agent_stopped": "Agent stopped",
    "unnamed_worker": (
        "WARNING --agent-name is empty: an unnamed worker takes jobs from your other unnamed agents"
    ),
    "max_rooms_lowered": (
        "WARNING --max-rooms lowered from {asked} to {max_rooms}: the open-file limit is "
        "{open_files}; raise it (ulimit -n) for more"
    ),
    "secret_on_command_line": (
        "WARNING {flag} is on the command line, where other users of this machine can read it: "
        "set it by {variable} or {file_variable}"
    ),
    "secret_file_readable": (
        "WARNING {flag}: every user of this machine can read {file}, which has {setting} in it: "
        "chmod 600 it"
    ),
    "proxy_not_used": (
        "WARNING not used: {variables}: LiveKit is reached without a proxy, the SDK does not "
        "get these variables"
    ),
    "http_token_short": (
        "WARNING --http-token is so short that it can be guessed: take {least} characters or more"
    ),
}

ROOM_LINES: Final[Mapping[str, Template]] = {
    **SESSION_LINES,
    **MONITORING_LINES,
    **ANNOUNCEMENT_LINES,
}
TEMPLATES: Final[Mapping[str, Template]] = {**ROOM_LINES, **WORKER_LINES}

_NAME_THEIR_ROOM: Final = frozenset(
    event
    for event, template in ROOM_LINES.items()
    if isinstance(template, str) and "{room}" in template
)
_LEAVES: Final = frozenset(("participant_disconnected", "participant_connection_aborted"))

_SHOWN_LEVELS: Final = {"warning": "WARNING ", "error": "ERROR ", "critical": "ERROR "}


def line_of(event: str, level: str, fields: Raw) -> str:
    """The text of an event; more than one line only where its template has more."""
    template = TEMPLATES.get(event)
    if template is None:
        pairs = key_values(
            {key: value for key, value in fields.items() if value is not None}, BODY_LIMIT
        )
        return f"{_SHOWN_LEVELS.get(level, '')}{harmless(event)} {pairs}".rstrip()
    line = template.format_map(_Shown(fields)) if isinstance(template, str) else template(fields)
    if event not in ROOM_LINES or event in _NAME_THEIR_ROOM:
        return line
    room, reason = fields.get("room"), fields.get("reason") if event in _LEAVES else None
    if room is not None:
        line += room_suffix(plain(room))
    return line if reason is None else f"{line} {key_values({'reason': reason})}"


@lru_cache(maxsize=1024)
def room_suffix(room: str) -> str:
    """The end of a line that does not name its room.  Made once a room, because it costs as much
    as the rest of a short line."""
    return f" {key_values({'room': room})}"
