"""The sign-in form and the sign-out.  `bridge.http.server.sign_in` decides; these are the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bridge.http.pages.rendering import html, render
from bridge.http.server.request_body import body_of
from bridge.http.server.request_guard import SIGN_IN
from bridge.http.server.routes import HttpRoute, access_of, root_of
from bridge.http.server.sign_in import client_of

FORM_BYTES: Final = 4_096


def signin_rows() -> tuple[HttpRoute, ...]:
    """Routes that are open to everybody.  Without a token they redirect to the first page."""
    return (
        HttpRoute("GET", SIGN_IN, _ask, open=True),
        HttpRoute("POST", SIGN_IN, _sign_in, open=True),
        HttpRoute("POST", "/signout", _sign_out, open=True),
    )


async def _ask(request: Request) -> Response:
    to = _local(request.query_params.get("to", ""), root_of(request))
    access = access_of(request)
    if access is None or access.remembers(request.scope):
        return RedirectResponse(to, 303)
    return _form(request, to)


async def _sign_in(request: Request) -> Response:
    body = await body_of(request, FORM_BYTES)
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    to = _local(form.get("to", [""])[0], root_of(request))
    token = form.get("token", [""])[0].strip()
    access = access_of(request)
    if access is None:
        return RedirectResponse(to, 303)
    address = client_of(request.scope)
    verdict = access.shown(token.encode("utf-8", "replace"), address)
    if verdict == "no":
        return _form(request, to, "This is not the token.", 403)
    if verdict == "wait":
        wait = access.wait(address)
        error = (
            "This is not the token, and too many wrong tokens came from your address. "
            f"Try again in {wait} s."
        )
        return _form(request, to, error, 429, {"retry-after": str(wait), "connection": "close"})
    response = RedirectResponse(to, 303)
    access.sign_in(response, request.scope)
    return response


async def _sign_out(request: Request) -> Response:
    """Sign out somebody who is signed in.  A browser sends the cookie only with a POST from our
    own site, so another site cannot sign anybody out."""
    response = RedirectResponse(f"{root_of(request)}{SIGN_IN}", 303)
    access = access_of(request)
    if access is not None and access.remembers(request.scope):
        access.sign_out(response, request.scope)
    return response


def _form(
    request: Request,
    to: str,
    wrong: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    frame = {"here": "", "live": False, "secured": False, "root": root_of(request)}
    text = render("signin.html", **frame, to=to, wrong=wrong)
    return html(text, status, headers)


def _local(target: str, root: str) -> str:
    """The address after the sign-in.  It is always a page of ours, so that a link to the form
    cannot lead to another site."""
    page = target.removeprefix(root)
    ours = target.startswith(f"{root}/") and not page.startswith(("//", "/\\", "/sign"))
    return target if ours and target.isascii() and target.isprintable() else f"{root}/"
