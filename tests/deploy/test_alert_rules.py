"""Every alert fires when it should, and none in health: the tests of `deploy/alerts_test.yml`.

They are evaluated here on every machine, and by `promtool` where it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.promql import Labels, query, seconds, selectors, series, values

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
FIRING: Final = 'group by (alertname, instance) (ALERTS{alertstate="firing"})'
RULES: Final[list[dict[str, Any]]] = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][
    0
]["rules"]
PLAN: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())
STEP: Final = seconds(PLAN["evaluation_interval"])


def firing(samples: dict[Labels, list[tuple[float, float]]], until: float) -> set[tuple[str, str]]:
    """Alerts that fire at `until`, each with its instance."""
    alerts = set[tuple[str, str]]()
    for rule in RULES:
        since, wait, holds = (
            dict[Labels, float](),
            seconds(rule.get("for", "0s")),
            query(rule["expr"]),
        )
        for number in range(int(until / STEP) + 1):
            now = holds(samples, number * STEP)
            assert isinstance(now, dict)
            since = {labels: since.get(labels, number * STEP) for labels in now}
        alerts |= {
            (rule["alert"], dict(labels)["instance"])
            for labels, at in since.items()
            if until - at >= wait
        }
    return alerts


def moments() -> Iterator[Any]:
    for case in PLAN["tests"]:
        for check in case["promql_expr_test"]:
            yield pytest.param(case, check, id=f"{case['name']}, {check['eval_time']}")


@pytest.mark.parametrize("case, check", [*moments()])
def test_the_alerts_of_a_moment(case: dict[str, Any], check: dict[str, Any]) -> None:
    assert check["expr"] == FIRING
    samples = {
        series(one["series"]): list(values(one["values"], seconds(case["interval"])))
        for one in case["input_series"]
    }
    expected = [dict(series(one["labels"])) for one in check["exp_samples"]]
    assert firing(samples, seconds(check["eval_time"])) == {
        (one["alertname"], one["instance"]) for one in expected
    }


def test_every_rule_is_tested_before_and_while_it_fires() -> None:
    quiet, loud = set[str](), set[str]()
    for case in PLAN["tests"]:
        for check in case["promql_expr_test"]:
            alerts = re.findall(r'alertname="(\w+)"', str(check["exp_samples"]))
            loud.update(alerts)
            if not alerts:
                quiet.add(case["name"].split(",")[0])
    names = {rule["alert"] for rule in RULES}
    assert names == loud
    assert names <= quiet


def test_the_healthy_case_has_every_series_that_a_rule_reads() -> None:
    healthy = {re.split(r"[{]", one["series"])[0] for one in PLAN["tests"][0]["input_series"]}
    read = {name.partition("{")[0] for rule in RULES for name in selectors(rule["expr"])}
    assert read <= healthy


def test_promtool_agrees_where_it_is() -> None:
    promtool = shutil.which("promtool")  # of Debian's package prometheus
    if promtool is None:
        return
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        ran = subprocess.run([promtool, *command], cwd=DEPLOY, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
