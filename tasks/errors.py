"""All errors of Kingpost, in one tree. A class's docstring is its default message.

KingpostError
|-- SettingsError            a setting is wrong; the start ends with this sentence
|-- KeyRefused               an API key like this cannot be created or changed
|-- StoreUnavailable         Redis cannot be reached, is loading, read-only or full
|-- PayloadUnavailable       the payload store cannot take or give a payload
|-- AdmissionError           the request is well formed, but cannot be accepted now
|   |-- QueueFull
|   |-- KeyFull              the API key has as many unfinished requests as it may have
|   |-- RateLimited          the API key has called too often
|   `-- IdempotencyConflict
|-- FileMissing              an input refers to a file that this key may not use
`-- NotFound                 no such model, environment, deployment or request
"""


class KingpostError(Exception):
    """Kingpost could not do this because of an error of its own."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsError(KingpostError):
    """A setting is wrong."""


class KeyRefused(KingpostError):
    """An API key like this cannot be created or changed."""


class StoreUnavailable(KingpostError):
    """The job store cannot be reached right now; try again after Retry-After."""


class PayloadUnavailable(KingpostError):
    """The payload store cannot take or give this payload right now."""


class AdmissionError(KingpostError):
    """The request was not accepted."""


class QueueFull(AdmissionError):
    """The queue of this deployment is at its limit; try again after Retry-After."""


class KeyFull(AdmissionError):
    """This API key has as many unfinished requests as it may have; try again after Retry-After."""


class RateLimited(AdmissionError):
    """This API key called too often; try again after Retry-After."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__()
        self.wait_seconds = -(-wait_ms // 1000)


class IdempotencyConflict(AdmissionError):
    """This Idempotency-Key was used with a different body within the last 24 hours."""


class FileMissing(KingpostError):
    """There is no such file of this key, or it has expired; upload it again."""

    def __init__(self, file_id: str) -> None:
        super().__init__(
            f"There is no file {file_id} of this key, or it has expired; upload it again: POST /v1/uploads."
        )


class NotFound(KingpostError):
    """There is no such model, environment, deployment or request."""
