"""The API's answers about conversations with agents."""

from __future__ import annotations

from pathlib import Path

from tests.http.stored_sessions import HOSTILE, open_stored


async def test_a_transcript_has_the_texts_of_its_session_and_is_read_in_parts(
    tmp_path: Path,
) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        whole = await stored.get("/api/v1/sessions/RM_live/transcript")
        first = await stored.get("/api/v1/sessions/live/transcript", limit=1)
        rest = await stored.get("/api/v1/sessions/live/transcript", limit=1, cursor=first["next"])
        none = await stored.get("/api/v1/sessions/RM_1/transcript")
        missing = await stored.site.http.get("/api/v1/sessions/RM_none/transcript")
        (hostile,) = (await stored.get("/api/v1/sessions/RM_0/transcript"))["texts"]
    assert (whole["session"], whole["room"], whole["next"]) == ("RM_live", "live", None)
    spoken, arguments = whole["texts"]
    assert (spoken["kind"], spoken["speaker"], spoken["text"]) == (
        "speech", "person", "a grand piano",
    )  # fmt: skip
    assert (arguments["tool"], arguments["text"]) == ("weather", '{"city": "delft"}')
    assert [*first["texts"], *rest["texts"]] == whole["texts"]
    assert (none["texts"], none["next"]) == ([], None)
    assert missing.status_code == 404
    assert hostile["text"] == HOSTILE


async def test_a_search_goes_over_all_sessions(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.fill()
        (one,) = (await stored.get("/api/v1/transcripts", search="PIANO grand"))["texts"]
        page = await stored.get("/api/v1/transcripts", limit=2)
        rest = await stored.get("/api/v1/transcripts", limit=2, cursor=page["next"])
        nobody = await stored.get("/api/v1/transcripts", person="nobody*")
        wrong = await stored.site.http.get("/api/v1/transcripts?cursor=x")
    assert (one["session"], one["text"]) == ("RM_live", "a grand piano")
    assert (len(page["texts"]), len(rest["texts"]), rest["next"]) == (2, 1, None)
    assert nobody["texts"] == []
    assert wrong.status_code == 400


async def test_where_no_text_is_kept_the_answers_are_empty(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        stored.history.begin("shop", "RM_9", "alice")
        await stored.write()
        assert (await stored.get("/api/v1/sessions/shop/transcript"))["texts"] == []
        assert await stored.get("/api/v1/transcripts", search="x") == {"texts": [], "next": None}
    assert not (tmp_path / "texts.db").exists()
