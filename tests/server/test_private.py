"""A private server: on loopback only, and gone when we are."""

from __future__ import annotations

import http.client

from bridge.server import PrivateServer


def status(server: PrivateServer) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_started_server_answers(livekit_server: PrivateServer):
    assert status(livekit_server) == http.client.OK


def test_a_restart_keeps_address_and_keys(own_server: PrivateServer):
    before = (own_server.url, own_server.api_key, own_server.api_secret)
    first = own_server.pid
    own_server.kill()
    assert not own_server.running
    own_server.restart()
    assert own_server.running
    assert own_server.pid != first
    assert (own_server.url, own_server.api_key, own_server.api_secret) == before
    assert status(own_server) == http.client.OK
