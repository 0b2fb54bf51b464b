"""The job store: the verbs as data, the scripts that Redis runs, and the store that runs them."""

from tasks.process.hidden_modules import hidden

with hidden(
    "opentelemetry.sdk.metrics"
):  # a twentieth of a process's start; redis-py tells nobody of its metrics unless asked
    import redis.asyncio  # noqa: F401 # pyright: ignore[reportUnusedImport]
