"""models/extra/whisper, with its real weights, behind the API: what OpenAI's client and a job get from it."""

import base64
import shutil
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.contract.api.conftest import KEY, ROOT, Live, own_replica, submit
from tests.contract.api.examples import unpacked

SPEECH = (ROOT / "tests" / "data" / "speech.ogg").read_bytes()  # made by espeak-ng
SAID = ("the capital of france is paris", "seven trains leave the station before noon")

pytestmark = [pytest.mark.slow, pytest.mark.stack]  # 71 MB of weights, kept under build/


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[openai.OpenAI]:
    pytest.importorskip("faster_whisper", reason="needs the extra `speech`")
    folder, weights = unpacked(live, "whisper")
    shutil.copytree(weights, folder / "data" / "whisper")
    with own_replica(live, folder, 120):
        yield openai.OpenAI(api_key=KEY, base_url=live.url + "/v1", max_retries=0, timeout=120)


def heard(client: openai.OpenAI, sound: bytes = SPEECH, **how: Any) -> Any:
    file = ("speech.ogg", sound, "audio/ogg")
    return client.audio.transcriptions.create(model="whisper", file=file, **how)


def test_speech_becomes_text_in_each_form(client: openai.OpenAI) -> None:
    text = heard(client).text.lower()
    assert all(part in text for part in SAID)
    assert heard(client, response_format="text").strip().lower() == text
    rows = heard(client, response_format="srt").splitlines()
    assert rows[0] == "1" and rows[1].startswith("00:00:00,000 --> 00:00:0")
    assert heard(client, response_format="vtt").startswith("WEBVTT\n\n00:00:00.000 --> ")
    whole = heard(client, response_format="verbose_json")
    assert 6 < whole.duration < 9 and len(whole.segments) >= 2
    assert whole.segments[-1].end <= whole.duration + 0.5


def test_what_is_no_sound_or_another_language_is_refused(client: openai.OpenAI) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sound": b"no sound"}, "file"),
        ({"language": "fr"}, "language"),
        ({"temperature": 2}, "temperature"),
    ]
    for how, param in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            heard(client, **how)
        assert refused.value.param == param and param in refused.value.message


def test_a_job_tells_how_far_it_is(live: Live, client: openai.OpenAI) -> None:
    with live.client() as http:
        given = {"audio": base64.b64encode(SPEECH).decode()}
        job = submit(http, given, "/models/whisper/production/async_predict")
        status = http.get(f"/async_request/{job}", params={"wait": 60}).json()
        assert status["status"] == "SUCCEEDED" and status["progress"]["fraction"] > 0.5
        said = http.get(f"/async_request/{job}/result").json()
    assert SAID[0] in said["text"].lower()
