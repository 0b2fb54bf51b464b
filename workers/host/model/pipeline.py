"""Runs a call of the model as Truss does: preprocess -> predict -> postprocess, or one /v1 method."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from starlette.responses import Response, StreamingResponse

from workers.host.call.call import ModelCall
from workers.host.call.slots import CallKind, Slot, SlotGate
from workers.host.errors import (
    HostError,
    MethodMissing,
    ModelDefinitionError,
    ModelExit,
    UserCodeError,
    is_http_exception,
)
from workers.host.logs import log_user_error
from workers.host.model.codec import BINARY, parse_input
from workers.host.model.forms import as_sound, form_of
from workers.host.model.methods import MORE_METHODS, SPEECH, STREAMS_EVENTS, Method, Methods
from workers.host.model.stages import stage
from workers.host.model.stream import ChunkStream, asks_stream, is_generator
from workers.host.threads import in_thread
from workers.wire.messages import MODEL_ERROR

EVENT_STREAM = "text/event-stream"
PredictOne = Callable[[Any, ModelCall], Awaitable[Any]]


class Streaming:
    """A result that is still being produced: its chunks, their content type, and the slot that is released after the last one."""

    def __init__(self, chunks: ChunkStream, slot: Slot | None, media_type: str) -> None:
        self.chunks = chunks
        self.slot = slot
        self.media_type = media_type


class SlottedResponse:
    """A model's own streaming Response, and the slot that is released when it is sent."""

    def __init__(self, response: Response, slot: Slot | None) -> None:
        self.response = response
        self.slot = slot


class Pipeline:
    """Runs calls against one live model. A result is Streaming, a SlottedResponse or a value."""

    def __init__(self, methods: Methods, gate: SlotGate, model_file: str, max_gap: float) -> None:
        self.methods = methods
        self.predict_batch: PredictOne | None = None
        self._gate = gate
        self._model_file = model_file
        self._max_gap = max_gap

    async def predict(self, call: ModelCall) -> object:
        """The whole pipeline. Raises HostError or fastapi.HTTPException for every expected failure."""
        methods = self.methods
        if methods.predict is None and self.predict_batch is None:
            assert not methods.websocket, "`predict` must only be called if model has it."
            raise MethodMissing("`predict` must only be called if model has it.")
        value = self._parse(call)
        if methods.preprocess:
            value = await self._step(methods.preprocess, value, call)
        result = await self._predict_in_slot(value, call)
        if methods.postprocess:
            result = await self._step(methods.postprocess, result, call)
            return await self._opened(result, call, None)
        return result

    async def v1(self, name: str, call: ModelCall) -> object:
        """One /v1 method: no slot, no pre- or postprocess. Raises MethodMissing when it is absent."""
        form = form_of(call) if name in MORE_METHODS.values() else None
        value = self._parse(call) if form is None else form
        method = self.methods.v1.get(name)
        if method is None:
            raise MethodMissing(f"`{name}` must only be called if model has it.")
        result = await self._step(method, value, call)
        if name == SPEECH:
            result = as_sound(result, value)
        streams = asks_stream(value, call.body) if form is None else form.get("stream") == "true"
        media_type = EVENT_STREAM if streams and name in STREAMS_EVENTS else BINARY
        return await self._opened(result, call, None, not streams, media_type)

    def _parse(self, call: ModelCall) -> object:
        if self.methods.skips_input_parsing:
            return None
        schema = self.methods.schema
        return parse_input(call, schema.input_type if schema else None)

    async def _predict_in_slot(self, value: object, call: ModelCall) -> object:
        slot = None
        if call.kind is CallKind.SYNC:  # a job brought its slot along
            slot = await call.cancellable(self._gate.acquire(CallKind.SYNC), "predict")
        try:
            result = await self._predict(value, call)
            self._check_postprocess(result)
            result = await self._opened(result, call, slot)
            if isinstance(result, (Streaming, SlottedResponse)) and result.slot:
                slot = None  # goes back when the stream ends
            return result
        finally:
            if slot:
                slot.release()

    async def _predict(self, value: object, call: ModelCall) -> object:
        if self.predict_batch:
            with stage(call, "predict", batched=True):
                return await self._guarded(self.predict_batch(value, call))
        assert self.methods.predict, "checked by predict()"
        return await self._step(self.methods.predict, value, call)

    def _check_postprocess(self, result: object) -> None:
        what = "generator (streaming)" if is_generator(result) else "response object"
        if self.methods.postprocess and (is_generator(result) or isinstance(result, Response)):
            self._fail(
                ModelDefinitionError(
                    f"If the predict function returns a {what}, you cannot use postprocessing."
                )
            )

    async def _opened(
        self,
        result: object,
        call: ModelCall,
        slot: Slot | None,
        gathers: bool = True,
        media_type: str = BINARY,
    ) -> object:
        """Turns a generator into a stream, or into its joined text if the client wants JSON and `gathers` allows it."""
        if is_generator(result):
            chunks = ChunkStream(result, call, self._max_gap)
            # A job's chunks are its output events.
            if gathers and call.gathers and call.kind is CallKind.SYNC:
                return await chunks.gather()
            return Streaming(chunks, slot, media_type)
        if isinstance(result, Response):
            return SlottedResponse(result, slot if isinstance(result, StreamingResponse) else None)
        return result

    async def _step(self, method: Method, value: object, call: ModelCall) -> Any:
        call.raise_if_stopped(method.name)
        args = method.arguments(value, call)
        if method.is_generator:  # its code runs when it is iterated
            return method.function(*args)
        with stage(call, method.name):
            if method.is_async:
                running = call.cancellable(method.function(*args), method.name, with_grace=True)
                return await self._guarded(running)
            return await self._guarded(in_thread(method.function, *args))

    async def _guarded(self, running: Awaitable[Any]) -> Any:
        """Awaits model code. Its errors are logged here; the answer does not contain their text."""
        try:
            return await running
        except HostError:
            raise
        except (Exception, SystemExit) as error:  # the model's, of any kind: told apart in _fail
            self._fail(error)

    def _fail(self, error: BaseException) -> NoReturn:
        if isinstance(error, SystemExit):
            log_user_error("Model called sys.exit().", error, self._model_file)
            raise ModelExit from error
        if is_http_exception(error):
            log_user_error("Model raised HTTPException", error, self._model_file)
            raise error
        log_user_error(MODEL_ERROR, error, self._model_file)
        raise UserCodeError from error
