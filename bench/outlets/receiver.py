"""A receiver that costs little: it notes when a request's first byte came, and answers 204."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final, Self

from attrs import frozen

ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"


@frozen
class Received:
    """One request."""

    at: float
    """Unix seconds of its first byte."""
    text: bytes

    def body(self) -> dict[str, Any]:
        return json.loads(self.text)


class Receiver:
    """Listens on loopback from the begin of the block to its end."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._down = threading.Event()
        self._connections: set[socket.socket] = set()
        self._closed = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._socket.close()
        self._drop()

    def go_down(self) -> None:
        """Cut every connection, and each new one at once."""
        self._down.set()
        self._drop()

    def come_back(self) -> None:
        self._down.clear()

    def _drop(self) -> None:
        for one in list(self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if self._down.is_set():
                connection.close()
                continue
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._take(connection):
                    connection.sendall(ANSWER)
        except OSError:
            pass
        finally:
            self._connections.discard(connection)

    def _take(self, connection: socket.socket) -> bool:
        """One request; False where there is no further one, whole."""
        data = connection.recv(65536)
        at = time.time()
        if not data:
            return False
        while _END not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(_END)
        found = _LENGTH.search(head)
        size = 0 if found is None else int(found[1])
        while len(body) < size:
            more = connection.recv(65536)
            if not more:
                return False
            body += more
        if self._down.is_set():
            return False
        self.received.append(Received(at, body))
        return True
