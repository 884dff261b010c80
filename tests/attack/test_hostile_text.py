"""Text of strangers goes through a real server and a real worker into every output there is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
import trio
from rich.console import Console

from bridge.lab.demo.chapters import Chapters
from bridge.lab.demo.compare import Comparison, FinalTotals
from bridge.lab.demo.differences import Difference
from bridge.lab.demo.last_page import closing_page
from bridge.lab.people import People, Person
from bridge.lab.people.process import PeopleError
from bridge.lab.server import PrivateServer
from tests.app.agent_program import WAIT, Agent, hears, running_agent, server_api
from tests.attack import hostile as h

Check = Callable[[str], Iterator[str]]

COMMANDS: dict[str, tuple[tuple[str, ...], Check]] = {
    "rooms": (("rooms",), h.in_text),
    "rooms --csv": (("rooms", "--csv"), h.in_csv),
    "rooms --json": (("rooms", "--json"), h.in_json),
    "sessions": (("sessions",), h.in_text),
    "sessions --csv": (("sessions", "--csv"), h.in_csv),
    "sessions --json": (("sessions", "--json"), h.in_json),
    "report": (("report",), h.in_text),
    "report --csv": (("report", "--csv"), h.in_csv),
    "report --json": (("report", "--json"), h.in_json),
    "attendance": (("attendance",), h.in_text),
    "attendance --csv": (("attendance", "--csv"), h.in_csv),
    "attendance --json": (("attendance", "--json"), h.in_json),
    "top --once": (("top", "--once"), h.in_text),
}
"""Commands that read the store; all in one process, each begun by its name in a line."""

_RUN = """
import json, sys
from bridge.cli import main
for name, words in json.load(sys.stdin):
    sys.stdout.write(f"\\x00{name}\\x00")
    sys.stdout.flush()
    code = main(words)
    assert code == 0, (name, code)
    sys.stdout.flush()
"""


async def do_all(room: str, text: str, number: int, people: People) -> Person:
    """Somebody comes who uses one hostile text wherever a participant can."""
    person = await people.join(
        room,
        f"{text}{number}"[-256:],
        name=text[:256],
        metadata=json.dumps({text: text}) if number % 2 else text,
        attributes={text: text},
    )
    await person.set_attributes({f"again {text}": text})
    return person


async def say_all(person: Person, text: str) -> None:
    await person.send_data(text.encode("utf-8", "surrogatepass"), topic=text)
    await person.send_data(b"{}", topic=text * 100)
    await person.send_text(text, topic=text)
    await person.send_file(text.encode(), name=text, topic="lk.chat")
    await person.publish_data_track(text)


async def test_what_strangers_type_is_harmless_in_every_output(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    room = f"{h.ROOM}{uuid4().hex[:8]}"
    watch = ("--watch", f"*{room[-8:]}", "--log-payloads", "on")
    outputs: dict[str, tuple[str, Check]] = {}
    async with (
        running_agent(livekit_server, tmp_path / "1", *watch, "--agent-name", uuid4().hex) as agent,
        running_agent(
            livekit_server, tmp_path / "2", *watch, "--agent-name", uuid4().hex,
            "--log-format", "text", "--http", "off", "--status-every", "1", "--report-every", "1",
        ) as plain,
    ):  # fmt: skip
        await agent.logged("worker_registered")
        host = await people.join(room, "host")
        await host.publish("microphone")
        await agent.logged("participant_found", room=room)
        async with trio.open_nursery() as nursery:
            for number, text in enumerate(h.HOSTILE.values()):
                nursery.start_soon(tell, room, text, number, people, agent)
        async with server_api(livekit_server) as api:
            for text in h.HOSTILE.values():
                await api.update_room_metadata(room, text)
        await host.leave()
        await agent.logged("participant_disconnected", identity="host")
        await settled(agent, room)
        outputs |= await over_http(agent, room)
        outputs |= await by_commands(tmp_path / "1")
        await agent.stop()
        plain.signal()
        await plain.ended()
    outputs["text log"] = ("\n".join(plain.lines), h.in_text)
    outputs["JSON log"] = ("\n".join(agent.lines), h.in_json_lines)
    wrong = {name: sorted(set(check(text))) for name, (text, check) in outputs.items()}
    assert not {name: faults for name, faults in wrong.items() if faults}
    carried = outputs["report --json"][0]
    for what, text in h.HOSTILE.items():
        assert json.dumps(text)[1:-1] in carried, f"{what} came through nobody"
    empty = [name for name, (text, _) in outputs.items() if h.FORGED not in text]
    assert empty == ["API: workers", "API: actors"]


async def tell(room: str, text: str, number: int, people: People, agent: Agent) -> None:
    """Do as `do_all`; a person whom LiveKit refuses comes under a plain name."""
    try:
        person = await do_all(room, text, number, people)
    except PeopleError:
        person = await people.join(room, f"plain-{number}", metadata=text)
    await say_all(person, text)
    await hears(agent, person, b"that was all", topic=f"end-{number}")


async def settled(agent: Agent, room: str) -> None:
    """Until the log has the last metadata of the room."""
    last = list(h.HOSTILE.values())[-1]
    await agent.logged("room_metadata", room=room, metadata=last)


async def over_http(agent: Agent, room: str) -> dict[str, tuple[str, Check]]:
    address = (await agent.logged("http_listening"))["address"]
    async with httpx2.AsyncClient(base_url=f"http://{address}", timeout=WAIT) as http:

        async def get(path: str) -> str:
            answer = await http.get(path)
            assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
            assert answer.headers["x-content-type-options"] == "nosniff", path
            return answer.text

        texts: dict[str, tuple[str, Check]] = {}
        [session] = await listed(get)
        one, given = quote(session["id"], safe=""), quote(room, safe="")
        people = json.loads(await get("/api/v1/attendance"))["attendance"]
        somebody = people[-1]["identity"]
        pages = {
            "page: now": "/",
            "page: history": "/history",
            "page: a search": f"/history?room={given}&person={given}",
            "page: session": f"/sessions/{one}",
            "page: events": f"/sessions/{one}?kind=people&person=1&fold=no",
            "page: timeline": f"/timelines/{one}",
            "page: attendance": "/attendance",
            "page: a person": f"/people/{quote(somebody, safe='')}",
            "page: system": "/system",
        }
        for name, path in pages.items():
            texts[name] = (await get(path), h.in_html)
        for name in ("attendance", f"people/{quote(somebody, safe='')}"):
            texts[f"API: {name}"] = (await get(f"/api/v1/{name}"), h.in_json)
            texts[f"API: {name}, CSV"] = (await get(f"/api/v1/{name}?format=csv"), h.in_csv)
        for name in ("rooms", "sessions", f"sessions/{one}", "workers", "actors"):
            texts[f"API: {name}"] = (await get(f"/api/v1/{name}"), h.in_json)
        for name in ("rooms", "sessions", f"sessions/{one}"):
            texts[f"API: {name}, CSV"] = (await get(f"/api/v1/{name}?format=csv"), h.in_csv)
        texts["page: saved history"] = (await get("/history.json"), h.in_json)
        texts["page: saved history, CSV"] = (await get("/history.csv"), h.in_csv)
        texts["page: saved session"] = (await get(f"/whole/{one}"), h.in_json)
        texts["metrics"] = (await get("/metrics"), h.in_metrics)
        again = {"Last-Event-ID": "0-0"}
        async with http.stream("GET", "/api/v1/events", headers=again) as answer:
            assert answer.status_code == 200
            text = ""
            with trio.move_on_after(WAIT) as reading:
                async for part in answer.aiter_text():
                    text += part
                    if len(text) > 50_000:
                        # The client's generators end by a cancellation, not by being left.
                        reading.cancel()
        texts["events"] = (text.rpartition("\n\n")[0], h.in_events)
        return texts


async def listed(get: Callable[[str], Any]) -> list[dict[str, Any]]:
    sessions = json.loads(await get("/api/v1/sessions"))["sessions"]
    assert isinstance(sessions, list)
    return sessions


async def by_commands(data_dir: Path) -> dict[str, tuple[str, Check]]:
    words = [(name, [*argv, "--data-dir", str(data_dir)]) for name, (argv, _) in COMMANDS.items()]
    ran = await trio.run_process(
        [sys.executable, "-c", _RUN],
        stdin=json.dumps(words).encode(),
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout.decode()[-3_000:]
    _, *parts = ran.stdout.decode().split("\0")
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: (texts[name], check) for name, (_, check) in COMMANDS.items()}


@pytest.mark.parametrize("what", h.HOSTILE)
def test_the_demos_table_is_harmless_too(what: str) -> None:
    text = h.HOSTILE[what]
    differences = (Difference(text, f"people.{text}", text, text),)
    console = Console(width=120, record=True, file=None)
    with console.capture() as shown:
        console.print(
            closing_page([], [], FinalTotals(0, 0, 0, 0, 0.0), Chapters(Comparison(differences, 1)))
        )
    assert list(h.in_text(shown.get())) == []


@pytest.mark.parametrize(
    "check, text",
    [
        (h.in_text, h.HOSTILE["a line of the log"]),
        (h.in_text, h.HOSTILE["a terminal's title and colours"]),
        (h.in_text, h.HOSTILE["bidi"]),
        (h.in_text, "x" * (h.LINE + 1)),
        (h.in_json, '{"a": "\x1b"}'),
        (h.in_json_lines, '{"event": "forged"}'),
        (h.in_json_lines, '{"event": "\u3164"}'),
        (h.in_html, f"<p>{h.HOSTILE['an element']}</p>"),
        (h.in_html, f'<p title="{h.HOSTILE["an attribute"]}"></p>'),
        (h.in_html, "<!-- forged -->"),
        (h.in_html, '<a href="javascript:forged()">a</a>'),
        (h.in_csv, h.HOSTILE["a formula"]),
        (h.in_csv, h.HOSTILE["another formula"]),
        (h.in_csv, h.HOSTILE["formulas of other kinds"]),
        (h.in_metrics, 'room_actors_a{room="' + h.HOSTILE["a metric"] + '"} 1\n'),
        (h.in_events, f"data: 1{h.HOSTILE['a server-sent event']}"),
    ],
)
def test_each_check_finds_what_an_output_would_have_as_it_was_typed(
    check: Check, text: str
) -> None:
    assert list(check(text))
