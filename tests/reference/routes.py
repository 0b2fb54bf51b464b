"""docs/reference/routes.md: every route of the OpenAPI document, with an example of its call."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from api.app import create_app
from tasks.settings import Settings

Schema = dict[str, Any]
HEAD = """# Routes

Every route of the API, from its OpenAPI document, with an example of a call. `make reference` writes this page. [The API](../api.md) says what the routes are
for and how they belong together; `/docs` of a running API lets you try them.

In the examples `$URL` is the address of the API, such as `http://127.0.0.1:8000`, and `$KEY` an API key. Ids are made up. Where a path begins with a
target (`/production/...`), it stands behind `/models/NAME`, or behind `/chains/NAME` for a chain, unless the Host header names the model:
see [which model](../api.md#which-model). The other targets are `/development`, `/environments/{environment}` and `/deployment/{deployment_id}`.
"""
MORE = """
## Not in the OpenAPI document

What these take and answer is the model's own affair, or a protocol of others.

| route | what it is |
|---|---|
| any method on `/production/sync/{route}` | [any route](../api.md#calls) of the model's own server; `curl -H "Authorization: Api-Key $KEY" "$URL/models/digits/production/sync/metrics/"` |
| `WEBSOCKET /production/websocket`, `WEBSOCKET /production/sync/{route}` | [WebSockets](../api.md#websockets) of the model |
| `POST /graphql`, `POST /graphql/`, `/truss/s3/...`, `POST /v1/models/{model}/deployments/{which}/logs` | what [the `truss` command](../truss.md) calls |
| `/ui` | [the console](../console.md), for browsers |
| `/docs`, `/redoc`, `/openapi.json` | the OpenAPI document, and pages that show it |
"""
TARGETS = re.compile(
    r"/(?:models/\{model\}|chains/\{chain\})/production/\w+|/(development|environments/\{environment\}|deployment/\{deployment_id\})/\w+"
)
EXAMPLES = {
    "request_id": "24ca30922d2044c0a4b3f4d5e6f70819", "model": "digits", "which": "abcd1234", "name": "staging",
    "environment": "staging", "deployment_id": "abcd1234", "response_id": "resp_24ca30922d2044c0a4b3f4d5e6f70819",
    "upload_id": "5e8c1d0f", "file_id": "5e8c1d0f", "batch_id": "batch_5e8c1d0f", "key_id": "1a2b3c4d", "token": "TOKEN",
}  # fmt: skip
BODIES = {
    "/production/async_predict": {"model_input": {"digit": 7}, "priority": 0},
    "/production/async_predict_batch": [{"model_input": {"digit": 7}}, {"model_input": {"digit": 8}}],
    "/production/async_run_remote": {"name": "Ada"},
    "/production/run_remote": {"name": "Ada"},
    "/production/predict": {"digit": 7},
    "/async_request/{request_id}": {"priority": 0},
    "/v1/chat/completions": {"model": "my-llm", "messages": [{"role": "user", "content": "Hello"}]},
    "/v1/messages": {"model": "my-llm", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]},
    "/v1/completions": {"model": "my-llm", "prompt": "Hello"},
    "/v1/embeddings": {"model": "minilm", "input": "Hello"},
    "/v1/responses": {"model": "my-llm", "input": "Hello", "background": True},
    "/v1/rerank": {"model": "my-ranker", "query": "Hello", "documents": ["Hello you", "Bye"]},
    "/v1/images/generations": {"model": "my-painter", "prompt": "a lighthouse"},
    "/v1/audio/speech": {"model": "my-voice", "input": "Hello", "voice": "alto"},
    "/v1/jobs/cancel": {"deployment": "abcd1234", "status": "QUEUED"},
    "/v1/jobs/retry": {"model": "digits", "status": "FAILED"},
    "/v1/jobs/purge": {"key": "1a2b3c4d"},
    "/v1/jobs/move": {"model": "digits", "status": "QUEUED", "to_priority": 2},
    "/v1/keys": {"name": "ci", "scope": "inference"},
    "/v1/keys/{key_id}": {"max_running": 8},
    "/v1/batches": {"input_file_id": "file-5e8c1d0f", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
}  # fmt: skip
FORMS = {
    "/v1/files": "-F purpose=batch -F file=@requests.jsonl",
    "/v1/images/edits": '-F model=my-painter -F prompt="a lighthouse" -F image=@in.png',
    "/v1/audio/transcriptions": "-F model=my-ears -F file=@in.wav",
    "/v1/audio/translations": "-F model=my-ears -F file=@in.wav",
}


def page() -> str:
    """The whole page."""
    document = create_app(Settings()).openapi()
    tags: dict[str, list[str]] = defaultdict(list)
    for path, operations in document["paths"].items():
        if not TARGETS.fullmatch(path):
            for method, operation in operations.items():
                if method == "head" and "get" in operations:
                    continue
                tag = (operation.get("tags") or ["other"])[0]
                tags[tag] += _lines(path, method, operation, document)
    sections = (f"\n## {tag}\n{''.join(lines)}" for tag, lines in tags.items())
    return HEAD + "".join(sections) + MORE


def _lines(path: str, method: str, operation: Schema, document: Schema) -> Iterator[str]:
    also = " (also `HEAD`)" if method == "get" and "head" in document["paths"][path] else ""
    yield f"\n### `{method.upper()} {path}`{also}\n\n"
    yield re.sub(r"\s+", " ", operation.get("description") or operation["summary"]).strip() + "\n"
    queries = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    if queries:
        yield f"\nQuery: {', '.join(f'`{name}`' for name in queries)}.\n"
    content = operation.get("requestBody", {}).get("content", {})
    fields = _fields(content.get("application/json", {}).get("schema", {}), document)
    if fields:
        yield f"\nBody: {', '.join(f'`{name}`' for name in fields)}.\n"
    statuses = [status for status in operation["responses"] if status.startswith("2")]
    yield f"\nAnswers: {', '.join(statuses)}.\n\n```bash\n{_curl(path, method, content, fields)}\n```\n"


def _curl(path: str, method: str, content: Schema, fields: Schema) -> str:
    url = re.sub(r"\{(\w+)(:path)?\}", lambda found: EXAMPLES[found[1]], path)
    if re.match(r"/(production|development|environments|deployment)/", path):
        url = ("/chains/greeter" if path.endswith("run_remote") else "/models/digits") + url
    words = ["curl"]
    if method == "head":
        words.append("-I")
    elif method != ("post" if content else "get"):
        words.append(f"-X {method.upper()}")
    if not path.startswith(("/health", "/v1/files/{token}")):
        words.append('-H "Authorization: Api-Key $KEY"')
    words.append(f'"$URL{url}"')
    if "multipart/form-data" in content:
        words.append(FORMS[path])
    elif "application/octet-stream" in content:
        words.append('-H "Upload-Offset: 0" --data-binary @FILE')
    elif content:
        body = BODIES[path] if path in BODIES else _made_up(fields)
        words.append(f"-d '{json.dumps(body)}'")
    return " ".join(words)


def _resolved(schema: Schema, document: Schema) -> Schema:
    if "$ref" in schema:
        return _resolved(
            document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document
        )
    return schema


def _fields(schema: Schema, document: Schema) -> Schema:
    """The fields of an object, each with its schema and whether it is needed."""
    whole = _resolved(schema, document)
    needed = whole.get("required", [])
    return {
        name: (_resolved(field, document), name in needed)
        for name, field in whole.get("properties", {}).items()
    }


def _made_up(fields: Schema) -> Schema:
    """The fields that are needed, or the first one."""
    wanted = {name: field for name, (field, needed) in fields.items() if needed}
    if not wanted:
        wanted = {name: field for name, (field, _) in list(fields.items())[:1]}
    return {name: _value(name, field) for name, field in wanted.items()}


def _value(name: str, field: Schema) -> Any:
    kinds = [field, *field.get("anyOf", [])]
    kind = next(
        (each["type"] for each in kinds if each.get("type") not in (None, "null")), "object"
    )
    if "url" in name:
        return "https://example.com/hook"
    made = {
        "string": EXAMPLES.get(name, "..."),
        "integer": 1,
        "number": 1,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return made[kind]
