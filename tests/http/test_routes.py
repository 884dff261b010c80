"""The application: rows, health, who may, and what everybody gets."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from bridge.http.health import health
from bridge.http.server.request_guard import SAFE_HEADERS
from bridge.http.server.routes import HttpRoute, app
from tests.http.site import Site, answer_in, open_site, polite

TOKEN = "a token of the operator"


async def secret_numbers(request: Request) -> Response:
    return Response(f"4 of {request.path_params['room']}")


async def broken(_: Request) -> Response:
    raise ZeroDivisionError("a text with a secret")


async def picky(_: Request) -> Response:
    raise HTTPException(409, "not twice", headers={"x-why": "so"})


async def own_policy(_: Request) -> Response:
    return Response("", headers={"Content-Security-Policy": "default-src 'self'"})


ROWS = (
    HttpRoute("GET", "/numbers/{room}", secret_numbers),
    HttpRoute("GET", "/broken", broken, open=True),
    HttpRoute("GET", "/picky", picky, open=True),
    HttpRoute("GET", "/policy", own_policy, open=True),
    HttpRoute("POST", "/order", secret_numbers, open=True),
)


@pytest.fixture
def unready() -> dict[str, str | None]:
    """Why each part is not ready; a test may change it."""
    return {"livekit": None, "store": None}


@pytest.fixture
async def site(unready: dict[str, str | None]) -> AsyncGenerator[Site, None]:
    checks = {"livekit": lambda: unready["livekit"], "store": lambda: unready["store"]}
    rows = (*health(checks, "w1"), *ROWS)
    with capture_logs():  # what it logs is shown in `test_server`
        async with open_site(app(rows, loopback=True, token=TOKEN)) as running:
            yield running


async def test_healthz_answers_get_and_head(site: Site):
    got, asked = await site.http.get("/healthz"), await site.http.head("/healthz")
    assert (got.status_code, got.json()) == (200, {"alive": True})
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == got.headers["content-length"]


async def test_readyz_is_200_only_if_every_check_holds(site: Site, unready: dict[str, str | None]):
    ready = await site.http.get("/readyz")
    assert ready.status_code == 200
    checks: dict[str, str | None] = {"livekit": None, "store": None}
    assert ready.json() == {"ready": True, "worker": "w1", "checks": checks}
    unready["store"] = "disk full"
    full = await site.http.get("/readyz")
    assert full.status_code == 503
    checks["store"] = "disk full"
    assert full.json() == {"ready": False, "worker": "w1", "checks": checks}
    assert (await site.http.head("/readyz")).status_code == 503
    assert (await site.http.get("/healthz")).status_code == 200
    unready["store"] = None
    assert (await site.http.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/broken", 500),
        ("GET", "/picky", 409),
        ("POST", "/healthz", 405),
        ("DELETE", "/order", 405),
        ("OPTIONS", "/readyz", 405),
        ("GET", "/order", 405),
    ],
)
async def test_every_error_is_a_problem(site: Site, method: str, path: str, status: int):
    answer = polite(await site.http.request(method, path))
    assert answer.status == status
    assert "secret" not in answer.problem.get("detail", "")


async def test_an_unknown_address_is_a_problem_that_echoes_nothing(site: Site):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = polite(await site.http.get("/<script>?x=<script>", headers=bearer))
    assert answer.status == 404
    assert b"script" not in answer.body
    assert answer.problem == {"type": "about:blank", "title": "Not Found", "status": 404}


async def test_a_row_says_what_is_wrong_and_may_add_headers(site: Site):
    answer = polite(await site.http.get("/picky"))
    assert answer.problem["detail"] == "not twice"
    assert answer.headers["x-why"] == "so"
    assert polite(await site.http.get("/order")).headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/healthz", "/broken", "/numbers/lobby", "/nowhere"])
async def test_every_answer_tells_browsers_to_be_careful(site: Site, path: str):
    answer = polite(await site.http.get(path))
    for name, value in SAFE_HEADERS:
        assert answer.headers[name.decode()] == value.decode()
    assert "server" not in answer.headers


async def test_a_row_has_the_last_word_on_its_headers(site: Site):
    response = await site.http.get("/policy")
    assert response.headers.get_list("content-security-policy") == ["default-src 'self'"]


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xff",
    ],
)
@pytest.mark.parametrize("path", ["/numbers/lobby", "/nowhere"])
async def test_without_the_token_nobody_learns_even_what_there_is(
    site: Site, path: str, shown: str | None
):
    headers = [] if shown is None else [(b"Authorization", shown.encode("latin-1"))]
    answer = polite(await site.http.get(path, headers=headers))
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert TOKEN not in str(answer.problem)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_lets_in(site: Site, scheme: str):
    answer = await site.http.get("/numbers/lobby", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert (answer.status_code, answer.text) == (200, "4 of lobby")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8088", "127.0.0.1", "127.0.0.1:1", "127.8.8.8", "[::1]", "[::1]:80"],
)
async def test_on_loopback_a_request_names_this_machine(site: Site, host: str):
    assert (await site.http.get("/policy", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz/", "/readyz/"])
@pytest.mark.parametrize(
    "head", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nHost: host.docker.internal:8088\r\n"]
)
async def test_a_probe_need_not_know_our_name(site: Site, path: str, head: bytes):
    answer = answer_in(await site.say(b"GET %b %b\r\n" % (path.encode(), head)))
    assert answer.status == 200


ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
FOLLOWED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


@pytest.mark.parametrize(
    "method, headers, status",
    [
        ("GET", ELSEWHERE, 403),
        ("GET", {**ELSEWHERE, "Sec-Fetch-Mode": "cors"}, 403),
        ("GET", FOLLOWED, 200),
        ("GET", {**FOLLOWED, "Sec-Fetch-Dest": "document"}, 200),
        ("GET", {**FOLLOWED, "Sec-Fetch-Dest": "iframe"}, 403),
        ("HEAD", FOLLOWED, 200),
        ("POST", FOLLOWED, 403),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {}, 200),
    ],
)
async def test_a_page_of_another_site_can_only_lead_here(
    site: Site, method: str, headers: dict[str, str], status: int
):
    path = "/order" if method == "POST" else "/policy"
    assert (await site.http.request(method, path, headers=headers)).status_code == status


@pytest.mark.parametrize("method", ["get", "Get", "gET", "FETCH"])
async def test_a_method_is_what_it_is_letter_by_letter(site: Site, method: str):
    said = f"{method} /policy HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert answer_in(await site.say(said.encode())).status == 405


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "::1x",
     "evil.example:127.0.0.1", "[::2]:80", "\xff"],
)  # fmt: skip
async def test_on_loopback_another_host_is_a_page_from_elsewhere(site: Site, host: str):
    answer = polite(await site.http.get("/policy", headers=[(b"Host", host.encode("latin-1"))]))
    assert answer.status == 421
    assert answer.problem


async def test_where_others_can_reach_us_any_host_will_do():
    async with open_site(app(ROWS, loopback=False, token=TOKEN)) as site:
        for host in ("rooms.example.org", ""):
            answer = await site.http.get("/policy", headers={"Host": host})
            assert answer.status_code == 200


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_all_rows_are_open(token: str | None):
    async with open_site(app(ROWS, loopback=True, token=token)) as site:
        assert (await site.http.get("/numbers/lobby")).text == "4 of lobby"
