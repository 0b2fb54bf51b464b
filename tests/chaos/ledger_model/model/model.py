"""A deterministic model that writes down every run, outside the system: `request_id pid` a line."""

import asyncio
import contextlib
import os


class Model:
    """Input {"n", "ms", "kill"?, "again"?}; output depends on n alone."""

    def load(self) -> None:
        path = os.environ["CHAOS_RUNS"]
        self._runs = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def predict(self, order: dict, request):
        request_id = request.headers["x-baseten-request-id"]
        os.write(self._runs, f"{request_id} {os.getpid()}\n".encode())
        if order.get("kill"):
            os.kill(os.getpid(), 9)
        if order.get("again"):
            self._fail_once(request_id)
        await asyncio.sleep(order["ms"] / 1000)
        return {"n": order["n"], "square": order["n"] ** 2, "text": f"job {order['n']} ☃"}

    def _fail_once(self, request_id: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{os.environ['CHAOS_RUNS']}.{request_id}", os.O_CREAT | os.O_EXCL))
            raise ConnectionError("not yet")
