"""Signing in: the token, the cookie that remembers it, and clients that guess."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from bridge.config.public_address import Network, PublicAddress
from bridge.http.server.sign_in import ADDRESSES, FAILURES, FORGET_ONE, SIGNED_IN, Access, Failures
from tests.http.page_stage import Stage, open_stage

TOKEN = "correct horse battery staple é"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage, None]:
    with capture_logs():
        async with open_stage(tmp_path / "data", token=TOKEN) as stage:
            yield stage


async def sign_in(stage: Stage, token: str = TOKEN, to: str = "/system", **headers: str):
    return await stage.site.http.post(
        "/signin", data={"token": token, "to": to}, headers={"accept": "text/html", **headers}
    )


async def test_a_page_sends_a_stranger_to_the_form_and_back(stage: Stage):
    answer = await stage.site.http.get("/history?room=a%26b", headers={"accept": "text/html"})
    assert answer.status_code == 303
    url = urlsplit(answer.headers["location"])
    assert url.path == "/signin"
    assert parse_qs(url.query) == {"to": ["/history?room=a%26b"]}
    assert (await stage.site.http.get("/", headers={"accept": "*/*"})).status_code == 401


async def test_who_shows_the_token_is_remembered_until_they_sign_out(stage: Stage):
    answer = await sign_in(stage)
    assert (answer.status_code, answer.headers["location"]) == (303, "/system")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {one.strip() for one in cookie.split(";")}
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert "Sign out" in await stage.get("/")

    for site in ("cross-site", "same-site", "same-origin"):
        elsewhere = {"sec-fetch-site": site, "cookie": ""}  # a strict cookie does not come along
        out = await stage.site.http.post("/signout", headers=elsewhere)
        assert out.status_code == (403 if site == "cross-site" else 303)
        assert "set-cookie" not in out.headers
    assert "Sign out" in await stage.get("/")
    out = await stage.site.http.post("/signout", headers={"sec-fetch-site": "same-origin"})
    assert out.headers["location"] == "/signin"
    assert (await stage.site.http.get("/", headers={"accept": "text/html"})).status_code == 303


@pytest.mark.parametrize(
    "proxies, said, secure",
    [
        ((ip_network("127.0.0.1"),), "https", True),
        ((ip_network("127.0.0.1"),), "http, HTTPS", True),
        ((ip_network("127.0.0.1"),), "https, http", False),
        ((ip_network("192.0.2.1"),), "https", False),
        ((), "https", False),
    ],
)
async def test_behind_https_of_a_trusted_proxy_the_cookie_stays_there(
    tmp_path: Path, proxies: tuple[Network, ...], said: str, secure: bool
):
    front = PublicAddress(proxies=proxies)
    async with open_stage(tmp_path / "data", token=TOKEN, front=front) as stage:
        answer = await sign_in(stage, **{"x-forwarded-proto": said})
    assert ("; Secure" in answer.headers["set-cookie"]) is secure


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx: y", "", "javascript:"],
)
async def test_a_sign_in_never_leads_elsewhere(stage: Stage, to: str):
    assert (await sign_in(stage, to=to)).headers["location"] == "/"


async def test_who_guesses_is_slowed_and_who_has_the_token_is_let_in(stage: Stage):
    for _ in range(FAILURES):
        answer = await sign_in(stage, "a guess")
        assert answer.status_code == 403
        assert "This is not the token." in answer.text
    for _ in range(5):
        answer = await sign_in(stage, "a guess")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= FORGET_ONE + 1
        shown = {"authorization": "Bearer another guess"}
        assert (await stage.site.http.get("/", headers=shown)).status_code == 429
        right = [(b"authorization", b"Bearer " + TOKEN.encode())]
        assert (await stage.site.http.get("/", headers=right)).status_code == 200
    assert (await sign_in(stage)).status_code == 303


async def test_who_is_signed_in_stays_so_while_somebody_guesses(stage: Stage):
    await sign_in(stage)
    for _ in range(FAILURES + 1):
        await sign_in(stage, "a guess")
    assert "Sign out" in await stage.get("/")


async def test_a_form_that_is_too_long_is_refused(stage: Stage):
    assert (await sign_in(stage, "x" * 5_000)).status_code == 413


@pytest.mark.parametrize(
    "cookie", ["", "x", ".", "99999999999.", "99999999999.00", "é.é", "9" * 30 + ".00", "-1.00"]
)
async def test_a_cookie_that_is_not_ours_opens_nothing(stage: Stage, cookie: str):
    name = f"room_actors_{stage.site.address.port}"
    header = f"{name}={cookie}".encode()
    answer = await stage.site.http.get("/", headers=[(b"cookie", header), (b"accept", b"*/*")])
    assert answer.status_code == 401


FOREIGN = {
    "a version": b"version=1",
    "a flag": b"secure",
    "JSON": b'prefs={"a":1}',
    "no ASCII": "user=café".encode(),
    "quotes": b'a="b; c="d',
    "no name": b"=; =x; ;;;",
    "backslashes": b'x="' + b'\\"' * 4_000 + b'"',
    "one of our name": b"room_actors_1=99999999999.00",
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_cookies_of_others_do_not_hide_ours(foreign: bytes):
    access = Access(TOKEN)
    scope = scope_with(access)
    (ours,) = (value for _, value in scope["headers"])
    for cookies in ([foreign + b"; " + ours], [ours + b";" + foreign], [foreign, ours]):
        assert access.remembers({**scope, "headers": [(b"cookie", one) for one in cookies]})
    assert not access.remembers({**scope, "headers": [(b"cookie", foreign)]})


# ---------------------------------------------------------------- pure


def scope_with(access: Access) -> dict[str, Any]:
    """A request that carries what a sign-in gave."""
    from starlette.responses import Response

    response = Response()
    scope: dict[str, Any] = {"server": ("127.0.0.1", 1), "headers": []}
    access.sign_in(response, scope)
    cookie = response.headers["set-cookie"].partition(";")[0]
    return {**scope, "headers": [(b"cookie", cookie.encode())]}


def test_a_sign_in_ends_by_itself_and_with_its_token():
    now = 1_000.0
    access = Access(TOKEN, clock=lambda: now)
    scope = scope_with(access)
    assert access.remembers(scope)
    assert Access(TOKEN, clock=lambda: now).remembers(scope)  # after a restart
    assert not Access("another", clock=lambda: now).remembers(scope)
    now += SIGNED_IN
    assert not access.remembers(scope)


def test_failures_are_forgotten_one_by_one():
    now = 0.0
    failures = Failures(clock=lambda: now)
    for _ in range(FAILURES):
        assert not failures.wait("192.0.2.1")
        failures.add("192.0.2.1")
    assert failures.wait("192.0.2.1") == FORGET_ONE
    assert not failures.wait("192.0.2.2")
    now += FORGET_ONE
    assert not failures.wait("192.0.2.1")
    failures.add("192.0.2.1")
    assert failures.wait("192.0.2.1") == FORGET_ONE


def test_a_network_of_ipv6_is_one_address():
    failures = Failures(clock=lambda: 0.0)
    for number in range(FAILURES):
        failures.add(f"2001:db8::{number:x}")
    assert failures.wait("2001:db8::ffff:1%eth0")
    assert not failures.wait("2001:db8:0:1::1")


def test_addresses_are_bounded():
    failures = Failures(clock=lambda: 0.0)
    for number in range(ADDRESSES + 10):
        for _ in range(FAILURES):
            failures.add(f"10.0.{number // 256}.{number % 256}")
    assert not failures.wait("10.0.0.1")
    assert failures.wait(f"10.0.{(ADDRESSES + 9) // 256}.{(ADDRESSES + 9) % 256}")


@pytest.mark.parametrize("guess", [b"", b"c", TOKEN.encode()[:-1], TOKEN.encode() + b"x"])
def test_whatever_is_guessed_is_compared_in_constant_time(
    guess: bytes, monkeypatch: pytest.MonkeyPatch
):
    compared: list[object] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: bool(compared.append(both)))
    assert Access(TOKEN).shown(guess, "192.0.2.1") == "no"
    assert compared == [(guess, TOKEN.encode())]
    cookie = b"room_actors_1=99999999999.00"
    scope = {"server": ("127.0.0.1", 1), "headers": [(b"cookie", cookie)]}
    assert not Access(TOKEN).remembers(scope)
    assert len(compared) == 2


def test_the_token_is_in_no_repr():
    assert TOKEN not in repr(Access(TOKEN))
