"""A model that keeps its device busy for a fixed time, and writes down from when to when."""

import os
import time
from typing import Any


class Model:
    """Input {"ms": T}; a line `began ended` (monotonic seconds) for each call in $BENCH_BUSY."""

    def load(self) -> None:
        self._busy = os.open(os.environ["BENCH_BUSY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def predict(self, model_input: Any) -> dict[str, bool]:
        began = time.monotonic()
        time.sleep(model_input["ms"] / 1000)
        os.write(self._busy, f"{began} {time.monotonic()}\n".encode())
        return {"ok": True}
