"""Announcements of a real worker, heard by a real listener."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import trio
import trio_asyncio

from bridge.lab.server import PrivateServer
from tests.app.agent_program import environment, running_agent, server_api
from tests.livekit.publishing.listener import Listener, listening
from tests.media.test_sound import a_program, wav_of
from tests.publishing.tones import tone

TOKEN = "a-token-of-the-operator"
RULE = """
[[rule]]
name = "recorded"
person = { identity = "ann" }
then = [{ say = "This room is recorded." }]
"""
SPEAKS = """
import sys
assert sys.stdin.buffer.read() == b"This room is recorded."
with open(%r, "rb") as file:
    sys.stdout.buffer.write(file.read())
"""


async def command(*words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A command of a user, in a process of its own."""
    return await trio.run_process(
        [sys.executable, "-m", "bridge.cli", *words],
        env=env,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )


async def heard(listener: Listener, pitch: float, seconds: float) -> None:
    """The next announcement of one participant is heard and its participant leaves."""
    with trio.fail_after(60):
        await listener.left.wait()
    assert listener.pitch == pytest.approx(pitch, abs=3)
    assert seconds - 0.25 <= listener.seconds <= seconds + 5, "whole; a busy machine adds gaps"


async def test_a_rule_says_it_and_a_command_plays_a_file_and_no_person_is_counted_for_it(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    room, programs = f"announce-{uuid4().hex[:8]}", tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "speech.wav").write_bytes(wav_of(tone(0.6, 600)))
    (tmp_path / "gong.wav").write_bytes(wav_of(tone(1.0, 440)))
    a_program(programs / "espeak-ng", SPEAKS % str(tmp_path / "speech.wav"))
    config = tmp_path / "settings.toml"
    config.write_text(RULE)
    config.chmod(0o600)
    env = {"ROOM_ACTORS_HTTP_TOKEN": TOKEN, "PATH": str(programs)}
    flags = ("--watch", room, "--config", str(config))
    async with (
        trio_asyncio.open_loop(),
        running_agent(livekit_server, tmp_path, *flags, env=env) as agent,
    ):
        address = (await agent.logged("http_listening"))["address"]
        async with listening(livekit_server, room) as ann:
            done = await agent.logged("act_done", rule="recorded", act="say")
            await heard(ann, 600, 0.6)
            assert done["result"] == "said, 0.6 s"
            assert (await agent.logged("announcement_spoken"))["text"] == "This room is recorded."
            # Ann stays: LiveKit closes a room in which only agents are.
            async with listening(livekit_server, room, "bob") as bob:
                await agent.logged("participant_connected", identity="bob")
                user = environment(livekit_server, tmp_path, ROOM_ACTORS_HTTP=address)
                order = ("play", room, str(tmp_path / "gong.wav"))
                played = await command(*order, "--token", TOKEN, **user)
                assert (played.returncode, played.stdout.decode()) == (
                    0,
                    f"{room}: played, 1.0 s\n",
                )
                await heard(bob, 440, 1.0)

                refused = await command(*order, **user)
                assert refused.returncode == 1
                assert b"wants a token" in refused.stderr
                nowhere = await command("say", "nowhere", "Hello.", "--token", TOKEN, **user)
                assert b"no such room is watched" in nowhere.stderr
                text = await command(
                    "play",
                    room,
                    str(config),
                    "--api",
                    f"http://{address}",
                    "--token",
                    TOKEN,
                    **user,
                )
                assert (text.returncode, text.stdout) == (1, b"")
                assert b"install soundfile" in text.stderr or b"no sound file" in text.stderr

                report = await command("report", room, "--json", **user)
                session = json.loads(report.stdout)
                people = session["people"]
                assert (people["unique"], people["joins"]) == (2, 2)
                kinds = [(one["kind"], one["name"]) for one in session["participants"]]
                assert kinds.count(("agent", "Announcement")) == 2
                assert not [one for one in session["talk"]["by_identity"] if "announcer" in one]
        await agent.stop()


async def test_a_dispatched_publisher_obeys_its_host_and_a_command_shows_a_card(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    room, token = f"media-{uuid4().hex[:8]}", {"ROOM_ACTORS_HTTP_TOKEN": TOKEN}
    (tmp_path / "gong.wav").write_bytes(wav_of(tone(0.5, 880)))
    types = ("--job-types", "room,media", "--media-commands", "host")
    flags = ("--watch", room, *types, "--media-folder", str(tmp_path))
    async with (
        trio_asyncio.open_loop(),
        running_agent(livekit_server, tmp_path, *flags, env=token) as agent,
    ):
        address = (await agent.logged("http_listening"))["address"]
        await agent.logged("worker_registered", times=2)
        async with listening(livekit_server, room, "host") as host:
            await agent.logged("session_started", room=room)
            async with server_api(livekit_server) as api:
                metadata = '{"welcome_message": "Welcome!"}'
                order = await api.create_dispatch(room, "media-publisher", metadata=metadata)
            await agent.logged("media_publishing_started", room=room, mode="interactive")
            with trio.fail_after(60):
                while not host.room.remote_participants:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            send = trio_asyncio.aio_as_trio(host.room.local_participant.publish_data)
            await send('{"type": "play_audio", "file": "gong.wav"}')
            await agent.logged("media_command_received", identity="host", type="play_audio")
            await heard(host, 880, 0.5)

            user = environment(livekit_server, tmp_path, ROOM_ACTORS_HTTP=address)
            card = ("show", room, "Recorded", "--seconds", "0.5", "--token", TOKEN)
            shown = await command(*card, **user)
            assert (shown.returncode, shown.stdout.decode()) == (0, f"{room}: played, 0.5 s\n")
            wrong = await command("show", room, "--token", TOKEN, **user)
            assert wrong.returncode == 2
            async with server_api(livekit_server) as api:
                await api.delete_dispatch(room, order.id)
            await agent.logged("media_publishing_ended", room=room)
        await agent.stop()
