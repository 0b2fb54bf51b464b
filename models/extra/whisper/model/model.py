"""Speech to text by faster-whisper: OpenAI's transcriptions, and long recordings through the queue, with progress. A cancel ends one after its segment."""

import asyncio
import base64
import binascii
import io
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy
from fastapi import HTTPException, Request
from faster_whisper import WhisperModel
from starlette.datastructures import UploadFile
from starlette.responses import PlainTextResponse

RATE = 16_000  # samples a second, as Whisper hears
LONGEST_SECONDS = 4 * 3600  # of a recording: a gigabyte of samples
FORMS = ("json", "text", "srt", "vtt", "verbose_json")
KNOWN = {"file", "model", "language", "prompt", "response_format", "temperature"}


@dataclass(frozen=True)
class Segment:
    """A sentence or so. Times are seconds from the beginning."""

    start: float
    end: float
    text: str


class Model:
    """`audio_transcriptions` gets a form, `predict` `{"audio": base64, "language"?, "prompt"?}` or a file that was uploaded."""

    def __init__(self, **kwargs: Any) -> None:
        self._weights = Path(kwargs["data_dir"]) / "whisper"

    def load(self) -> None:
        if not self._weights.exists():
            raise FileNotFoundError(
                f"{self._weights} is missing: run fetch.py beside config.yaml first."
            )
        threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0 = as CTranslate2 finds best
        self._model = WhisperModel(str(self._weights), device="auto", cpu_threads=threads, local_files_only=True)  # fmt: skip
        self._languages = self._model.supported_languages

    async def audio_transcriptions(self, form: Any, request: Request) -> Any:
        form = form if isinstance(form, dict) else {}
        _only(form)
        file, written = form.get("file"), form.get("response_format") or "json"
        if not isinstance(file, UploadFile):
            raise _wrong("file", "send a file of sound.")
        if written not in FORMS:
            raise _wrong("response_format", f"{', '.join(FORMS[:-1])} or {FORMS[-1]}.")
        samples = await asyncio.to_thread(_samples, file.file)
        found = [segment async for segment in self._segments(samples, form, request)]
        if written == "json":
            return {"text": _text(found)}
        if written == "verbose_json":
            return self._verbose(found, samples, form)
        write = {"text": _text, "srt": _srt, "vtt": _vtt}[written]
        return PlainTextResponse(write(found))

    async def predict(self, model_input: Any, request: Request) -> Any:
        if not isinstance(model_input, dict) or "audio" not in model_input:
            raise _wrong("audio", "send a recording in base64, or a file that was uploaded.")
        fields = {name: value for name, value in model_input.items() if name != "audio"}
        _only(fields)
        given = model_input["audio"]
        if isinstance(given, str):
            try:
                given = io.BytesIO(base64.b64decode(given, validate=True))
            except binascii.Error:
                raise _wrong("audio", "this is no base64.") from None
        elif not isinstance(given, Path):
            raise _wrong("audio", "send a recording in base64, or a file that was uploaded.")
        samples = await asyncio.to_thread(_samples, given)
        found = [segment async for segment in self._segments(samples, fields, request)]
        return self._verbose(found, samples, fields)

    async def _segments(
        self, samples: numpy.ndarray, fields: dict[str, Any], request: Request
    ) -> AsyncIterator[Segment]:
        """The segments, each made in a thread. Raises HTTPException 400 for a field that is wrong."""
        language = fields.get("language") or None
        if language is not None and language not in self._languages:
            raise _wrong("language", f"this model knows {', '.join(self._languages)}.")
        heat = _temperature(fields.get("temperature"))
        seconds = len(samples) / RATE
        found, _ = await asyncio.to_thread(
            self._model.transcribe, samples, language=language, temperature=heat, beam_size=1,
            initial_prompt=str(fields.get("prompt") or "") or None,
        )  # fmt: skip
        while (segment := await asyncio.to_thread(next, iter(found), None)) is not None:
            if hasattr(request.state, "progress"):  # of a job
                done = min(segment.end / max(seconds, 0.01), 1)
                request.state.progress(done, f"{segment.end:.0f} of {seconds:.0f} s")
            yield Segment(segment.start, segment.end, segment.text.strip())

    def _verbose(
        self, found: list[Segment], samples: numpy.ndarray, fields: dict[str, Any]
    ) -> dict[str, Any]:
        segments = [{"id": n, "start": s.start, "end": s.end, "text": s.text} for n, s in enumerate(found)]  # fmt: skip
        return {
            "task": "transcribe",
            "language": fields.get("language") or self._languages[0],
            "duration": len(samples) / RATE,
            "text": _text(found),
            "segments": segments,
        }


def _samples(sound: Any) -> numpy.ndarray:
    """The sound as Whisper hears it: float32 at RATE, one channel. Raises HTTPException 400."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces, count = [numpy.zeros(0, numpy.int16)], 0
    try:
        with av.open(
            str(sound) if isinstance(sound, Path) else sound, mode="r", metadata_errors="ignore"
        ) as container:
            for frame in itertools.chain(container.decode(audio=0), [None]):  # None = what is left
                for made in resampler.resample(frame):
                    pieces.append(made.to_ndarray().reshape(-1))
                    count += len(pieces[-1])
                if count > LONGEST_SECONDS * RATE:  # a small file may be days of silence
                    raise _wrong("file", f"send at most {LONGEST_SECONDS // 3600} hours at once.")
    except (av.FFmpegError, ValueError, IndexError) as error:
        why = type(error).__name__
        raise _wrong("file", f"this is no sound that can be read ({why}).") from error
    return numpy.concatenate(pieces).astype(numpy.float32) / (1 << 15)


def _only(fields: dict[str, Any]) -> None:
    if more := sorted(set(fields) - KNOWN):
        raise _wrong(more[0], f"this model only knows {', '.join(sorted(KNOWN))}.")


def _temperature(given: Any) -> float:
    try:
        heat = float(given or 0)
    except (TypeError, ValueError):
        heat = -1.0
    if not 0 <= heat <= 1:
        raise _wrong("temperature", "give a number from 0 to 1.")
    return heat


def _text(found: list[Segment]) -> str:
    return " ".join(segment.text for segment in found)


def _srt(found: list[Segment]) -> str:
    rows = [f"{n}\n{_clock(s.start, ',')} --> {_clock(s.end, ',')}\n{s.text}\n" for n, s in enumerate(found, 1)]  # fmt: skip
    return "\n".join(rows)


def _vtt(found: list[Segment]) -> str:
    rows = [f"{_clock(s.start, '.')} --> {_clock(s.end, '.')}\n{s.text}\n" for s in found]
    return "WEBVTT\n\n" + "\n".join(rows)


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _wrong(name: str, what: str) -> HTTPException:
    return HTTPException(400, {"message": f"{name}: {what}", "param": name})
