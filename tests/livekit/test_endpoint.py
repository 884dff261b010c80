"""LiveKit's URL in the forms people write it."""

from __future__ import annotations

import pytest

from bridge.livekit.endpoint import BadUrl, Endpoint


@pytest.mark.parametrize(
    "url, room_url, http_url",
    [
        ("ws://localhost:7880", "ws://localhost:7880", "http://localhost:7880"),
        ("ws://localhost:7880/", "ws://localhost:7880", "http://localhost:7880"),
        ("http://localhost:7880", "ws://localhost:7880", "http://localhost:7880"),
        ("wss://lk.example.org", "wss://lk.example.org", "https://lk.example.org"),
        ("https://lk.example.org:443/", "wss://lk.example.org", "https://lk.example.org"),
        ("WSS://LK.example.org/a/b/", "wss://lk.example.org/a/b", "https://lk.example.org/a/b"),
        ("ws://[::1]:7880", "ws://[::1]:7880", "http://[::1]:7880"),
    ],
)
def test_a_url_gives_both_addresses(url: str, room_url: str, http_url: str) -> None:
    endpoint = Endpoint.parse(url)
    assert endpoint.room_url == room_url
    assert endpoint.http_url == http_url


@pytest.mark.parametrize(
    "url, part",
    [
        ("", "empty"),
        ("localhost:7880", "must begin with"),
        ("ftp://localhost", "must begin with"),
        ("ws:/localhost", "must begin with"),
        ("ws://", "no host"),
        ("ws://:7880", "no host"),
        ("ws://host:port", "not a URL"),
        ("ws://host:99999", "not a URL"),
        ("ws://host:0", "port"),
        ("ws://[::1", "not a URL"),
        ("ws://alice:secret@host", "user or a password"),
        ("ws://host?token=x", "query"),
        ("ws://ho st", "blanks"),
        ("ws://host\n", "blanks"),
    ],
)
def test_what_is_no_url_of_livekit_is_an_error_that_says_why(url: str, part: str) -> None:
    with pytest.raises(BadUrl, match=part) as caught:
        Endpoint.parse(url)
    assert "secret" not in str(caught.value)
