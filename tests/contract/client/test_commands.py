"""The commands of a laptop that has an address and a key, and nothing else of the stack."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.stack.ports import free_port
from kingpost import Client
from tests.contract.client.conftest import COUNTER, Shell, Stack
from tests.cutting import cutting

pytestmark = pytest.mark.stack

NEVER_READY = """
class Model:
    def load(self):
        raise ValueError("no weights")

    def predict(self, model_input):
        return model_input
"""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))


def test_login_notes_server_and_key_and_logout_forgets_them(stack: Stack, far: Shell) -> None:
    host = stack.url.removeprefix("http://")
    said = far.type(f"kingpost login {stack.url}/", given=stack.key + "\n")
    assert said.startswith(f"Logged in to {stack.url} as the context {host}; it serves ")
    far.type(f"kingpost login {stack.url} --key {stack.key} --name work")
    listed = json.loads(far.type("kingpost contexts --json"))
    assert [(row["name"], row["current"]) for row in listed] == [(host, False), ("work", True)]
    far.type(f"kingpost use {host}")
    assert far.type("kingpost status").startswith(f"{stack.url} (context {host}) answers.\n")
    far.type("kingpost logout")
    said = far.refused("kingpost status")
    assert "No running stack was found" in said and "`kingpost login URL`" in said
    far.type("kingpost use work")
    said = far.refused("kingpost watch .")
    assert (
        f"only on the machine of the stack, with --state FOLDER; it does not use {stack.url}."
        in said
    )
    assert stack.key not in far.type("kingpost contexts")
    assert "There is no context 'x' (known: work)" in far.refused("kingpost use x")


def test_what_cannot_be_logged_in_to_is_one_sentence(stack: Stack, far: Shell) -> None:
    def login(url: str, key: str = "key") -> str:
        return far.refused(f"kingpost login {url} --key {key}")

    wrong = login(stack.url, "kp_wrong")
    assert f"{stack.url} does not take this key" in wrong
    port = free_port()
    assert f"http://127.0.0.1:{port} cannot be reached" in login(f"http://127.0.0.1:{port}")
    assert f"give the address of the server alone: {stack.url}" in login(f"{stack.url}/v1/models")
    assert "looks like https://" in login("127.0.0.1")
    assert "is not an API key" in far.refused(f"kingpost login {stack.url}", given="\n")
    assert not (Path(far.variables["XDG_CONFIG_HOME"]) / "kingpost").exists()


class Elsewhere(BaseHTTPRequestHandler):
    """Something that is no Kingpost: it redirects, or has a page for everything."""

    def do_GET(self) -> None:
        page = self.server.server_port % 2 == 0  # pyright: ignore[reportAttributeAccessIssue]
        self.send_response(200 if page else 301)
        self.send_header("location", "https://kingpost.example.com/v1/models")
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>" if page else b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


def elsewhere(even: int) -> ThreadingHTTPServer:
    port = next(port for port in iter(free_port, 0) if port % 2 == even)
    server = ThreadingHTTPServer(("127.0.0.1", port), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_redirect_and_another_kind_of_server_are_one_sentence(far: Shell) -> None:
    for even, sentence in (
        (1, "redirects to https://kingpost.example.com; use that address."),
        (0, "does not answer as a Kingpost server"),
    ):
        server = elsewhere(even)
        url = f"http://127.0.0.1:{server.server_port}"
        assert f"{url} {sentence}" in far.refused(f"kingpost login {url} --key key")
        server.shutdown()
        server.server_close()


def test_variables_and_options_win_over_the_context(stack: Stack, logged_in: Shell) -> None:
    wrong = f"http://127.0.0.1:{free_port()}"
    assert f"{wrong} cannot be reached" in logged_in.refused(
        "kingpost status", KINGPOST_URL=wrong, KINGPOST_API_KEY="key"
    )
    assert "No key is known for" in logged_in.refused(f"kingpost status --url {wrong}")
    assert "refuses this key" in logged_in.refused("kingpost status", KINGPOST_API_KEY="wrong")
    local = f"--state {stack.shell.folder / '.kingpost'}"
    assert logged_in.type(f"kingpost status {local}").startswith(f"{stack.url} answers.\n")
    assert "No running stack was found" in logged_in.refused("kingpost status --state .")


def test_predict_shows_json_streams_text_and_passes_bytes_on(logged_in: Shell) -> None:
    assert json.loads(logged_in.type("kingpost predict hello -i name=Ada")) == {
        "text": "Hello, Ada!"
    }
    assert logged_in.type("kingpost predict counter -i upto=3") == "1, 2, 3.\n"
    (logged_in.folder / "in.json").write_text('{"name": "File"}')
    assert "Hello, File!" in logged_in.type("kingpost predict hello -i @in.json")
    assert "Hello, Pipe!" in logged_in.type(
        "kingpost predict hello -i @-", given='{"name": "Pipe"}'
    )
    whole = json.loads(logged_in.type("kingpost predict counter -i upto=2 --json"))
    assert whole["output"] == "1, 2.\n"
    assert "There is no model 'nobody'" in logged_in.refused("kingpost predict nobody")
    raised = logged_in.refused("kingpost predict hello -i nam=Ada")
    assert "`kingpost logs hello` shows why." in raised
    assert "neither KEY=VALUE" in logged_in.refused("kingpost predict hello -i Ada")
    assert "missing.json cannot be used" in logged_in.refused(
        "kingpost predict hello -i @missing.json"
    )


def test_pictures_bytes_and_base64_go_into_files(logged_in: Shell) -> None:
    paint = "kingpost predict painter -i what="
    assert logged_in.type(paint + "bytes -o a.png") == "a.png\n"
    assert (logged_in.folder / "a.png").read_bytes() == PNG
    assert logged_in.type(paint + "json -o b.png") == "b-1.png\nb-2.png\n"
    assert (logged_in.folder / "b-1.png").read_bytes() == PNG
    assert (logged_in.folder / "b-2.png").read_bytes() == b"hi"
    logged_in.type(paint + "json -o c.json")
    assert json.loads((logged_in.folder / "c.json").read_text())["image"].startswith("iVBOR")
    said = json.loads(logged_in.type(paint + "json --async -o d.png --json"))
    assert said["files"] == ["d-1.png", "d-2.png"] and len(said["request_id"]) == 32


def test_a_detached_request_is_an_id_to_go_on_with(logged_in: Shell) -> None:
    counter = "kingpost predict counter -i upto=3 "
    request_id = logged_in.type(counter + "--async --detach").strip()
    logged_in.type(f"kingpost jobs watch {request_id}")
    assert logged_in.type(f"kingpost jobs result {request_id}") == "1, 2, 3.\n"
    said = json.loads(logged_in.type(counter + "--async --detach --json"))
    assert list(said) == ["request_id"] and len(said["request_id"]) == 32
    for wrong, advice in (
        ("--detach", "add --async"),
        ("--webhook https://a.b/c", "add --async"),
        ("--async --detach -o f", "take out -o"),
    ):
        refused = logged_in.run(counter + wrong)
        assert refused.returncode == 2 and advice in refused.stderr


def test_the_queue_shows_how_it_goes_and_the_output(logged_in: Shell) -> None:
    done = logged_in.run("kingpost predict counter -i upto=3 --async --priority 1")
    assert done.stdout == "1, 2, 3.\n"
    (request_id,) = re.findall(r"^queued as ([0-9a-f]{32})$", done.stderr, re.M)
    assert done.stderr.splitlines()[-2:] == ["in progress", "succeeded"]
    shown = logged_in.type(f"kingpost jobs show {request_id}")
    assert shown.startswith(f"{request_id}\n  status: SUCCEEDED\n") and "priority: 1" in shown
    assert logged_in.type(f"kingpost jobs result {request_id}") == "1, 2, 3.\n"
    steps = logged_in.run("kingpost predict painter -i what=steps --async").stderr
    assert "100% step 2/2" in steps
    failed = logged_in.run("kingpost predict painter -i what=fail --async")
    assert (
        failed.returncode == 1 and "no paint" in failed.stderr and "has no result" in failed.stderr
    )


def test_a_webhook_is_asked_for_and_its_request_shows_the_model_by_name(logged_in: Shell) -> None:
    counter = "kingpost predict counter -i upto=1 --async --detach --webhook "
    assert "can never be reached" in logged_in.refused(f"{counter}https://127.0.0.1:1/hook")
    request_id = logged_in.type(f"{counter}https://nobody.invalid/hook").strip()
    watched = logged_in.type(f"kingpost jobs watch {request_id}")
    assert re.search(r"^  model: counter \(\w{8}\)$", watched, re.M)
    shown = logged_in.type(f"kingpost jobs show {request_id}")
    assert "  webhook status: PENDING\n" in shown and "  model: counter (" in shown
    logged_in.type(f"kingpost jobs purge {request_id}")


def test_who_leaves_a_request_in_the_queue_reads_how_to_find_it_again(
    stack: Stack, logged_in: Shell
) -> None:
    with cutting(stack.url, 0) as (proxy, url):
        command = f"kingpost predict painter -i what=hold --async --url {url}"
        environment = {**logged_in.variables, "KINGPOST_API_KEY": stack.key}
        shell = Shell(logged_in.folder, environment)
        for leaving in ("the user", "the server"):
            with shell.start(command) as left:
                assert left.stderr
                (request_id,) = re.findall(r"^queued as (\w+)$", left.stderr.readline(), re.M)
                while "in progress" not in left.stderr.readline():
                    pass
                if leaving == "the user":
                    left.send_signal(signal.SIGINT)
                else:
                    proxy.leave()
                said = left.stderr.read()
                assert left.wait(60) in (1, 130)
            word = "goes on" if leaving == "the user" else "is kept, and runs when"
            assert f"The request {request_id} {word}" in said, said
            assert f"`kingpost jobs watch {request_id} --url {url}` follows it" in said
            assert "Traceback" not in said
            logged_in.type(f"kingpost jobs cancel {request_id}")


def hold(stack: Stack) -> str:
    from kingpost import Client

    with Client(stack.url, stack.key) as client:
        return client.submit("painter", {"what": "hold"}).id


def test_jobs_are_listed_whole_in_80_columns_watched_and_cancelled(
    stack: Stack, logged_in: Shell
) -> None:
    first, second = (hold(stack) for _ in range(2))
    listed = logged_in.type("kingpost jobs ls -n 5")
    assert {first, second} <= set(listed.split()) and "…" not in listed
    assert max(len(line) for line in listed.splitlines()) <= 80
    status = json.loads(logged_in.type(f"kingpost jobs show {second} --json"))
    assert status["request_id"] == second
    queue = json.loads(logged_in.type("kingpost queue painter --json"))
    assert queue["num_queued_requests"] + queue["num_in_progress_requests"] == 2
    shell = Shell(logged_in.folder, logged_in.variables)  # a process of its own
    seen: list[subprocess.CompletedProcess[str]] = []
    watching = threading.Thread(
        target=lambda: seen.append(shell.run(f"kingpost jobs watch {first} --json"))
    )
    watching.start()
    assert second in logged_in.type(f"kingpost jobs cancel {second} {first}")
    watching.join(60)
    assert seen[0].returncode == 1  # it has no result
    events = [json.loads(line) for line in seen[0].stdout.splitlines()]
    assert events[-1]["kind"] == "done" and events[-2]["data"]["status"] == "CANCELED"
    again = logged_in.run(f"kingpost jobs cancel {first}")
    assert again.returncode == 1 and "already canceled" in again.stdout
    for wrong in ("abc", "digits", "X" * 32):
        assert f"{wrong!r} is not the id of a request" in logged_in.refused(
            f"kingpost jobs show {wrong}"
        )
    assert "There is no such async request" in logged_in.refused(f"kingpost jobs show {'0' * 32}")
    rows = json.loads(logged_in.type("kingpost jobs ls --status canceled --json"))
    assert {first, second} <= {row["request_id"] for row in rows}


def test_init_makes_packages_and_refuses_a_folder_with_something_in_it(far: Shell) -> None:
    said = far.type("kingpost init 'my model'")
    assert "kingpost push 'my model'" in said
    assert 'model_name: "my model"' in (far.folder / "my model" / "config.yaml").read_text()
    assert "is not an empty folder" in far.refused("kingpost init 'my model'")
    assert "there are minimal, diffusers" in far.refused("kingpost init x --template y")
    files = json.loads(far.type("kingpost init z --template custom-server --json"))["files"]
    assert files == ["z/config.yaml", "z/server.py"]


def test_an_environment_is_promoted_to_and_rolled_back_from_afar(
    stack: Stack, logged_in: Shell
) -> None:
    first = stack.shell.type(f"kingpost push {stack.package('turns', COUNTER)}")
    (stack.shell.folder / "turns" / "model" / "model.py").write_text(NEVER_READY)
    second = stack.shell.run("kingpost push turns")
    assert second.returncode == 1 and "no weights" in second.stderr
    old, new = (re.findall(r"deployment (\w{8})", said)[0] for said in (first, second.stdout))
    assert (
        logged_in.type(f"kingpost promote turns {old}") == f"production points at {old} already.\n"
    )
    soon = f"production switches to {new} as soon as a replica is ready.\n"
    local = f"--state {stack.shell.folder / '.kingpost'}"
    for where in ("", local):
        refused = logged_in.refused(f"kingpost promote turns {new} {where}")
        assert refused.startswith(f"The last load of {new} failed: ValueError: no weights; with --")
    with Client(stack.url, stack.key) as client:
        (warning,) = client.deployments.promote("turns", new).warnings
        assert warning.endswith("production switches to it only when it is ready.")
    assert logged_in.type(f"kingpost promote turns {new} --force") == soon
    kept = f"The promotion of {new} is canceled; production stays at {old}.\n"
    assert logged_in.type("kingpost rollback turns") == kept
    assert "has no previous deployment" in logged_in.refused("kingpost rollback turns")
    staged = logged_in.type(f"kingpost promote turns {new} -e staging --force")
    assert staged.startswith(("staging points at", "staging switches to"))
    assert logged_in.type(f"kingpost deactivate {new}") == f"{new} of turns is inactive.\n"
    assert logged_in.type(f"kingpost activate {new}") == f"{new} of turns is active.\n"
    assert logged_in.type(f"kingpost activate {new}") == f"{new} of turns is active already.\n"
    assert "There is no deployment nothing" in logged_in.refused("kingpost activate nothing")
    _same_on_both_ways(logged_in, local, old, new)


def _same_on_both_ways(laptop: Shell, local: str, old: str, new: str) -> None:
    """A server's API and its store are told in the same lines."""
    for command, same in (
        ("models", ("model", "deployment", "serves", "queued")),
        ("deployments turns", ("model", "deployment", "wanted", "environments")),
    ):
        here, there = (
            {row["deployment"]: [row[name] for name in same] for row in json.loads(said)}
            for said in (laptop.type(f"kingpost {command} --json {way}") for way in (local, ""))
        )
        assert {old, new} <= here.keys() and here == there
        lines = laptop.type(f"kingpost {command}").splitlines()
        assert old in "".join(lines) and max(map(len, lines)) <= 80


def test_a_large_file_is_uploaded_and_referred_to(logged_in: Shell) -> None:
    content = bytes(range(256)) * 50_000  # two requests
    (logged_in.folder / "big.bin").write_bytes(content)
    for more in ("", " --async"):
        said = logged_in.type(f"kingpost predict weigher -i file=@@big.bin --json{more}")
        assert json.loads(said)["output"] == {"bytes": len(content)}
    refused = logged_in.refused("kingpost predict weigher -i file=@@none.bin")
    assert refused == "There is no file none.bin."


def test_files_of_an_output_are_downloaded(logged_in: Shell) -> None:
    content = bytes(range(256)) * 1000
    (logged_in.folder / "in.bin").write_bytes(content)
    for more in ("", " --async"):
        said = logged_in.type(
            f"kingpost predict weigher -i file=@@in.bin -i copy=1 -o out.bin{more}"
        )
        assert said.split() == ["out-1.bin", "out-2.bin"]
        for name in said.split():
            assert (logged_in.folder / name).read_bytes() == content
            (logged_in.folder / name).unlink()


def test_a_push_on_the_machine_of_the_stack_waits_and_says_how_to_call(
    stack: Stack, tmp_path: Path
) -> None:
    elsewhere = Shell(tmp_path, {"COLUMNS": "80"})
    local = f"--state {stack.shell.folder / '.kingpost'}"
    folder = stack.package("waited", COUNTER)
    (folder / "config.yaml").write_text(
        "model_name: waited\nmodel_metadata: {example_model_input: {upto: 2}}\n"
    )
    said = elsewhere.type(f"kingpost push {folder} {local}")
    assert "ready: " in said
    curl = said.splitlines()[-1]
    assert curl.endswith("""-d '{"upto": 2}'""")
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", curl], env=path, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "1, 2.\n", done.stderr
    (folder / "model" / "model.py").write_text(NEVER_READY)
    assert "kingpost models" in elsewhere.type(f"kingpost push {folder} {local} --no-wait")
    broken = elsewhere.run(f"kingpost push {folder} {local}")
    assert broken.returncode == 1 and "waited is failed: " in broken.stderr
    assert "no weights" in broken.stderr
