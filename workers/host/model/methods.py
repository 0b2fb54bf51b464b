"""Finds the methods of a model class and how to call them, by Truss's signature rules.

Two rules are looser than in Truss. A second parameter named `request` needs no annotation. A model with only `/v1` methods, or only
`predict_batch`, needs no `predict`. As in Truss, an annotation that is a string (`from __future__ import annotations`) declares nothing,
so that such a model is called as on Baseten.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.requests import Request

from workers.host.call.call import ModelCall
from workers.host.errors import ModelDefinitionError
from workers.host.model.schema import Schema

TRUSS_METHODS: Mapping[str, str] = {
    "/v1/chat/completions": "chat_completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
}
STREAMS_EVENTS = frozenset(TRUSS_METHODS.values()) - {"embeddings"}  # if the body asks for a stream
SPEECH = "audio_speech"
# Truss's server has none of these. So a method of such a name may be anything, and is served only if its signature fits.
MORE_METHODS: Mapping[str, str] = {
    "/v1/rerank": "rerank",
    "/v1/images/generations": "images_generations",
    "/v1/images/edits": "images_edits",
    "/v1/audio/speech": SPEECH,
    "/v1/audio/transcriptions": "audio_transcriptions",
    "/v1/audio/translations": "audio_translations",
}
V1_METHODS: Mapping[str, str] = {**TRUSS_METHODS, **MORE_METHODS}


class Takes(Enum):
    """The arguments that a method takes."""

    NOTHING = "nothing"
    INPUTS = "inputs"
    REQUEST = "request"
    BOTH = "both"


@dataclass(frozen=True)
class Method:
    """One method of the live instance."""

    name: str
    function: Callable[..., Any]
    takes: Takes
    is_async: bool
    is_generator: bool

    def arguments(self, inputs: object, call: ModelCall) -> tuple[Any, ...]:
        """The positional arguments for this call."""
        if self.takes is Takes.INPUTS:
            return (inputs,)
        if self.takes is Takes.BOTH:
            return (inputs, call.request)
        return (call.request,) if self.takes is Takes.REQUEST else ()


@dataclass(frozen=True)
class Methods:
    """All methods of one model that the host may call."""

    preprocess: Method | None
    predict: Method | None
    predict_batch: Method | None
    postprocess: Method | None
    websocket: Method | None
    setup_environment: Method | None
    is_healthy: Method | None
    v1: Mapping[str, Method]
    schema: Schema | None

    @property
    def skips_input_parsing(self) -> bool:
        """True if predict (and preprocess) read the request themselves. Then the host does not parse the body."""
        wanted = [method for method in (self.preprocess, self.predict) if method]
        return self.predict is not None and all(m.takes is Takes.REQUEST for m in wanted)

    @classmethod
    def of(cls, model: object) -> "Methods":
        """Reads the methods of the instance. Raises ModelDefinitionError for signatures that Truss refuses, too."""
        v1 = _find_v1(model)
        preprocess, predict = _find(model, "preprocess"), _find(model, "predict")
        predict_batch, postprocess = _find_batch(model), _find(model, "postprocess")
        websocket = _find_websocket(model)
        if websocket and (predict or preprocess or postprocess):
            raise ModelDefinitionError(
                "Truss model cannot have both `websocket` and any of `predict`, `preprocess`, or "
                "`postprocess` methods."
            )
        if not (websocket or predict or predict_batch or v1):
            raise ModelDefinitionError("Truss model must have a `predict` or `websocket` method.")
        _check_pipeline(preprocess, predict, postprocess)
        return cls(
            preprocess=preprocess,
            predict=predict,
            predict_batch=predict_batch,
            postprocess=postprocess,
            websocket=websocket,
            setup_environment=_find(model, "setup_environment"),
            is_healthy=_find_is_healthy(model),
            v1=v1,
            schema=_schema(preprocess or predict, postprocess or predict),
        )


def _find(model: object, name: str) -> Method | None:
    if not hasattr(model, name):
        return None
    function = getattr(model, name)
    return Method(
        name=name,
        function=function,
        takes=_takes(function, name),
        is_async=inspect.iscoroutinefunction(function),
        is_generator=inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
    )


def _find_v1(model: object) -> dict[str, Method]:
    v1 = {name: method for name in TRUSS_METHODS.values() if (method := _find(model, name))}
    for name in MORE_METHODS.values():
        with contextlib.suppress(ModelDefinitionError, TypeError, ValueError):
            if method := _find(model, name):
                v1[name] = method
    return v1


def _find_is_healthy(model: object) -> Method | None:
    method = _find(model, "is_healthy")
    if method and method.takes is not Takes.NOTHING:
        raise ModelDefinitionError("`is_healthy` must have only one argument: `self`.")
    return method


def _find_websocket(model: object) -> Method | None:
    method = _find(model, "websocket")
    if method and method.takes is not Takes.INPUTS:
        raise ModelDefinitionError("`websocket` must have only one argument: `websocket`.")
    if method and not method.is_async:
        raise ModelDefinitionError("`websocket` endpoints must be async function definitions.")
    return method


def _find_batch(model: object) -> Method | None:
    method = _find(model, "predict_batch")
    if method and (method.takes is not Takes.INPUTS or method.is_generator):
        raise ModelDefinitionError(
            "`predict_batch` must have only one argument, the list of inputs, and return a list."
        )
    return method


def _check_pipeline(
    preprocess: Method | None, predict: Method | None, postprocess: Method | None
) -> None:
    if preprocess and predict and predict.takes is Takes.REQUEST:
        raise ModelDefinitionError(
            "When using `preprocess`, the predict method cannot only have the request argument "
            "(because the result of `preprocess` would be discarded)."
        )
    if postprocess and postprocess.takes is Takes.REQUEST:
        raise ModelDefinitionError(
            "The `postprocess` method cannot only have the request argument (because the result of "
            "`predict` would be discarded)."
        )


def _takes(function: Callable[..., Any], name: str) -> Takes:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if not parameters:
        return Takes.NOTHING
    if len(parameters) == 1:
        return Takes.REQUEST if _is_request(parameters[0]) else Takes.INPUTS
    if len(parameters) > 2:
        raise ModelDefinitionError(
            f"`{name}` method cannot have more than two arguments. Got: {signature}"
        )
    if _is_request(parameters[0]):
        raise ModelDefinitionError(
            f"`{name}` method with two arguments is not allowed to have request as first argument, "
            f"request must be second. Got: {signature}"
        )
    if not (_is_request(parameters[1]) or _is_named_request(parameters[1])):
        raise ModelDefinitionError(
            f"`{name}` method with two arguments must have request as second argument "
            f"(type annotated). Got: {signature}"
        )
    return Takes.BOTH


def _is_request(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    return isinstance(annotation, type) and issubclass(annotation, Request)


def _is_named_request(parameter: inspect.Parameter) -> bool:
    untyped = parameter.annotation is inspect.Parameter.empty
    return parameter.name == "request" and (untyped or isinstance(parameter.annotation, str))


def _schema(first: Method | None, last: Method | None) -> Schema | None:
    if first is None or last is None:
        return None
    parameters = list(inspect.signature(first.function).parameters.values())
    annotation = parameters[0].annotation if parameters else None
    return Schema.of(annotation, inspect.signature(last.function).return_annotation)
