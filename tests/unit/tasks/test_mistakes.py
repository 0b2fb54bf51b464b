"""What is said of a wrong value: one plain sentence for each kind."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from tasks.errors import SettingsError
from tasks.process.mistakes import sentence_of
from tasks.settings import Settings


class Asked(BaseModel):
    number: Annotated[int, Field(ge=1)] = 1
    word: Literal["next", "newest"] = "next"
    id: Annotated[str, Field(pattern="^[a-f]+$", max_length=3)] = "a"
    needed: bool


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": "many"}, "must be a whole number, not 'many'"),
        ({"number": 0}, "must be at least 1, not 0"),
        ({"word": "oldest"}, "must be next or newest, not 'oldest'"),
        ({"id": "x"}, "must be of the form ^[a-f]+$, not 'x'"),
        ({"id": ["x"]}, "must be a text"),
        ({"id": "aaaa"}, "must have 3 characters at most, not 'aaaa'"),
    ],
)
def test_each_kind_is_a_sentence(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate({"needed": True, **given})
    assert sentence_of(caught.value.errors()[0]) == said


def test_a_field_that_is_missing_is_called_so() -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate({})
    assert sentence_of(caught.value.errors()[0]) == "is missing"


def test_a_setting_that_is_no_number_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"KINGPOST_MAX_QUEUED": "many"})
    assert str(caught.value) == "KINGPOST_MAX_QUEUED must be a whole number, not 'many'."
