"""The client works where nothing of the server can be imported."""

import subprocess
import sys

BLOCKED = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

BLOCKED = set(sys.argv[1].split())
sys.meta_path.insert(0, Nothing())
import kingpost
for name in kingpost.__all__:
    getattr(kingpost, name)
client = kingpost.Client("http://127.0.0.1:9", "key", retries=0)
try:
    client.submit("model", {})
except kingpost.Unreachable as error:
    print(error)
print(*sorted({name.split(".")[0] for name in sys.modules} & BLOCKED))
"""
SERVER = "api cli deployments priority tasks workers celery fastapi kombu pydantic redis typer rich starlette yaml"


def test_it_imports_nothing_of_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, SERVER], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said, imported = done.stdout.splitlines()
    assert said.startswith("http://127.0.0.1:9 cannot be reached: ") and imported == ""


def test_the_package_says_what_it_has_and_imports_it_when_it_is_used() -> None:
    script = "import kingpost, sys; print('httpx' in sys.modules, hasattr(kingpost, 'nothing'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
