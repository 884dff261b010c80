"""Templates, and the filters that turn values into text on a page.

Every text that a template prints passes `harmless` (control characters and bidi overrides become
visible) and is then escaped, because strangers may have written it.  Only `Markup`, which we made
ourselves, is printed as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from attrs import frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from actors.session import QUALITIES, QualityView
from actors.session.view_types import TrackStatsView
from bridge.http.pages.event_rows import KINDS, OTHER
from bridge.output.durations import spaced_duration
from bridge.output.harmless import harmless
from bridge.output.timeline_lanes import stats_text

TEMPLATES: Final = Path(__file__).parent / "templates"
LONG: Final = 4_096
"""Characters shown of metadata."""
UNKNOWN: Final = Markup("–")
"""Printed for a value that was not observed."""

CSP: Final = (
    "default-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""No content from elsewhere, no script or style in the page itself, no frame around it."""


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page."""
    return html(render(template, **values), status)


def html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(text, status, {"content-security-policy": CSP, **(headers or {})})


def render(template: str, **values: Any) -> str:
    """Fill a template with these values.  Any thread may call it."""
    return _ENVIRONMENT.get_template(template).render(values)


# ---------------------------------------------------------------- filters


def shown(value: object) -> object:
    """The text that is printed for `value`."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return UNKNOWN
    return harmless(value) if isinstance(value, str) else value


def long(text: str) -> Markup:
    """Metadata, up to `LONG` characters."""
    return escape(harmless(text, LONG))


def name(text: str) -> Markup:
    """A name, isolated so that its direction of writing does not affect the text around it."""
    inner = harmless(text) if text else Markup('<span class="soft">(empty)</span>')
    return Markup("<bdi>{}</bdi>").format(inner)


def clock(at: str | None) -> Markup:
    """The time of day of an RFC 3339 time, as a `time` element."""
    return _time(at, slice(11, 19))


def moment(at: str | None) -> Markup:
    """Day and time of day."""
    return _time(at, slice(0, 19))


def _time(at: str | None, part: slice) -> Markup:
    if at is None:
        return UNKNOWN
    return Markup('<time datetime="{}">{}</time>').format(at, at.replace("T", " ")[part])


def duration(seconds: float | None) -> str:
    """`2 h 05 m`, `3 m 20 s`, `7 s`."""
    return UNKNOWN if seconds is None else spaced_duration(seconds)


def measured(stats: TrackStatsView) -> str:
    """`loss 1.2 %, concealment 0.1 %, ...`"""
    return stats_text(stats)


def number(value: float | None) -> str:
    """A whole number with thin gaps between thousands."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", "\u202f")


def size(count: float | None) -> str:
    """Bytes, short."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def percent(share: float | None) -> str:
    """A share of 0 to 1.  Only 1 is shown as 100 %."""
    if share is None:
        return UNKNOWN
    return "100 %" if share >= 1 else f"{min(share * 100, 99.9):.1f} %"


def words(code: str | None) -> str:
    """`client_initiated` as words."""
    return UNKNOWN if code is None else code.replace("_", " ")


def url(text: str) -> str:
    """One part of a path or a query."""
    return quote(text, safe="", errors="replace")


def query(pairs: Mapping[str, object], **more: object) -> str:
    """`?a=b&c=d` of the values that are not empty; "" if there are none."""
    given = {key: str(value) for key, value in {**pairs, **more}.items() if value not in (None, "")}
    joined = "&".join(f"{url(key)}={url(value)}" for key, value in given.items())
    return f"?{joined}" if joined else ""


@frozen
class QualityBar:
    """The share of one quality in a bar that is 100 long."""

    level: str
    seconds: float
    begin: float
    share: float


def shares(quality: QualityView) -> list[QualityBar]:
    """A bar for each quality that lasted some time, the best first."""
    seconds = quality.seconds()
    total = sum(one or 0.0 for one in seconds.values())
    bars: list[QualityBar] = []
    begin = 0.0
    for level, one in seconds.items():
        if one and total:
            share = 100 * one / total
            bars.append(QualityBar(level, one, round(begin, 2), round(share, 2)))
            begin += share
    return bars


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=shown,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_PRINTED: Final = (duration, number, size, percent, words, measured)
"""Filters whose text is ours: it is escaped only, so that its thin spaces stay."""


def _ours(function: Any) -> Any:
    def printed(value: Any) -> Markup:
        return escape(function(value))

    return printed


_ENVIRONMENT.filters |= {function.__name__: _ours(function) for function in _PRINTED}
_ENVIRONMENT.filters |= {
    function.__name__: function for function in (long, name, clock, moment, url, shares)
}
_ENVIRONMENT.globals["query"] = query
_ENVIRONMENT.globals["qualities"] = QUALITIES
_ENVIRONMENT.globals["event_kinds"] = (*KINDS, OTHER)
