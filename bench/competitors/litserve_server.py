"""LitServe: `python -m bench.competitors.litserve_server PORT echo | scores`. One API process, one worker."""

import sys
from typing import Any

import litserve

BATCH, WAIT_SECONDS = 8, 0.002


class Echo(litserve.LitAPI):
    """Answers with its input."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def predict(self, x: Any, **_: Any) -> Any:
        """The input."""
        return x

    def encode_response(self, output: Any, **_: Any) -> Any:
        """As it is."""
        return output


class Scores(litserve.LitAPI):
    """The transformer of the batching bench, with LitServe's own batching."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads it."""
        from bench.models.scores.model.model import Model

        self.model = Model()
        self.model.load()

    def predict(self, x: list[Any], **_: Any) -> list[Any]:
        """One batch."""
        return self.model.predict_batch(x)

    def encode_response(self, output: Any, **_: Any) -> Any:
        """As it is."""
        return output


def main() -> None:
    """Serves until SIGTERM."""
    port, kind = int(sys.argv[1]), sys.argv[2]
    api = Echo() if kind == "echo" else Scores(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
