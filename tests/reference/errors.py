"""docs/reference/errors.md: every error code, what it means and what to do. The codes and their statuses are those of the code."""

import re
from pathlib import Path

from api.dialects import errors as dialects
from tasks.state import RETRIED, ErrorCode

ROOT = Path(__file__).parents[2]
HEAD = """# Errors

Every error code, what it means, and what to do about it. `make reference` writes this page: the codes come from the code. The sentence beside a code always says more than the code.

An answer of the API is `{"error": "a sentence", "error_code": "..."}`; [the API](../api.md#errors) says which shape other clients get, and who reads the exception of a model.
"""
ANSWERS: dict[str, tuple[str, str]] = {
    "client_error": (
        "the request is wrong: a field, the path, the method, or the state of what it names",
        "read the sentence: it names the field or the state. Do not repeat the call unchanged. 404: the request, key or path does not exist, or belongs to another key. 409: it is not (or no longer) in the state that the call needs. 415: send JSON",
    ),
    "unauthorized": (
        "401: there is no key, or it is unknown, revoked or expired. 403: the key may not do this",
        "401: send `Authorization: Api-Key KEY`; `kingpost keys list` shows what became of a key. 403: use a key with [the scope](../api.md#keys) that the sentence names, or one that is not restricted to other models",
    ),
    "model_does_not_exist": (
        "no model, environment or deployment has that name",
        "look at `kingpost models` or `GET /v1/models`; an environment exists once something was promoted to it",
    ),
    "timeout": (
        "408: the model did not answer the handshake of a WebSocket. 504: a sync call took longer than `KINGPOST_SYNC_TIMEOUT_SECONDS`",
        "queue long work with `async_predict`, or raise the setting",
    ),
    "application_error": (
        "there is no output (any more): the request failed, expired or was cancelled, or what it left is gone",
        "read `errors` in the answer; the codes are below. What is gone was kept for `KINGPOST_RETENTION_SECONDS`",
    ),
    "payload_too_large": (
        "the body is above its limit",
        "send large inputs as [files](../api.md#files), or raise the limit in [the settings](../settings.md#the-api)",
    ),
    "rate_limited": (
        "the key calls too often, or has as much as it may have; or the queue is full",
        "wait for `Retry-After` seconds; an operator changes limits with `kingpost keys limits`",
    ),
    "internal_baseten_error": (
        "500: a bug of Kingpost. 503: a store cannot be reached, or there are too many connections",
        "500: look for the incident of the sentence in the API's log, and report it. 503: repeat the call after `Retry-After`; an operator looks at `kingpost doctor`",
    ),
    "model_not_ready": (
        "no replica is ready: it loads, sleeps, or the deployment was deactivated",
        "repeat the call after `Retry-After`. A deactivated one needs `kingpost activate`",
    ),
    "model_unavailable": (
        "502: the model's process ended during the call, or gave no answer that could be passed on. 503 with `reason: model_load_failed`: the deployment gave up loading",
        "502: repeat it, if the call may run twice; `kingpost logs MODEL` says why the process ended. 503: `kingpost deployments MODEL` has the traceback; push a version that loads",
    ),
}
OF_JOBS: dict[ErrorCode, tuple[str, str]] = {
    ErrorCode.MODEL_NOT_READY: ("the model host was not ready for the call", "nothing if it runs again; else look at the health checks in `kingpost logs MODEL`"),
    ErrorCode.MODEL_DOES_NOT_EXIST: ("the model host does not know the method that was called", "check the name of the chainlet or method, and push the version that has it"),
    ErrorCode.MODEL_INVALID_INPUT: ("the model refused the input: its own check raised, or the answer was a 4xx", "correct the input; the same one fails again"),
    ErrorCode.MODEL_PREDICT_ERROR: ("the model raised an exception, or answered with a 5xx", "read the exception in `kingpost jobs show ID` with a key that may deploy, and the lines of `kingpost logs ID`"),
    ErrorCode.MODEL_UNAVAILABLE: ("the model's process ended, or fell ill, during the call", "look in `kingpost logs ID` for why it ended: a crash, memory, or a failed health check"),
    ErrorCode.MODEL_PREDICT_TIMEOUT: ("the attempt ran longer than `KINGPOST_PREDICT_TIMEOUT_SECONDS`", "raise the setting, or do less in one request"),
    ErrorCode.MODEL_OUT_OF_MEMORY: ("the model ran out of memory, of the GPU or above `resources.memory`, also when it ran alone", "use a smaller input, fewer slots (`runtime.predict_concurrency`), or a larger limit"),
    ErrorCode.INTERNAL_SERVER_ERROR: ("Kingpost could not run the attempt", "look in `kingpost logs ID`, and report it"),
    ErrorCode.ASYNC_REQUEST_NOT_SUPPORTED: ("one of Baseten's codes; Kingpost never gives it", "nothing"),
    ErrorCode.POISON: ("the request ended its replica `KINGPOST_MAX_DEATHS` times in a row, the last time alone", "try the input on a machine where a crash hurts nobody; the last words of the process are in `kingpost logs ID`"),
    ErrorCode.EXPIRED: ("it waited longer than `max_time_in_queue_seconds` for its first run", "allow more time, add replicas, or see in `waiting_for` what it waited for"),
    ErrorCode.CANCELED: ("it was cancelled", "nothing"),
    ErrorCode.OUTPUT_NOT_STORED: ("the model finished, but its output could not be stored: it is too large, or the payload store failed", "look at the disk or bucket of `KINGPOST_PAYLOAD_URL`; then retry the request"),
    ErrorCode.FILE_NOT_FOUND: ("the input refers to a file that is gone", "upload it again, and submit again"),
}  # fmt: skip


def statuses() -> dict[str, list[str]]:
    """The statuses of each code that the API answers with."""
    code = "".join(path.read_text() for path in sorted((ROOT / "api").rglob("*.py")))
    found: dict[str, list[str]] = {}
    for status, name in sorted(set(re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z_]+)"', code))):
        found.setdefault(name, []).append(status)
    return found


def page() -> str:
    """The whole page. Raises KeyError for a code that nobody has explained."""
    lines = [
        HEAD,
        "\n## Answers of the API\n\n| `error_code` | status | means | do |\n|---|---|---|---|\n",
    ]
    for name, given in statuses().items():
        means, do = ANSWERS[name]
        lines.append(f"| `{name}` | {', '.join(given)} | {means} | {do} |\n")
    lines.append(
        "\nThe answer of the model itself passes through unchanged. A model that raises gives 500 with a general sentence; the exception is in `kingpost logs`.\n"
        "\n## Errors of a request\n\nThese are the `code` in `errors` of a request's status, of its result (410) and of its webhook.\n"
        "\n| `code` | runs again | means | do |\n|---|---|---|---|\n"
    )
    for code in ErrorCode:
        means, do = OF_JOBS[code]
        again = "if `inference_retry_config` allows it" if code in RETRIED else ""
        lines.append(f"| `{code}` | {again} | {means} | {do} |\n")
    lines.append(
        "\nLines of a batch have further codes: see [the results of a batch](../batches.md#results).\n"
        "\n## In the words of OpenAI's and Anthropic's clients\n\nOn the Model APIs the same errors look as those clients expect.\n"
        "\n| `error_code` | OpenAI's `type` and `code` |\n|---|---|\n"
    )
    for name, (kind, said) in dialects._OPENAI.items():
        lines.append(f"| `{name}` | `{kind}`, {f'`{said}`' if said else 'null'} |\n")
    for status, said in dialects._UNAUTHORIZED.items():
        lines.append(
            f"| `unauthorized` ({status}) | `{dialects.openai_type(status)}`, `{said}` |\n"
        )
    lines.append("\n| status | Anthropic's `type` |\n|---|---|\n")
    lines += [f"| {status} | `{kind}` |\n" for status, kind in dialects._ANTHROPIC.items()]
    lines.append("| other 4xx | `invalid_request_error` |\n| other 5xx | `api_error` |\n")
    return "".join(lines)
