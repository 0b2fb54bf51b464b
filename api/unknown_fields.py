"""Reports unknown fields of a body: refused where Baseten refuses them, else named in `warnings`."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from pydantic import BaseModel

from api.schemas import AsyncPredictRequest
from tasks.outside_text import utf8

NO_FIELD = "there is no such field."
MOST = 10  # warnings in one answer
LONGEST = 60  # characters of a name that is shown


def guess(name: str, known: Iterable[str]) -> str:
    """The hint ` Did you mean priority?`, or an empty text."""
    near = get_close_matches(name[:LONGEST].lower(), known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def warnings(asked: list[AsyncPredictRequest], batch: bool = False) -> list[str]:
    """A sentence for each unknown field, at most MOST. In a batch it begins with the index of the item."""
    said: list[str] = []
    for place, item in enumerate(asked):
        for sentence in _of(item, f"[{place}]." if batch else ""):
            if len(said) == MOST:
                return [*said, "There are more unknown fields."]
            said.append(sentence)
    return said


def _of(item: AsyncPredictRequest, where: str) -> Iterator[str]:
    yield from _sentences(item, where)
    if item.inference_retry_config:
        yield from _sentences(item.inference_retry_config, f"{where}inference_retry_config.")


def _sentences(model: BaseModel, where: str) -> Iterator[str]:
    for name in model.model_extra or ():
        shown = utf8(name[:LONGEST])
        known = guess(name, type(model).model_fields)
        yield f"The field {where}{shown} is unknown and was ignored.{known}"
