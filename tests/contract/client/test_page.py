"""docs/client.md, typed: every line of its blocks for the shell, in their order, against a real stack."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.conditions import wait_until
from tests.contract.client.conftest import PAGE, Shell

pytestmark = pytest.mark.stack

# Lines that are not typed here, and why. Each pattern must be of use.
ELSEWHERE = {
    r"--webhook https://example\.com": "the server would call a stranger",
    r"webhooks test https://example\.com": "likewise; test_webhook_commands.py has a receiver",
    r"webhooks listen": "it runs until Ctrl-C: test_webhook_commands.py",
    r"logs \w+ -f": "likewise: tests/shipped/test_laptop.py",
    r"kingpost (login|contexts|use|logout)": "these change who is logged in: test_commands.py",
}
MODELS = {
    "digits": "class Model:\n    def predict(self, given): return {'image': 'data:image/png;base64,iVBORw0KGgo='}\n",
    "llm": "class Model:\n    def predict(self, given): yield from ('Because', '.')\n",
}
REQUEST = (
    "kingpost predict digits -i digit=7 --async --detach --webhook https://nobody.invalid/hook"
)
SECRET_EXISTS = "There is a secret already"


def lines() -> list[str]:
    """What the plain blocks type, without comments. Of alternatives (`a | b`) each is a line of its own."""
    typed: list[str] = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S):
        for line in () if language else block.splitlines():
            first, *others = re.sub(r"\s+#.*", "", line).split(" | ")
            if first.startswith("kingpost "):
                command = " ".join(first.split()[:2])
                typed += [first, *(f"{command} {other}" for other in others)]
    return typed


@pytest.fixture
def reader(logged_in: Shell) -> Iterator[Shell]:
    """Somebody who reads the page, and has deployed the models that it names, the first of them twice."""
    for name, model in MODELS.items():
        folder = logged_in.folder / name
        (folder / "model").mkdir(parents=True)
        (folder / "config.yaml").write_text(f"model_name: {name}\n")
        (folder / "model" / "model.py").write_text(model)
        logged_in.type(f"kingpost push {name}")
    with (logged_in.folder / "digits" / "model" / "model.py").open("a") as file:
        file.write("# the next version\n")
    logged_in.type("kingpost push digits")
    (logged_in.folder / "order.json").write_text('{"digit": 7}')
    yield logged_in
    for name in MODELS:
        logged_in.type(f"kingpost rm {name} --force --yes")


def filled(reader: Shell, line: str) -> str:
    """The line with ids of things that exist and are as the line needs them, and with `--yes` where it would ask."""
    if (" keys " in line and line.endswith("ID")) or " keys limits" in line:
        key = reader.type("kingpost keys create --scope inference").strip()
        line = line.replace("ID", key.removeprefix("kp_").partition(".")[0])
    elif "--deployment ID" in line:
        rows = json.loads(reader.type("kingpost deployments digits --json"))
        (idle,) = [row["deployment"] for row in rows if not row["environments"]]
        line = line.replace("ID", idle)
    elif re.search(r"\b(REQUEST_)?ID\b", line):
        waits = " cancel " in line or " move " in line
        reader.type(f"kingpost {'pause' if waits else 'resume'} digits")
        request_id = reader.type(REQUEST).strip()
        if not waits:
            reader.type(f"kingpost jobs watch {request_id}")
        if " logs " in line:  # a replica sends its lines a moment later
            wait_until(lambda: reader.run(f"kingpost logs {request_id}").returncode == 0, 30)
        line = re.sub(r"\b(REQUEST_)?ID\b", request_id, line)
    asks = re.search(r"kingpost (rm|keys purge|jobs (purge|retry --|cancel --|move --))", line)
    more = " --yes" if asks and "--yes" not in line and "--dry-run" not in line else ""
    return line.replace("kingpost top", "kingpost top --once") + more


def test_every_line_of_the_page_can_be_typed(reader: Shell) -> None:
    left = {
        pattern for pattern in ELSEWHERE if not any(re.search(pattern, line) for line in lines())
    }
    assert left == set(), "of no use"
    typed = [line for line in lines() if not any(re.search(each, line) for each in ELSEWHERE)]
    assert len(typed) > 35
    for line in typed:
        done = reader.run(filled(reader, line), EDITOR="sed -i s/7/8/")
        exists = line.endswith("webhook-secret create") and SECRET_EXISTS in done.stderr
        assert done.returncode == 0 or exists, (line, done.stdout + done.stderr)
    assert (reader.folder / "seven.png").exists()
