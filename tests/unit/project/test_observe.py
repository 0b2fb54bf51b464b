"""What is shipped for Prometheus and Grafana: each alert fires under its fault and is silent without, and says what to do."""

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "observe"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0][
    "rules"
]
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]


def test_the_rules_pass_their_tests() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    command = [promtool, "test", "rules", str(FOLDER / "alerts.test.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for case in CASES:
        for rule in case["alert_rule_test"]:
            (fires if rule.get("exp_alerts") else silent).add(rule["alertname"])
    names = {rule["alert"] for rule in RULES}
    assert (fires, silent) == (names, names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_happened_and_what_to_do_and_is_documented(
    rule: dict[str, Any],
) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"].endswith(".")
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "observing.md").read_text()


def test_the_dashboards_are_those_that_the_script_makes() -> None:
    made: dict[str, str] = runpy.run_path(str(FOLDER / "dashboards.py"))["files"]()
    there = {path.name: path.read_text() for path in (FOLDER / "dashboards").glob("*.json")}
    assert there == made
