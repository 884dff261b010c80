"""`rules check FILE` and `rules try FILE`, on a store as a worker leaves it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import trio

from actors.session import ParticipantInfo, ParticipantJoined
from bridge.cli import main
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History

RULES = """
[[limit]]
rooms = ["room-*"]
people = 2
[[rule]]
name = "talk"
rooms = ["room-1"]
event = "data_message"
then = [{ log = "somebody writes" }]
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two rooms with two people, in which a third joins; the second one is live."""
    directory, history = tmp_path / "data", History(time.time() - 1_000.0)

    async def write() -> None:
        async with open_store(directory, instance="w") as archive:
            for number in range(2):
                journal = history.begin(f"room-{number}", f"RM_{number}")
                history.talk(journal, 2)
                eve = ParticipantInfo("eve", "PA_eve", history.now)
                journal.record(ParticipantJoined(history.now, eve))
                if not number:
                    journal.end(history.now, "room_closed")
                await history.write_to(archive)

    trio.run(write)
    return directory


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return str(path)


def test_a_trial_says_what_would_have_been_done_when_and_on_whom(
    data_dir: Path, rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("rules", "try", rules, "--json", "--data-dir", str(data_dir))) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(one["session"], one["rule"], one["act"], one["on"]) for one in result["acts"]] == [
        ("RM_0", "limit 1", "remove", "eve"),
        ("RM_1", "talk", "log", "alice"),
        ("RM_1", "talk", "log", "alice"),
        ("RM_1", "limit 1", "remove", "eve"),
    ]
    assert (result["sessions"], result["incomplete"]) == (2, [])
    assert result["events"] > 10


def test_a_trial_is_a_table_with_its_sums(
    data_dir: Path, rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("rules", "try", rules, "--room", "*-1", "--data-dir", str(data_dir))) == 0
    output = capsys.readouterr().out
    assert output.count(" eve\n") == 1
    assert "3 acts in 1 session with " in output


def test_sessions_are_chosen_by_their_age(
    data_dir: Path, rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("rules", "try", rules, "--since", "5m", "--data-dir", str(data_dir))) == 0
    assert "0 acts in 0 sessions" in capsys.readouterr().out
    assert main(("rules", "try", rules, "--since", "soon", "--data-dir", str(data_dir))) == 2
    assert "--since: give a time such as" in capsys.readouterr().err


def test_a_flag_of_a_trial_is_refused_where_nothing_is_tried(
    rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("rules", "check", rules, "--json")) == 2
    assert "--json is for `rules try FILE`" in capsys.readouterr().err


def test_a_file_is_checked_without_the_other_settings(
    rules: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("rules", "check", rules)) == 0
    assert capsys.readouterr().out == "well: 1 of [[rule]] and 1 of [[limit]]\n"


@pytest.mark.parametrize(
    "text, error",
    [
        ("[[limit]]\nrooms = '*'\npeople = -1", "[[limit]] 1, line 3: 'people' '-1' is out of"),
        ("[[rule]]\nname = 'a'", "[[rule]] 1, line 1: 'then' is missing"),
        (
            "[[rule]]\nname = 'a'\nwhen = { poeple = '1' }\nthen = ['alert']",
            "[[rule]] 1, line 3: 'when.poeple' there is no such condition; there are: people, ",
        ),
        (
            "[[rule]]\nname = 'a'\nwhen = { people = 1 }\nfor = '5 m'\nthen = ['alert']",
            "[[rule]] 1, line 4: 'for' a duration is like 30s",
        ),
        ("[rule]\nname = 'a'", "'rule' is a list of tables; write [[rule]]"),
        ("[[rule]", "is not TOML: "),
        ("[[rules]]\nname = 'a'", "has the unknown key 'rules', written [[rules]]; "),
        ("wach = '*'", "has the unknown key 'wach'; did you mean watch?"),
        (
            """
[[rule]]
name = "a"
when = { people = 1 }
then = ["alert"]
[[limit]]
name = "a"
rooms = "*"
people = 1
""",
            "a [[rule]] and a [[limit]] have the name 'a'; give another",
        ),
    ],
)
def test_each_mistake_of_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, error: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    assert main(("rules", "check", str(path))) == 2
    line = capsys.readouterr().err
    assert "rules.toml" in line
    assert error in line
    assert line.count("\n") == 1
