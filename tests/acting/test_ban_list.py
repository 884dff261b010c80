"""The list of bans."""

from __future__ import annotations

from actors.acting.ban_list import BanList
from actors.session.rule_state import Ban


def test_a_shorter_ban_does_not_end_a_longer_one_early() -> None:
    """A session begins again with its own bans; another worker has imposed a longer one since."""
    changes = list[None]()
    bans = BanList(changed=lambda: changes.append(None))
    bans.learn("atlas", {"alice": Ban("rule", 90.0)})
    bans.learn("atlas", {"alice": Ban("limit", 60.0)})
    assert bans.find("atlas", "alice", 70.0) == Ban("rule", 90.0)
    assert len(changes) == 1
    bans.learn("atlas", {"alice": Ban("limit", 120.0)})
    assert bans.find("atlas", "alice", 100.0) == Ban("limit", 120.0)
