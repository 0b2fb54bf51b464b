"""How LiteLLM reports errors of a server: `python litellm_errors.py URL ASKED` prints one JSON object, case -> what a program reads.

ASKED is JSON, case -> {key, model, raise}. The environment of LiteLLM has nothing of Kingpost.
"""

import json
import sys

import litellm

litellm.suppress_debug_info = True


def reported(url: str, key: str, model: str, stream: bool, **more: object) -> dict[str, object]:
    """What the exception of a call says."""
    try:
        litellm.completion(
            model=model,
            api_base=url + "/v1",
            api_key=key,
            messages=[{"role": "user", "content": "Hi"}],
            max_retries=0,
            stream=stream,
            extra_body=more,
        )
    except Exception as error:
        said = {name: getattr(error, name, None) for name in ("code", "type", "param", "message")}
        return {"kind": type(error).__name__, "status": error.status_code, **said}  # type: ignore[attr-defined]
    return {}


def main() -> None:
    """Asks as LiteLLM's guide says for a server that speaks as OpenAI's does, with and without a stream."""
    url, asked = sys.argv[1], json.loads(sys.argv[2])
    found = {
        f"litellm{' stream' if stream else ''}": {
            kind: reported(
                url,
                case["key"],
                f"openai/{case['model']}",
                stream,
                **({"raise": case["raise"]} if "raise" in case else {}),
            )
            for kind, case in asked.items()
        }
        for stream in (False, True)
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
