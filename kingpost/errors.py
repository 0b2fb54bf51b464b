"""All errors of the client, in one tree.

Error
|-- NotConfigured            no server or no key is known, or the address cannot be one of a server
|-- Unreachable              no answer came, or it broke off
|-- ApiError                 the server refused; the text is the server's own sentence
|   |-- Unauthorized         401
|   |-- Forbidden            403
|   |-- NotFound             404
|   |-- Conflict             409
|   |-- TooLarge             413
|   |-- RateLimited          429
|   |-- Unavailable          502, 503
|   `-- TimedOut             504
|-- StreamFailed             the model failed in the middle of a streamed output
|-- JobFailed                the request is final and has no result
|   `-- OutOfMemory          because the model ran out of memory, the last time with no other request beside it
|-- NotFinished              the request was not final in the time that `wait` was given
`-- BadSignature             the webhook was not signed by the server
"""

from collections.abc import Sequence


class Error(Exception):
    """Kingpost's client could not do this."""


class NotConfigured(Error):
    """No server is known, or its address or key cannot be used."""


class Unreachable(Error):
    """The server gave no answer, or the answer broke off."""


class ApiError(Error):
    """The server refused. The text is its sentence.

    `status` is that of HTTP, `code` the server's error code, `retry_after` a number of seconds, and `body` the answer as it came.
    """

    def __init__(
        self,
        message: str,
        status: int,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id
        self.retry_after, self.body = retry_after, body


class Unauthorized(ApiError):
    """401: the key is missing, wrong or revoked."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class NotFound(ApiError):
    """404: there is no such model, deployment, request or path."""


class Conflict(ApiError):
    """409: the state of the server does not allow it."""


class TooLarge(ApiError):
    """413: the body is larger than the server takes."""


class RateLimited(ApiError):
    """429: a limit is reached. `retry_after` is in how many seconds a new try may succeed."""


class Unavailable(ApiError):
    """502 or 503: the model or the server cannot answer now."""


class TimedOut(ApiError):
    """504: the model did not answer in time."""


class StreamFailed(Error):
    """The model failed in the middle of a streamed output. The caller has already got what came before."""


class JobFailed(Error):
    """The request is final and has no result: it failed, expired or was cancelled. `errors` holds (code, message) pairs."""

    def __init__(
        self, message: str, request_id: str, status: str, errors: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.request_id, self.status, self.errors = request_id, status, tuple(errors)


class OutOfMemory(JobFailed):
    """The model ran out of memory with this request, the last time with no other one beside it. A smaller input may do."""


class NotFinished(Error):
    """The request was not final in time. It goes on."""

    def __init__(self, message: str, request_id: str, status: str) -> None:
        super().__init__(message)
        self.request_id, self.status = request_id, status


class BadSignature(Error):
    """The webhook was not signed with any of these secrets, or it is too old."""


OF_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: TimedOut,
}
