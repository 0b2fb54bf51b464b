"""`kingpost demo --chat`: a stack with the chat model of the repository, and a chat with it, line by line, in the terminal."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from cli.stack.briefly import Running, lacking, running
from kingpost.packing.config_file import CONFIG_NAME, PackageError, yaml_of
from tasks.errors import KingpostError
from tasks.outside_text import printable

MODEL = "chat"  # the name of the model, and of its folder
FOLDER = Path("extra") / MODEL  # below the folder of models
FETCH = "fetch.py"  # beside it; brings its weights
NEEDS = ("torch", "transformers")  # what it imports, of the extra `models`
WEIGHTS = "CHAT_WEIGHTS"  # the variable in its config.yaml that names the folder of its weights
SILENCE_SECONDS = 300.0  # without a token, until the answer is given up
CALM = {"temperature": 0.2, "max_tokens": 300}  # a small model wanders off when it is warmer
TOO_LONG = "context_length_exceeded"
Message = dict[str, str]


class ChatFailed(KingpostError):
    """The chat did not work."""


class Refused(Exception):
    """The model's error, with its code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message") or "The model did not answer.")
        self.code = error.get("code")


def run(models: Path) -> None:
    """Starts the stack, chats until Ctrl-D, stops. Raises ChatFailed and StartFailed."""
    package = models / FOLDER
    _check(package)
    print("Starting a stack with the chat model; loading it takes up to a minute ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="kingpost-chat-") as folder:
        (Path(folder) / MODEL).symlink_to(package.resolve())
        with running(Path(folder), MODEL) as stack:
            print(_how(stack), flush=True)
            with httpx.Client(
                base_url=stack.url,
                headers={"authorization": f"Api-Key {stack.key}"},
                timeout=httpx.Timeout(SILENCE_SECONDS, connect=10),
            ) as http:
                _chat(http)
            print("Stopping.", flush=True)


def _check(package: Path) -> None:
    """Raises ChatFailed if something is missing, before anything is started."""
    if lack := lacking(package, "chats", NEEDS):
        raise ChatFailed(lack)
    try:
        config: dict[str, Any] = yaml_of((package / CONFIG_NAME).read_text())[0]
    except (OSError, PackageError) as error:
        raise ChatFailed(f"{package / CONFIG_NAME} cannot be read: {error}") from error
    weights = package / str((config.get("environment_variables") or {}).get(WEIGHTS, "data/chat"))
    if not (weights / "config.json").exists():
        way = f"python {package.parent / FETCH} {MODEL} brings them (93 MB; it needs the extra `chat`)"
        raise ChatFailed(f"The weights of the model are not in {weights}: {way}.")


def _how(stack: Running) -> str:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]})
    return (
        "Write a line. Ctrl-C stops an answer, Ctrl-D ends the chat. The same by HTTP, while this runs:\n"
        f"  curl {stack.url}/v1/chat/completions -H \"Authorization: Api-Key $(cat {stack.key_file})\" -d '{body}'"
    )


def _chat(http: httpx.Client) -> None:
    """One line after the other, until the input ends."""
    with contextlib.suppress(ImportError):
        import_module("readline")  # input() then edits lines and knows earlier ones
    messages: list[Message] = []
    while (line := _line()) is not None:
        if not line.strip():
            continue
        refused = _exchange(http, messages, line)
        if refused and refused.code == TOO_LONG and messages:
            print("The chat is longer than the model can read; it begins anew.", flush=True)
            messages.clear()
            refused = _exchange(http, messages, line)
        if refused:
            print(f"\n{printable(str(refused))}", flush=True)


def _line() -> str | None:
    """The next line, None at the end of the input. Ctrl-C gives up what was typed."""
    while True:
        try:
            return input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print("\n(Ctrl-D ends the chat.)")


def _exchange(http: httpx.Client, messages: list[Message], line: str) -> Refused | None:
    """Sends the line and shows the answer as it comes. What was shown is part of the chat, also when Ctrl-C stopped it or an error ended it.

    Returns why the answer did not come, or not to its end.
    """
    asked: Message = {"role": "user", "content": line}
    body = {"model": MODEL, "messages": [*messages, asked], "stream": True, **CALM}
    said, refused = "", None
    try:
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            for text in _texts(answer):
                said += text
                sys.stdout.write(printable(text))
                sys.stdout.flush()
        print(flush=True)
    except KeyboardInterrupt:
        print(" [stopped]", flush=True)
    except Refused as error:
        refused = error
    except httpx.HTTPError as error:
        refused = Refused({"message": f"The server did not answer: {error}"})
    if said:
        messages += [asked, {"role": "assistant", "content": said}]
    return refused


def _texts(answer: httpx.Response) -> Iterator[str]:
    """What the answer adds, piece by piece. Raises Refused."""
    if not answer.is_success:
        raise Refused(_error_in(answer.read()))
    for line in answer.iter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        if "error" in event:
            raise Refused(_error_in(data.encode()))
        for choice in event.get("choices") or ():
            yield (choice.get("delta") or {}).get("content") or ""


def _error_in(body: bytes) -> dict[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        return {"message": body.decode(errors="replace")}
    return error if isinstance(error, dict) else {"message": str(error)}
