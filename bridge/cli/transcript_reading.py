"""`transcripts`: texts of conversations with agents, of one session or searched over all.

From the store, or from an API.  The worker decides which texts are kept (`--keep-transcripts`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from actors.journal.conversation_texts import (
    ALL_TEXTS,
    MOST_TEXT,
    ConversationText,
    TextFilters,
    TextPage,
    TextReader,
    TextTrouble,
)
from actors.journal.session_filters import WrongFilter, read_value
from actors.journal.session_reader import BadCursor
from actors.journal.text_filters import TEXT_FILTERS
from bridge.app.session_source import open_conversations
from bridge.cli.command import Flags
from bridge.cli.reading import CURSOR, LIMIT, require_time_order
from bridge.cli.reading_tables import clock_text, time_text
from bridge.cli.store_access import StoreUnavailable, api_of, open_store_of
from bridge.cli.time_flags import with_times, wrong_flag
from bridge.config.settings import SettingsError
from bridge.config.store_address import store_address_of
from bridge.http.api.conversation_types import TextList, TextView, TranscriptAnswer, text_views
from bridge.output.ascii_json import spaced_json
from bridge.output.harmless import harmless

if TYPE_CHECKING:
    from bridge.cli.api_reader import ApiReader

AT_ONCE: Final = 1_000
"""Texts that are read at a time."""
MOST_TEXTS: Final = 5_000
"""Texts of one session for a report."""


def transcripts(flags: Flags) -> None:
    """Print the texts of a session, or those that match the filters.

    Raises `StoreUnavailable` and `SettingsError`.
    """
    given = with_times(flags)
    try:
        filters = TextFilters(
            **{
                one.name: read_value(one, str(given[one.name]))
                for one in TEXT_FILTERS
                if one.name in given
            }
        )
        limit = read_value(LIMIT, str(flags["limit"])) if "limit" in flags else None
        cursor = read_value(CURSOR, str(flags["cursor"])) if "cursor" in flags else None
    except WrongFilter as error:
        raise wrong_flag(error) from None
    require_time_order(filters.since, filters.until)
    if "session" in flags:
        if filters != ALL_TEXTS or cursor is not None:
            raise SettingsError("SESSION and a filter: give one of them; --search goes over all")
        _print_transcript(flags, str(flags["session"]), limit)
        return
    try:
        _print_list(flags, filters, limit, cursor)
    except BadCursor:
        raise SettingsError("--cursor: give the `next` of an earlier list") from None


@contextmanager
def _open_texts(flags: Flags) -> Generator[TextReader, None, None]:
    store = store_address_of(flags)
    try:
        with open_conversations(store) as reader:
            if reader is None:
                raise StoreUnavailable(
                    f"no texts of conversations are kept in {store}: name another store by "
                    "--data-dir DIR or --database-url URL; a worker keeps texts with "
                    "--keep-transcripts TIME and --keep-tool-payloads TIME"
                )
            yield reader
    except TextTrouble as error:
        raise StoreUnavailable(str(error)) from None


def texts_of_session(flags: Flags, room_sid: str) -> list[ConversationText]:
    """The texts of a session, the oldest first; empty where none are kept."""
    try:
        return _all_texts(flags, room_sid)
    except StoreUnavailable:
        return []


def _all_texts(flags: Flags, room_sid: str) -> list[ConversationText]:
    if "api" not in flags:
        with _open_texts(flags) as reader:
            return list(reader.transcript(room_sid, MOST_TEXTS).texts)
    with api_of(flags) as api:
        return [_text_of(one) for one in api.transcript(room_sid, MOST_TEXTS).texts]


def _text_of(view: TextView) -> ConversationText:
    return ConversationText(
        room=view.room,
        room_sid=view.session,
        job_id=view.job_id or "",
        item=view.item,
        kind=view.kind,
        speaker=view.speaker,
        identity=view.identity,
        at=0.0 if view.at is None else datetime.fromisoformat(view.at).timestamp(),
        text=view.text,
        name=view.tool or "",
        interim=view.interim,
    )


# ---------------------------------------------------------------- one session


def _print_transcript(flags: Flags, name: str, limit: int | None) -> None:
    answer = _transcript(flags, name, limit)
    if "json" in flags:
        sys.stdout.write(f"{spaced_json(answer)}\n")
        return
    first = answer.texts[0].at if answer.texts else None
    sys.stdout.write(
        f"Session {answer.session} of room {harmless(answer.room)}, {time_text(first)}\n"
    )
    for line in conversation_lines(answer.texts):
        sys.stdout.write(f"{line}\n")
    if not answer.texts:
        sys.stdout.write("no texts of it are kept\n")


def _transcript(flags: Flags, name: str, limit: int | None) -> TranscriptAnswer:
    """All texts of a session, or `limit` of them, read part by part."""
    parts, cursor = list[TextView](), None
    with open_store_of(flags) as sessions, sessions.open_session(name) as session:
        if session is None:
            raise StoreUnavailable(f"no session or room '{harmless(name)}' is kept")
        room_sid, room = session.view.id or name, session.view.room
    while True:
        size = AT_ONCE if limit is None else min(AT_ONCE, limit - len(parts))
        part, cursor = _part(flags, partial(_ask_transcript, room_sid, size, cursor))
        parts += part
        if cursor is None or (limit is not None and len(parts) >= limit):
            return TranscriptAnswer(session=room_sid, room=room, texts=tuple(parts), next=cursor)


def _ask_transcript(
    session: str, size: int, cursor: str | None, reader: ApiReader | TextReader
) -> TranscriptAnswer | TextPage:
    return reader.transcript(session, size, cursor)


def _part(
    flags: Flags, ask: Callable[[ApiReader | TextReader], TranscriptAnswer | TextList | TextPage]
) -> tuple[Sequence[TextView], str | None]:
    """Texts and the cursor of the next part, from the API or from the store."""
    with api_of(flags) if "api" in flags else _open_texts(flags) as reader:
        page = ask(reader)
    return text_views(page.texts) if isinstance(page, TextPage) else page.texts, page.next


def conversation_lines(texts: Sequence[TextView]) -> Iterator[str]:
    """The conversation, a line a text, safe to show."""
    for one in texts:
        who = harmless(one.identity, 40) or one.speaker
        what = {
            "speech": "",
            "chat": " writes",
            "tool_arguments": f" calls {harmless(one.tool or '', 40)}",
            "tool_output": f" gets from {harmless(one.tool or '', 40)}",
        }[one.kind]
        at = clock_text(one.at) if one.at else "?"
        yield f"{at}  {who}{what}: {harmless(one.text, MOST_TEXT)}{' …' if one.interim else ''}"


# ---------------------------------------------------------------- a list


def _print_list(flags: Flags, filters: TextFilters, limit: int | None, cursor: str | None) -> None:
    left, more, count = limit, cursor, 0
    rows = list[TextView]()
    while True:
        size = AT_ONCE // 2 if left is None else min(AT_ONCE // 2, left)
        part, more = _part(flags, partial(_ask_list, filters, size, more))
        rows += part
        count += len(part)
        if left is not None:
            left -= len(part)
        if "json" not in flags:
            for one, line in zip(part, conversation_lines(part), strict=True):
                day = (one.at or "")[:10]
                sys.stdout.write(f"{harmless(one.room, 40)} {one.session} {day} {line}\n")
            rows.clear()
        if more is None or left == 0:
            break
    if "json" in flags:
        sys.stdout.write(f"{spaced_json(TextList(texts=tuple(rows), next=more))}\n")
        return
    if not count:
        sys.stdout.write("none\n")
    if more is not None:
        sys.stdout.flush()
        sys.stderr.write(f"older ones are left out: --cursor {more} goes on there\n")


def _ask_list(
    filters: TextFilters, size: int, cursor: str | None, reader: ApiReader | TextReader
) -> TextList | TextPage:
    return reader.texts(size, cursor, filters)
