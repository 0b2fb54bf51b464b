"""The budget of the house style, measured: the tail of functions and files, and a few habits."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import priority
from deployments.registry.verbs import SCRIPTS
from tasks.access.library import ACCESS
from tasks.batches.verbs import BATCHES
from tasks.files.verbs import FILES
from tasks.log_store.library import LOGS
from tasks.state import ALLOWED, Status
from tasks.steering.verbs import SCRIPTS as STEERING
from tasks.store import keys, scripting
from tasks.store.scripting import JOBS

ROOT = Path(__file__).parents[3]
CODE = ("api", "cli", "deployments", "kingpost", "priority", "tasks", "workers", "models")
LONGEST_FUNCTION, P90_FUNCTION = 60, 25
LONGEST_FILE = 450
LONGEST_SCRIPT = 60
MOST_MODULES = 16  # of a folder
VERBS = (
    (
        JOBS,
        (
            "tasks/store/verbs.py",
            "tasks/store/history.py",
            "tasks/store/totals.py",
            "tasks/webhooks/verbs.py",
        ),
    ),
    (
        SCRIPTS,
        [
            f"deployments/registry/{name}.py"
            for name in ("verbs", "nodes", "packages", "removal", "load_counts", "pages")
        ],
    ),
    (FILES, [f"tasks/files/{name}.py" for name in ("verbs", "transfers", "listed")]),
    (BATCHES, ("tasks/batches/verbs.py",)),
    (STEERING, ("tasks/steering/verbs.py",)),
    (LOGS, ("tasks/log_store/verbs.py",)),
    (
        ACCESS,
        (
            *(f"tasks/access/{name}.py" for name in ("audit", "keys", "sessions")),
            "tasks/webhooks/secrets.py",
        ),
    ),
)


def files(*folders: str, ending: str = ".py") -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = (ROOT / line for line in listed.stdout.split("\n") if line.endswith(ending))
    return [path for path in paths if path.exists()]


def functions(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())
            yield lines, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_functions_are_short() -> None:
    spans = sorted(span for path in files(*CODE) for span in functions(path))
    too_long = [name for lines, name in spans if lines > LONGEST_FUNCTION]
    assert not too_long
    assert spans[int(len(spans) * 0.9)][0] <= P90_FUNCTION


def test_files_are_short() -> None:
    sizes = ((path.read_text().count("\n"), str(path)) for path in files(*CODE))
    assert not [name for lines, name in sizes if lines > LONGEST_FILE]


def test_the_rooms_are_small_and_stand_in_contributing() -> None:
    rooms: dict[str, int] = {}
    for path in files("api", "cli", "deployments", "kingpost", "priority", "tasks", "workers"):
        if path.name != "__init__.py" and not path.is_relative_to(ROOT / "cli" / "templates"):
            room = str(path.relative_to(ROOT).parent)
            rooms[room] = rooms.get(room, 0) + 1
    assert not {room for room, modules in rooms.items() if modules > MOST_MODULES}
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"^\| `(\w+/[\w/]+)/` \|", text, re.MULTILINE))
    assert named == {room for room in rooms if "/" in room}


def test_process_variables_are_read_in_one_place() -> None:
    allowed = {
        "tasks/process/variables.py",
        "tasks/settings.py",
        "tasks/process/programs.py",
        "workers/host/variables.py",
        "kingpost/__main__.py",
        "kingpost/contexts.py",
    }
    readers = {
        str(path.relative_to(ROOT))
        for path in files("api", "cli", "deployments", "kingpost", "priority", "tasks", "workers")
        if re.search(r"os\.environ|os\.getenv", path.read_text())
    }
    assert readers <= allowed


def test_numbers_from_outside_go_through_one_parser() -> None:
    """`"²".isdigit()` holds and `int("²")` raises; 5,000 digits raise, too."""
    pattern = re.compile(r"\.is(digit|decimal|numeric)\(")
    for folder in ("api", "cli", "deployments", "priority", "tasks", "workers"):
        for path in files(folder):
            if path.name != "outside_text.py":
                assert not pattern.search(path.read_text()), path


def test_no_variable_is_called_one() -> None:
    """A name says what it holds."""
    for path in files(
        "api", "bench", "cli", "deployments", "priority", "tasks", "tests", "workers"
    ):
        names = (
            node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
        )
        assert "one" not in names, path


def test_a_file_that_moved_still_finds_the_root() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files(
            "api", "bench", "cli", "deployments", "priority", "tasks", "tests", "workers"
        )
        for number in re.findall(
            r"__file__\)(?:\.resolve\(\))?\.parents\[\s*(\d+)", path.read_text()
        )
        if path.parents[int(number)] not in (ROOT, ROOT / "tests")
    ]
    assert not wrong


IMPORTS = """
import ast, importlib, importlib.util, sys
from pathlib import Path

ours = set(sys.argv[1].split())
for path in map(Path, sys.argv[2:]):
    try:
        importlib.import_module(".".join(path.with_suffix("").parts))
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] in ours:
            raise
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ours - {"bench"}:
            module = importlib.import_module(node.module)
            for alias in node.names:
                found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert found, f"{path}: {node.module}.{alias.name}"
"""


def test_the_benches_can_be_imported() -> None:
    """Some need packages that only `make bench` installs. Of those, what they import of ours is looked at."""
    paths = [path.relative_to(ROOT) for path in files("bench") if "models" not in path.parts]
    ours = " ".join([*CODE, "bench", "tests"])
    variables = {"TEXTBOOK_BROKER": "redis://127.0.0.1:1"}  # nobody connects
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, ours, *map(str, paths)],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_test_sleeps() -> None:
    waits = re.compile(r"\bsleep\(|PAUSE\.wait\(")
    a_fault = re.compile(r"\blasts\(")  # its time is planned; nothing is waited for
    timed = ("tests/chaos/", "tests/attack/", "tests/contract/test_replica.py")
    for path in files("tests"):
        is_a_model = path.name == "model.py"  # models that tests run may take their time
        if path.name in (Path(__file__).name, "conditions.py") or is_a_model:
            continue
        code = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
        assert not waits.search(code), path
        assert str(path.relative_to(ROOT)).startswith(timed) or not a_fault.search(code), path


SHEBANGS = ("#!lua", "#!lua flags=allow-oom", "#!lua flags=no-writes")
WRITES = re.compile(
    r"'(SET|DEL|[HZ]?INCR\w*|HSET\w*|HDEL|[SZX]ADD|[SZ]REM\w*|[LR]PUSH|PUBLISH|PEXPIRE|XTRIM)'|\bnow_ms\("
)


def scripts() -> list[Path]:
    return [
        path
        for library, _ in VERBS
        for path in sorted(library.folder.glob("*.lua"))
        if path.name not in scripting.INCLUDED
    ]


@pytest.mark.parametrize("path", scripts(), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_script_is_short_and_says_what_it_takes_and_returns(path: Path) -> None:
    shebang, _, source = path.read_text().partition("\n")
    assert shebang in SHEBANGS
    assert source.startswith(f"-- {path.stem}: ")
    assert "-- ARGV " in source
    assert "-- RETURNS " in source
    assert source.count("\n") <= LONGEST_SCRIPT
    if shebang.endswith("no-writes"):
        assert not WRITES.search(source)


def test_every_script_has_a_verb_and_every_verb_a_script() -> None:
    for library, modules in VERBS:
        source = "".join((ROOT / module).read_text() for module in modules)
        named = set(re.findall(r"\b(?:ScriptCall|_call)\(\s*\"(\w+)\"", source))
        assert named == set(scripting.sources(library.folder))


@pytest.mark.parametrize("path", sorted(priority.FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_a_file_of_order_is_short_is_loaded_and_says_what_it_is_for(path: Path) -> None:
    source = path.read_text()
    assert path.stem in priority.LUA_FILES
    assert source.startswith(f"-- {path.stem}: ")
    assert source.count("\n") <= LONGEST_SCRIPT
    for function in re.findall(r"^local function (\w+)", source, re.MULTILINE):
        used = re.compile(rf"\b{function}\(")
        callers = [
            text
            for text in _script_texts()
            if used.search(text.replace(f"function {function}(", ""))
        ]
        assert callers, f"{function} is called by nobody"


def test_no_script_spells_a_key_or_reads_too_much() -> None:
    for path in _scripts():
        source = path.read_text()
        assert keys.TAG not in source, path
        assert "kingpost." not in source, path
        for banned in ("'KEYS'", "'SMEMBERS'", "'LREM'", "'FLUSHALL'"):
            assert banned not in source, f"{path}: {banned}"


def test_scripts_move_jobs_only_along_the_state_machine() -> None:
    written = {word for word in Status if any(f"'{word}'" in text for text in _script_texts())}
    assert written >= {Status.QUEUED, Status.IN_PROGRESS, Status.CANCELED, Status.EXPIRED}
    assert set(ALLOWED) == {Status.QUEUED, Status.IN_PROGRESS}


def _script_texts() -> list[str]:
    return [path.read_text() for path in _scripts()]


def _scripts() -> list[Path]:
    return [*JOBS.folder.glob("*.lua"), *priority.FOLDER.glob("*.lua")]


def test_the_readme_draws_every_transition() -> None:
    picture = (ROOT / "README.md").read_text()
    for status in Status:
        assert status in picture, f"{status} is missing from the README's picture of the states"
