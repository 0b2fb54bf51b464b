"""Three hundred odd surroundings for every command: none ends in a traceback, and every error is one sentence.

Variables, flags, packages and the state folder are drawn from texts that are wrong in some way; the commands run in this
process, as `kingpost` runs them, and some of the cases once more as processes.
"""

import io
import os
import random
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import cli.main
import cli.stack.up
from cli.stack.ports import free_port
from tasks.process import variables
from tasks.settings import Settings
from tests.unit.bad_packages import BAD, GOOD_MODEL, Bad
from tests.valkey import Valkey

ROOT = Path(__file__).parents[3]
CASES = 300
AS_PROCESSES = 10
ODD = [
    "", " ", "0", "-1", "1", "2.5", "1e999", "1e300", "nan", "inf", "-inf", "abc", "é", "\udce9", "1_000", "0x10", "²",
    "99999999999999999999", "tcp://10.0.0.1:80", "redis://[::1", "[/]", "[red]x", "%s", "{}", "a\x1b]0;b\x07c", "a\nb", "../up",
    "x" * 5000, "/proc/nothing", "/dev/null", "/proc/self/mem", "~", "../etc/passwd", "true", "null", "'", "1,2,3", "--", "-",
]  # fmt: skip
OTHERS = (
    "CELERY_BROKER_URL", "CELERY_CONFIG_MODULE", "FLOWER_PORT", "FLOWER_UNIX_SOCKET", "FORKED_BY_MULTIPROCESSING",
    "KOMBU_LOG_DEBUG", "LC_ALL", "LANG", "LC_CTYPE", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR",
    "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONPATH", "PYTHONWARNINGS", "http_proxy", "no_proxy",
    "HOME", "TMPDIR", "OMP_NUM_THREADS", "REDIS_URL", "_TYPER_STANDARD_TRACEBACK", "TERMINAL_WIDTH",
)  # fmt: skip
STORES = [
    "redis://127.0.0.1:{nobody}/0", "redis://127.0.0.1:{nobody}/x", "unix:///nowhere.sock", "sentinel://a:1", "rediss://127.0.0.1:{nobody}",
    "redis://127.0.0.1:99999", "redis://user:pa%20ss@127.0.0.1:{nobody}/0", "amqp://x", "redis://127.0.0.1:{nobody}?socket_timeout=x",
]  # fmt: skip
# Each command with a value for what it must have; {folder} is a package, {odd} anything, {nothing} no folder.
COMMANDS = [
    ["push", "{folder}"], ["push", "{folder}", "--name", "{odd}"], ["push", "{odd}"], ["push", "{folder}", "-e", "{odd}"],
    ["push", "{folder}", "--allow-unsupported", "{odd}"], ["promote", "{odd}", "{odd}"], ["rollback", "{odd}", "-e", "{odd}"],
    ["activate", "{odd}"], ["deactivate", "{odd}"], ["deployments"], ["deployments", "{odd}"], ["models"], ["pause", "{odd}"],
    ["resume", "{odd}"], ["logs", "{odd}"], ["logs", "{odd}", "-n", "{odd}"], ["logs", "{odd}", "--json"], ["keys", "list"],
    ["keys", "create", "--name", "{odd}", "--scope", "{odd}"], ["keys", "create", "--expires-in-days", "{odd}"],
    ["keys", "create", "--model", "{odd}", "--max-running", "{odd}"], ["keys", "create", "--name", "{odd}"],
    ["keys", "revoke", "{odd}"], ["webhook-secret", "list"], ["webhook-secret", "create"], ["webhook-secret", "rotate"],
    ["webhooks", "list", "--limit", "{odd}"], ["webhooks", "list"], ["webhooks", "resend", "{odd}"],
    ["virtualenvs", "prune"], ["virtualenvs", "prune", "--unused-days", "{odd}"], ["build-chain", "{folder}", "{odd}"],
    ["build-chain", "{odd}", "{state}/out"], ["up", "--no-flower", "--models", "{models}"], ["up", "--host", "{odd}"],
    ["up", "--port", "{odd}"], ["up", "--models", "{odd}"], ["up", "--models", "{models}", "--allow-unsupported", "{odd}"],
    ["replica", "{nothing}"], ["replica"], ["replica", "{folder}", "--deployment", "{odd}"], ["api", "--port", "{odd}x"],
    ["flower", "--port", "{odd}x"], ["watch", "{nothing}"], ["--version"], ["--state", "{odd}", "models"], ["models", "--state", "{odd}"],
    ["{odd}"], [], ["push"], ["keys"], ["models", "{odd}"], ["deployments", "--{odd}"],
]  # fmt: skip


@dataclass
class Case:
    """One command in its surroundings."""

    number: int
    words: list[str] = field(default_factory=list[str])
    env: dict[str, str] = field(default_factory=dict[str, str])
    encoding: str = "utf-8"

    def __str__(self) -> str:
        return f"case {self.number}: {self.words} {self.env} {self.encoding}"


def draw(number: int, folder: Path, store: str) -> Case:
    """A case by its number, with its folders made."""
    chance = random.Random(number)
    state = folder / f"state{number}"
    names = {
        "state": state, "models": folder / f"models{number}", "folder": folder / f"models{number}" / "model",
    }  # fmt: skip
    _package(chance, names["folder"])
    _damaged(chance, state)
    words: list[str] = []
    for word in chance.choice(COMMANDS):
        nothing = chance.choice(ODD)
        odd = chance.choice([nothing, *map(str, names.values())])
        for name, value in {**names, "odd": odd, "nothing": nothing}.items():
            word = word.replace("{" + name + "}", str(value))
        words.append(word)
    case = Case(number, words, encoding=chance.choice(["utf-8", "ascii", "latin-1"]))
    case.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "KINGPOST_STATE_DIR": str(state)}
    nobody = free_port()
    case.env["KINGPOST_REDIS_URL"] = chance.choice(
        [store, store, store, *(address.format(nobody=nobody) for address in STORES)]
    )
    if chance.random() < 0.2:
        del case.env["KINGPOST_REDIS_URL"]  # what the state folder says
    settings = ["KINGPOST_" + name.upper() for name in Settings.model_fields]
    pools = (settings, OTHERS, ("KINGPOST_PROT", "KINGPOST_API_PORT"))
    for _ in range(chance.randrange(4)):
        (pool,) = chance.choices(pools, (6, 6, 1))
        case.env[chance.choice(pool)] = chance.choice(ODD)
    return case


def _package(chance: random.Random, folder: Path) -> None:
    """A bad one, a good one, or one whose config.yaml is changed at random places."""
    kind = chance.choice(["bad", "good", "mutated", "mutated"])
    good = "model_name: x\nruntime: {predict_concurrency: 2}\nrequirements: []\nmodel_metadata: {a: [1]}\n"
    if kind == "bad":
        chance.choice(BAD).write(folder)
        return
    text = bytearray(good.encode())
    for _ in range(chance.randrange(1, 6) if kind == "mutated" else 0):
        text[chance.randrange(len(text))] = chance.randrange(256)
    Bad("", "", bytes(text), GOOD_MODEL).write(folder)


def _damaged(chance: random.Random, state: Path) -> None:
    """A state folder that is missing, a file, or has parts of the wrong kind in it."""
    kind = chance.choice(["missing", "empty", "file", "damaged", "damaged"])
    if kind == "file":
        state.write_text("")
    elif kind != "missing":
        state.mkdir()
    if kind != "damaged":
        return
    for name in (
        "up.json",
        "valkey/port",
        "valkey/password",
        "logs/x.log",
        "api_key",
        "lock",
        "run",
        "packages",
    ):
        path = state / name
        if chance.random() < 0.4 and not path.exists():
            path.parent.mkdir(exist_ok=True)
            what = chance.choice(
                ["folder", *ODD, "{}", "[]", '{"redis_url": 5}', '{"pid": 1, "redis_url": "x"}']
            )
            if what == "folder":
                path.mkdir()
            else:
                path.write_bytes(what.encode(errors="surrogateescape"))


def run(case: Case) -> tuple[object, str]:
    """As `kingpost` in this process: its exit code, and what it wrote."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=case.encoding, write_through=True)
    sys.argv = ["kingpost", *case.words]
    os.environ.clear()
    os.environ.update(case.env)
    code: object = 0
    with redirect_stdout(stream), redirect_stderr(stream):
        try:
            cli.main.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # what would reach the terminal
            written.write(traceback.format_exc().encode(errors="replace"))
    stream.flush()
    return code, written.getvalue().decode(errors="replace")


def complaint(code: object, said: str) -> str | None:
    """What is wrong with this end, None when nothing is."""
    if "Traceback" in said:
        return "a traceback"
    if code not in (0, 1, 2):
        return f"the exit code {code}"
    if "\x1b]" in said or "\x07" in said:  # a terminal's title; colours are ours
        return "a control character"
    errors = re.findall(r"^kingpost: .*$", re.sub(r"\x1b\[[\d;]*m", "", said), re.MULTILINE)
    if code == 1 and len(errors) != 1:
        return f"{len(errors)} sentences"
    if errors and not re.search(r"[.)?:]$|its log: \S+$", errors[0].rstrip()):
        return "an error that is no sentence"
    return None


async def _stop_at_once(stack: cli.stack.up._Stack) -> None:
    """Instead of processes that serve until somebody ends them."""
    stack._stop.set()


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """All that a command changes in its process is as before afterwards."""
    kept, argv, umask = os.environ.copy(), sys.argv, os.umask(0o022)
    monkeypatch.setattr(variables, "_set_aside", {})
    monkeypatch.setattr(cli.stack.up, "FOREIGN_STORE_SECONDS", 0.1)
    monkeypatch.setattr(cli.stack.up, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(cli.stack.up._Stack, "_start_parts", _stop_at_once)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.argv = argv
    os.umask(umask)
    os.environ.clear()
    os.environ.update(kept)


def test_no_traceback_reaches_a_terminal(surroundings: Path, valkey: Valkey) -> None:
    wrong: list[str] = []
    for number in range(CASES):
        case = draw(number, surroundings, valkey.url)
        code, said = run(case)
        if what := complaint(code, said):
            wrong.append(f"{case}\n{what} (exit code {code}):\n{said[-1500:]}")
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n\n".join(wrong)


@pytest.mark.slow
def test_a_sample_as_processes(surroundings: Path, valkey: Valkey) -> None:
    for number in range(CASES, CASES + AS_PROCESSES):
        case = draw(number, surroundings, valkey.url)
        command = [sys.executable, "-m", "cli.main", *case.words]
        if case.words[:1] == ["up"]:
            continue  # it might come up
        done = subprocess.run(command, env=case.env, capture_output=True, timeout=120, cwd=ROOT)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert complaint(done.returncode, said) is None, f"{case}\n{said}"


@pytest.mark.parametrize(
    ("made", "variables", "said"),
    [
        ((), {}, "Nothing has run in {state}; start one"),
        (("models",), {}, "Nothing has run in {state}; start one"),
        (("virtualenvs",), {}, "There is nothing to remove."),
        ((), {"KINGPOST_VIRTUALENVS_DIR": "/nowhere"}, "There is no folder /nowhere (KINGPOST_VIRTUALENVS_DIR)."),
    ],
)  # fmt: skip
def test_prune_says_that_it_looked_in_the_wrong_folder(
    surroundings: Path, made: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    state = surroundings / "state"
    for name in made:
        (state / name).mkdir(parents=True)
    case = Case(0, ["virtualenvs", "prune", "--state", str(state)], os.environ.copy() | variables)
    assert said.format(state=state) in run(case)[1]


@pytest.mark.parametrize("written", ["", "{}", "[]", '{"redis_url": 5}', '{"redis_url": "amqp://x"}'])  # fmt: skip
def test_a_damaged_note_of_the_stack_is_named(surroundings: Path, written: str) -> None:
    (surroundings / "state").mkdir()
    (surroundings / "state" / "up.json").write_text(written)
    case = Case(0, ["models", "--state", "state"], os.environ.copy())
    code, said = run(case)
    assert (code, "up.json is damaged or was not written by `kingpost up`" in said) == (1, True)


async def _start_nothing(stack: cli.stack.up._Stack) -> None:
    """As if the parts never answered."""


def test_a_part_that_never_answers_is_one_sentence(
    surroundings: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.stack.up._Stack, "_start_parts", _start_nothing)
    monkeypatch.setattr(cli.stack.up, "PART_SECONDS", 0.1)
    ours = {"KINGPOST_REDIS_URL": valkey.url, "KINGPOST_STATE_DIR": str(surroundings / "state")}
    words = ["up", "--no-flower", "--port", str(free_port())]
    code, said = run(Case(0, words, os.environ.copy() | ours))
    assert code == 1 and complaint(code, said) is None
    assert "kingpost: The part api did not answer within 0 s; its log: " in said
