"""models/extra/minilm, with its real weights, behind the API: what OpenAI's client gets from it."""

import shutil
from collections.abc import Iterator

import openai
import pytest

from tests.contract.api.conftest import KEY, Live, own_replica
from tests.contract.api.examples import unpacked

SENTENCES = [
    "The cat sleeps in the garden.",
    "A cat is having a nap outside among the flowers.",
    "Interest rates rose again this quarter.",
]

pytestmark = pytest.mark.slow  # 84 MB of weights, kept under build/


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[openai.OpenAI]:
    folder, weights = unpacked(live, "minilm")
    shutil.copytree(weights, folder / "data" / "minilm")
    with own_replica(live, folder, 120):
        yield openai.OpenAI(api_key=KEY, base_url=live.url + "/v1", max_retries=0)


def similarity(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_sentences_that_mean_the_same_are_close(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="minilm", input=SENTENCES)
    cat, nap, rates = (item.embedding for item in answer.data)
    assert len(cat) == 384 and similarity(cat, cat) == pytest.approx(1, abs=1e-4)
    assert similarity(cat, nap) > 0.5 > 0.2 > similarity(cat, rates)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 20


def test_a_text_has_the_same_vector_alone_and_among_others(client: openai.OpenAI) -> None:
    texts = [SENTENCES[place % 3] + " word" * (place % 40) for place in range(70)]
    many = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    assert [item.index for item in many.data] == list(range(70))
    for place in (0, 39, 69):
        alone = client.embeddings.create(model="minilm", input=texts[place])  # base64 by default
        assert alone.data[0].embedding == pytest.approx(many.data[place].embedding, abs=1e-3)


def test_what_is_no_text_is_refused(client: openai.OpenAI) -> None:
    wrong = [([], "input"), ([[1, 2]], "input"), (["a"] * 2049, "input")]
    for given, param in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="minilm", input=given)  # type: ignore[arg-type]
        assert refused.value.param == param and refused.value.type == "invalid_request_error"
