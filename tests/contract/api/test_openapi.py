"""Our OpenAPI document against the live API: what it says is what happens."""

import subprocess
import sys
from pathlib import Path

from tests.contract.api.conftest import KEY, Live


def test_schemathesis_finds_nothing(live: Live, tmp_path: Path) -> None:
    """All checks, a small number of cases; `--max-examples 250` on a quiet machine makes 12,000."""
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", live.url + "/openapi.json"]
    command += ["-H", f"Authorization: Api-Key {KEY}", "--max-examples", "3", "--checks", "all"]
    command += ["--phases", "examples,coverage,fuzzing", "--seed", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout[-4000:]
    assert " passed" in result.stdout


# 410 is what the result of a failed request answers; Schemathesis does not expect it of its own accord.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 429, "5xx"]
"""
BASETEN = {
    "async_predict": "post",
    "async_queue_status": "get",
    "async_run_remote": "post",
    "predict": "post",
    "run_remote": "post",
    "wake": "post",
}
TARGETS = ("production", "development", "environments/{environment}", "deployment/{deployment_id}")


def test_every_path_of_baseten_s_api_is_there(live: Live) -> None:
    with live.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for action, method in BASETEN.items():
        for target in TARGETS:
            assert method in paths[f"/{target}/{action}"], f"{target}/{action}"
    assert {"get", "delete"} <= set(paths["/async_request/{request_id}"])
