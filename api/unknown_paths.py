"""The answer to a path that does not exist. It lists the paths that do, without names of models, because callers need no key."""

from difflib import get_close_matches

from api.targets import HEADS, TARGETS

FORMS = [
    form[1:].replace("{environment}", "{name}").replace("deployment_id", "id") for form in TARGETS
]
ACTIONS = (
    "predict", "async_predict", "async_predict_batch", "async_queue_status", "run_remote", "async_run_remote",
    "wake", "websocket", "sync/{route}",
)  # fmt: skip
DOCUMENT = "GET /openapi.json lists every path."
FORM = (
    f"A model is called at [/models/{{name or id}}]/{{target}}/{{action}}; targets: {', '.join(FORMS)};"
    f" actions: {', '.join(ACTIONS)}."
)
SHOWN = 100  # characters of a path in the answer


def sentence(path: str) -> str:
    """The sentence, with a suggestion if one part of the path is nearly right."""
    shown = path[:SHOWN].encode(errors="backslashreplace").decode()
    meant = _guess(path)
    guess = f" Did you mean {meant}?" if meant else ""
    return f"There is no path {shown}.{guess} {FORM} {DOCUMENT}"


def _guess(path: str) -> str:
    target, _, action = path.removeprefix("/").rpartition("/")
    if action not in ACTIONS:
        near = get_close_matches(action[:SHOWN].lower(), ACTIONS, 1)
        return f"the action {near[0]}" if near else ""
    first = target.partition("/")[0][:SHOWN].lower()
    starting = [word for word in HEADS if first and word.startswith(first)]
    near = starting or get_close_matches(first, HEADS, 1)
    return f"the target {near[0]}" if near and first not in HEADS else ""
