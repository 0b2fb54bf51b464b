"""All errors of calls in the model host, and their answers.

HostError                      status  X-BASETEN-ERROR-CODE
|-- ModelNotReady               503    600
|-- InputParsingError           400    700
|-- MethodMissing               404    700
|-- ModelDefinitionError        412    600   (500 when it shows only during a call)
|-- UserCodeError               500    600   the model raised; the text goes to the log only
|-- ModelExit                   500    -     the model called sys.exit; plain text
|-- UnsendableResponse          500    600   the model's own Response cannot be sent over HTTP
|-- FilesNotStored              503    600
|-- FilesNotSent                400    700
|-- FilesNotSent                400    700
|-- FilesRefused                400    700
`-- ClientGone                  499    600
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from typing_extensions import TypeIs

from deployments import output_files
from deployments.sendable import is_final
from tasks.outside_text import utf8, utf8_json
from workers.wire.messages import MODEL_ERROR, WELL, Fault

ERROR_SOURCE = ("x-baseten-error-source", "04")
ERROR_CODE = "x-baseten-error-code"
UNEXPECTED, DOWNSTREAM, CLIENT = "500", "600", "700"
MODEL_NAME = "model"  # Truss's server knows no other name


class HostError(Exception):
    """The call failed for a reason that the host knows."""

    status = 500
    code = DOWNSTREAM


class ModelNotReady(HostError):
    """The model is loading, failed to load, or is about to stop."""

    status = 503

    def __init__(self) -> None:
        super().__init__(f"Model with name {MODEL_NAME} is not ready.")


class InputParsingError(HostError):
    """The body is not what this model takes."""

    status = 400
    code = CLIENT


class MethodMissing(HostError):
    """The model has no such method."""

    status = 404
    code = CLIENT


class ModelDefinitionError(HostError):
    """The model class breaks a rule of Truss."""

    status = 412


class UserCodeError(HostError):
    """The model raised an exception, already logged."""

    def __init__(self) -> None:
        super().__init__(MODEL_ERROR)


class ModelExit(HostError):
    """The model called sys.exit(). The server goes on."""


class UnsendableResponse(HostError):
    """The model's own Response cannot be sent."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The model's response cannot be sent: {why}.")


class FilesNotStored(HostError):
    """The files of the input cannot be written on this machine, because its disk is full, say."""

    status = 503

    def __init__(self, error: OSError) -> None:
        super().__init__(f"The files of the input cannot be stored here: {error.strerror}.")


class FilesNotSent(HostError):
    """An input refers to files that did not come along."""

    status = 400
    code = CLIENT

    def __init__(self) -> None:
        super().__init__(
            "The input refers to files, and they did not come along: a sync call may refer to files only in the JSON input of "
            "predict, with a Content-Length of up to 64 KB. Shorten it, or use async_predict."
        )


class FilesRefused(HostError):
    """The model takes no files."""

    status = 400
    code = CLIENT

    def __init__(self) -> None:
        super().__init__(
            "The input refers to files, and this model is a server of its own (docker_server), which gets no paths: send the "
            "content, or a URL that the server can fetch."
        )


class ClientGone(HostError):
    """Nobody waits for the answer any more."""

    status = 499

    def __init__(self, step: str) -> None:
        super().__init__(f"Client disconnected, skipping `{step}`.")


@dataclass(frozen=True)
class OutputFile:
    """A file of an output: its bytes, or where they are."""

    size: int
    content: bytes | Path


@dataclass(frozen=True)
class Reply:
    """An answer whose body is complete. Header names are in lower case. Its files are sent before the body."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    failure: str = ""  # of the model, for its owner: goes to the worker, never into an answer
    files: tuple[OutputFile, ...] = ()
    fault: Fault = WELL  # what the failure says about this process

    def all_headers(self) -> list[tuple[str, str]]:
        sizes = output_files.written([file.size for file in self.files])
        told = [(output_files.OUTPUT, sizes)] if self.files else []
        return [("content-type", self.content_type), *self.headers, *told]


def json_reply(status: int, content: object) -> Reply:
    """Compact JSON with unescaped non-ASCII characters. Raises TypeError or ValueError for values that JSON cannot hold."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, utf8_json(text).encode(), "application/json")


def error_headers(code: str) -> tuple[tuple[str, str], ...]:
    """The two headers that mark an answer as an error of the model server."""
    return (ERROR_SOURCE, (ERROR_CODE, code))


def error_reply(error: BaseException) -> Reply:
    """The answer for an exception that ended a call."""
    if isinstance(error, ModelExit):
        return Reply(500, b"Internal Server Error", "text/plain; charset=utf-8")
    try:
        if isinstance(error, ModelDefinitionError):
            return downstream_error(error.status, f"{type(error).__name__}: {error}")
        if isinstance(error, HostError):
            return _with_headers(error.status, str(error), error.code)
        if is_http_exception(error):
            if is_final(error.status_code):
                return downstream_error(error.status_code, error.detail)
            return error_reply(UnsendableResponse(f"its status is {error.status_code}"))
    except (TypeError, ValueError) as not_json:  # the exception's detail holds a set, say
        error = not_json
    message = f"Unhandled exception: {type(error).__name__}: {error}"
    return _with_headers(500, utf8(message), UNEXPECTED)


def is_http_exception(error: BaseException) -> "TypeIs[HTTPException]":
    """True for fastapi's HTTPException. Starlette's counts as a bug of the model, like any other exception.

    The class is read from sys.modules, so that the host need not import fastapi. A model that raises it has imported it.
    """
    exceptions = sys.modules.get("fastapi.exceptions")
    return exceptions is not None and isinstance(error, exceptions.HTTPException)


def downstream_error(status: int, detail: object) -> Reply:
    """The answer that Truss's server gives for an HTTPException."""
    return _with_headers(status, detail, DOWNSTREAM)


def _with_headers(status: int, error: object, code: str) -> Reply:
    reply = json_reply(status, {"error": error})
    return Reply(reply.status, reply.body, reply.content_type, error_headers(code))
