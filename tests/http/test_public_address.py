"""Proxies before this server: their names, a path, and the client that they report."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.config.public_address import HOPS, PublicAddress
from bridge.config.values import OWN_PATHS
from tests.http.page_stage import open_stage
from tests.http.site import polite

PROXIES = PublicAddress(
    proxies=(ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("::1"))
)


@pytest.mark.parametrize(
    "address, forwarded, client",
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", [b"192.0.2.7, 192.0.2.8"], "192.0.2.8"),
        ("127.0.0.1", [b"192.0.2.7, 192.0.2.8, 10.1.2.3"], "192.0.2.8"),
        ("127.0.0.1", [b"192.0.2.7", b"10.1.2.3"], "192.0.2.7"),
        ("127.0.0.1", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ("127.0.0.1", [b"192.0.2.7, unknown"], "127.0.0.1"),
        ("127.0.0.1", [b"192.0.2.7, unknown, 10.0.0.8"], "10.0.0.8"),
        ("127.0.0.1", [b"192.0.2.7:4711"], "192.0.2.7"),
        ("127.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("::1", [b"::ffff:10.0.0.1, ::ffff:192.0.2.7"], "192.0.2.7"),
        ("192.0.2.1", [b"192.0.2.7"], "192.0.2.1"),
        ("127.0.0.1", [b""], "127.0.0.1"),
        ("127.0.0.1", [b","], "127.0.0.1"),
        ("127.0.0.1", [b"192.0.2.7," + b"10.0.0.1," * HOPS + b"10.0.0.2"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_of_ours(
    address: str, forwarded: list[bytes], client: str
):
    assert PROXIES.client(address, forwarded) == client
    assert PublicAddress().client(address, forwarded) == address


@pytest.mark.parametrize(
    "path, inner",
    [
        ("/", "/"),
        ("/rooms", "/"),
        ("/rooms/", "/"),
        ("/rooms/history", "/history"),
        ("/history", "/history"),
        ("/roomsy/history", "/roomsy/history"),
        ("/rooms/rooms", "/rooms"),
    ],
)
def test_a_proxy_may_keep_the_root_or_take_it_away(path: str, inner: str):
    assert PublicAddress(root="/rooms").inner(path) == inner
    assert PublicAddress().inner(path) == path


@pytest.mark.parametrize(
    "host, on_loopback, elsewhere",
    [
        (b"localhost:8088", True, True),
        (b"[::1]:8088", True, True),
        (b"rooms.example.org", True, True),
        (b"Rooms.Example.ORG:443", True, True),
        (b"other.example.org", False, False),
        (b"rooms.example.org.evil.example", False, False),
        (b"192.0.2.1:8088", False, True),
        (b"", False, False),
    ],
)
def test_names_that_a_proxy_calls_us_by_are_known(host: bytes, on_loopback: bool, elsewhere: bool):
    front = PublicAddress(hosts=frozenset({"rooms.example.org"}))
    assert front.knows(host, loopback=True) == on_loopback
    assert front.knows(host, loopback=False) == elsewhere
    assert PublicAddress().knows(host, loopback=False)


async def test_every_link_begins_with_the_root(tmp_path: Path):
    front = PublicAddress(root="/at/rooms", hosts=frozenset({"example.org"}))
    async with open_stage(tmp_path / "data", front=front) as stage:
        stage.journals.append(stage.history.begin("lobby", "RM_1", "alice"))
        await stage.keep()
        for path in ("/", "/history", "/system", "/sessions/RM_1", "/nowhere"):
            for prefix in ("", "/at/rooms"):
                answer = await stage.site.http.get(
                    prefix + path, headers={"accept": "text/html", "host": "example.org"}
                )
                assert answer.status_code == (404 if path == "/nowhere" else 200)
                for attribute in ('href="/', 'src="/', 'action="/'):
                    links = answer.text.split(attribute)[1:]
                    assert all(link.startswith("at/rooms/") for link in links)
        rows = (await stage.site.http.get("/at/rooms/now")).json()["rows"]
        assert 'href="/at/rooms/sessions/RM_1"' in "".join(rows.values())
        own = {row.path.split("/")[1] for row in stage.rows}
        assert own - {""} <= OWN_PATHS


async def test_a_sign_in_stays_below_the_root(tmp_path: Path):
    with capture_logs():
        async with open_stage(
            tmp_path / "data", token="the token", front=PublicAddress(root="/rooms")
        ) as stage:
            http = stage.site.http
            away = await http.get("/rooms/history?room=x", headers={"accept": "text/html"})
            assert away.headers["location"] == "/rooms/signin?to=%2Frooms%2Fhistory%3Froom%3Dx"
            for to, leads in (
                ("/rooms/history?room=x", "/rooms/history?room=x"),
                ("/elsewhere", "/rooms/"),
                ("/rooms//evil.example", "/rooms/"),
                ("/roomsy", "/rooms/"),
            ):
                form = {"token": "the token", "to": to}
                back = await http.post("/rooms/signin", data=form)
                assert (back.status_code, back.headers["location"]) == (303, leads)
                assert "Path=/rooms;" in back.headers["set-cookie"]
            assert (await http.get("/rooms/system")).status_code == 200
            out = await http.post("/rooms/signout")
            assert out.headers["location"] == "/rooms/signin"
            assert (await http.get("/rooms/system")).status_code == 401


async def test_who_guesses_through_a_proxy_slows_no_other_client(tmp_path: Path):
    front = PublicAddress(proxies=(ip_network("127.0.0.1"),))
    with capture_logs():
        async with open_stage(tmp_path / "data", token="the token", front=front) as stage:

            async def guess(client: str) -> int:
                headers = {"x-forwarded-for": f"198.51.100.1, {client}"}
                form = {"token": "a guess"}
                return polite(
                    await stage.site.http.post("/signin", data=form, headers=headers)
                ).status

            assert [await guess("192.0.2.1") for _ in range(12)] == [403] * 10 + [429] * 2
            assert await guess("192.0.2.2") == 403
