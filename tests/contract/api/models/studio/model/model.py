"""Declares its input, answers with every kind of output, and writes what a browser would run wherever it can."""

import asyncio
import base64
import io
import struct
import wave
import zlib
from pathlib import Path
from typing import Literal

from fastapi.responses import Response
from pydantic import BaseModel, Field

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ATTRIBUTE = "\" autofocus onfocus=\"document.title='owned'"


def picture() -> bytes:
    """A PNG of 64 times 64 grey dots."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(64)) for y in range(64))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def sound() -> bytes:
    """A WAV of a second."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes((t * (t >> 5)) & 255 for t in range(8000)))
    return made.getvalue()


class Size(BaseModel):
    """How large."""

    width: int = 64
    height: int = 64


class Inputs(BaseModel):
    """What the model takes."""

    prompt: str = Field(description="What to make.")
    mode: Literal["json", "words", "picture", "sound", "html", "svg", "fail"] = "json"
    steps: int = Field(20, ge=1, le=50)
    strength: float = Field(0.5, ge=0, le=1)
    seed: int | None = None
    upscale: bool = False
    sure: bool | None = True
    size: Size = Size()
    tags: list[str] = []
    image: Path | None = None
    odd: Literal["plain", HOSTILE, ATTRIBUTE] = Field("plain", title=HOSTILE, description=ATTRIBUTE)


class Model:
    """A model without weights."""

    async def predict(self, given: Inputs):
        print(f"asked for {given.prompt} {HOSTILE}")
        if given.mode == "words":
            return self._words(given.prompt)
        if given.mode == "fail":
            raise RuntimeError(f"{given.prompt} {HOSTILE}")
        kinds = {
            "html": ("text/html", HOSTILE.encode()),
            "svg": (
                "image/svg+xml",
                b"<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='owned'\"/>",
            ),
            "sound": ("audio/wav", sound()),
        }
        if given.mode in kinds:
            kind, content = kinds[given.mode]
            return Response(content, media_type=kind)
        made = base64.b64encode(picture()).decode() if given.mode == "picture" else None
        bytes_of_file = given.image.stat().st_size if given.image else None
        return {
            **given.model_dump(mode="json", exclude={"image"}),
            "file": bytes_of_file,
            "made": made,
            HOSTILE: [HOSTILE, ATTRIBUTE],
        }

    async def _words(self, prompt: str):
        for word in prompt.split():
            await asyncio.sleep(0)
            yield f"{word} "
