"""A crawler: one frontier that knows all pages of a site, and workers that fetch them.

A worker that meets a broken answer crashes and is restarted.  Its message is lost with it, so the
frontier has a timer for each page and tries it once more.  `python crawler.py http://HOST/PATH`
crawls a site over plain HTTP.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urljoin, urlsplit

import trio
from attrs import frozen
from trio_actors.runtime import (
    Actor,
    Backoff,
    ChildSpec,
    GroupSpec,
    Intensity,
    ReplyTo,
    Supervisor,
    Timer,
    open_system,
    receives,
)

Fetch = Callable[[str], Awaitable[str]]
LONGEST_PAGE = 1 << 20
PATIENCE = 10.0
"""Seconds after which a page is tried again, and then given up."""


@frozen
class Crawl:
    """Fetch `url` and everything on its site that can be reached from it."""

    url: str
    reply_to: ReplyTo[dict[str, int]]
    """Gets the number of links of each page; -1 for a page that could not be fetched."""


@frozen
class Ready:
    """A worker has nothing to do."""

    worker: str


@frozen
class Page:
    """A page was fetched, with these links."""

    url: str
    links: tuple[str, ...]


@frozen
class Overdue:
    """A worker has not come back with a page."""

    url: str


@frozen
class Visit:
    """For a worker: fetch this."""

    url: str


class Frontier(Actor[Crawl | Ready | Page | Overdue]):
    """Knows which pages are fetched, under way and still to do."""

    def __init__(self) -> None:
        self.job: Crawl | None = None
        self.found = dict[str, int]()
        self.queue = deque[str]()
        self.idle = deque[str]()
        self.under_way = dict[str, Timer]()
        self.tried = set[str]()

    @receives(Crawl)
    def crawl(self, message: Crawl) -> None:
        self.job = message
        self.queue.append(message.url)
        self._hand_out()

    @receives(Ready)
    def ready(self, message: Ready) -> None:
        if message.worker not in self.idle:
            self.idle.append(message.worker)
        self._hand_out()

    @receives(Page)
    def page(self, message: Page) -> None:
        timer = self.under_way.pop(message.url, None)
        if timer is None:
            return  # It was given up.
        timer.cancel()
        self.found[message.url] = len(message.links)
        known = {*self.found, *self.queue, *self.under_way}
        host = urlsplit(message.url).netloc
        for link in dict.fromkeys(message.links):
            if link not in known and urlsplit(link).netloc == host:
                self.queue.append(link)
        self._hand_out()

    @receives(Overdue)
    def overdue(self, message: Overdue) -> None:
        if self.under_way.pop(message.url, None) is None:
            return
        if message.url in self.tried:
            self.found[message.url] = -1
        else:
            self.tried.add(message.url)
            self.queue.append(message.url)
        self._hand_out()

    def _hand_out(self) -> None:
        while self.queue and self.idle:
            url, worker = self.queue.popleft(), self.idle.popleft()
            self.under_way[url] = self.context.after(PATIENCE, Overdue(url))
            self.context.sibling(worker).tell(Visit(url))
        if self.job is not None and not self.queue and not self.under_way:
            self.job.reply_to.send(self.found)
            self.job = None


class Worker(Actor[Visit]):
    """Fetches one page at a time."""

    def __init__(self, name: str, fetch: Fetch) -> None:
        self.name, self.fetch = name, fetch

    async def started(self) -> None:
        self.context.sibling("frontier").tell(Ready(self.name))  # Again after each restart.

    @receives(Visit)
    async def visit(self, message: Visit) -> None:
        text = await self.fetch(message.url)
        links = tuple(urljoin(message.url, link) for link in re.findall(r'href="([^"#]+)', text))
        frontier = self.context.sibling("frontier")
        frontier.tell(Page(message.url, links))
        frontier.tell(Ready(self.name))


async def fetch(url: str) -> str:
    """The text at a plain HTTP address.  ValueError where the answer is no page."""
    parts = urlsplit(url)
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
    async with stream:
        request = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
        await stream.send_all(request.encode())
        answer = bytearray()
        async for part in stream:
            answer += part
            if len(answer) > LONGEST_PAGE:
                raise ValueError(f"{url} is longer than {LONGEST_PAGE} bytes")
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if len(status) < 2 or status[1] != b"200":
        raise ValueError(f"{url}: the answer begins with {bytes(answer[:40])!r}")
    return body.decode(errors="replace")


def crawler(fetch: Fetch, *, workers: int = 4) -> GroupSpec:
    """The group: a frontier, and workers that may crash often."""
    names = [f"worker{n}" for n in range(workers)]
    often = Intensity(restarts=100, within=10.0)
    return GroupSpec(
        "crawler",
        children=(
            ChildSpec("frontier", Frontier),
            *(
                ChildSpec(
                    name, partial(Worker, name, fetch), intensity=often, backoff=Backoff(0.01)
                )
                for name in names
            ),
        ),
        intensity=often,
    )


async def crawl(group: Supervisor, url: str, *, timeout: float = 600.0) -> dict[str, int]:
    """The number of links of every page of the site."""
    await group.running()
    return await group.ref("frontier").ask(partial(Crawl, url), timeout=timeout)


async def main(url: str) -> None:
    async with open_system() as system:
        pages = await crawl(system.supervisor.start_group(crawler(fetch)), url)
    for page, links in sorted(pages.items()):
        print(f"{links:5} {page}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
