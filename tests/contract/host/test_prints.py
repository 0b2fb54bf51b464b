"""What a model writes becomes whole JSON lines, each with the id of the request that wrote it."""

import concurrent.futures
from pathlib import Path

import pytest

from tests.conditions import wait_until
from tests.contract.host.conftest import StartHost
from workers.host.logs import user_frames

MODEL = """
import sys, threading

class Model:
    def __init__(self):
        self.together = threading.Barrier(2)

    def predict(self, given):
        if given == "together":
            for number in range(50):
                print("both", number)
                self.together.wait(10)
        elif given == "bar":
            for percent in range(0, 101, 10):
                sys.stderr.write(f"\\r{percent:3d}%")
            sys.stderr.write("\\n")
        elif given == "long":
            print("x" * 200_000)
        elif given == "generator":
            return self.words()
        else:
            print(given, end="")
        return given

    def words(self):
        for word in ("a", "b"):
            print("yields", word)
            print(word, end=" ")
            yield word
"""
CONFIG = "model_name: writer\nruntime: {predict_concurrency: 4}\n"


@pytest.mark.kingpost_only("prints as JSON lines of a request")
def test_every_line_has_the_model_and_the_request_of_its_thread(start_host: StartHost) -> None:
    host = start_host(MODEL, CONFIG)
    with concurrent.futures.ThreadPoolExecutor(2) as clients:
        for name in ("one", "two"):
            headers = {"x-baseten-request-id": name}
            clients.submit(host.predict, "together", headers=headers)
    wait_until(lambda: sum("both" in line.get("message", "") for line in host.logs()) == 100)
    said = [line for line in host.logs() if "message" in line]
    for name in ("one", "two"):
        own = [line["message"] for line in said if line.get("request_id") == name]
        assert own == [f"both {number}" for number in range(50)]
    assert {line["model"] for line in said} == {"writer"}
    host.job("generator", name="gen")
    own = [line["message"] for line in host.logs() if line.get("request_id") == "gen"]
    assert own == ["yields a", "a yields b", "b "]  # over the threads that pulled the words


@pytest.mark.kingpost_only("prints as JSON lines of a request")
def test_a_half_line_ends_with_its_request(start_host: StartHost) -> None:
    host = start_host(MODEL, CONFIG.replace("4", "1"))
    for name in ("first", "second", "third"):
        host.predict(name, headers={"x-baseten-request-id": name})

    def own() -> list[tuple[str, str]]:
        return [(line["request_id"], line["message"]) for line in host.logs() if "message" in line]

    wait_until(lambda: len(own()) == 3)  # a half line ends after its call was answered
    assert own() == [(name, name) for name in ("first", "second", "third")]


@pytest.mark.kingpost_only("prints as JSON lines of a request")
def test_a_progress_bar_is_one_line_and_a_long_one_is_cut(start_host: StartHost) -> None:
    host = start_host(MODEL, CONFIG)
    host.predict("bar")
    host.predict("long")
    messages = [line["message"] for line in host.logs() if "message" in line]
    assert messages[0] == "100%"
    assert messages[1].endswith("x... (134464 characters more)")
    assert len(messages[1]) < 66_000


def test_an_error_without_the_authors_frames_stands_alone(tmp_path: Path) -> None:
    try:
        compile("def (", "model.py", "exec")
    except SyntaxError as error:
        text = user_frames(error, "model/model.py")
    assert text.splitlines()[0].strip() == 'File "model.py", line 1'
    assert "test_prints" not in text
