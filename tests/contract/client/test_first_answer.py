"""docs/client.md, typed: the first answer, and every example of the Python client."""

import doctest
import json
from pathlib import Path

import pytest

from tests.contract.client.conftest import PAGE, Stack, lines_of_the_page

pytestmark = pytest.mark.stack

LONGEST = 60.0  # s that a person waits for a first answer, on a machine that does nothing else


def test_the_page_leads_from_an_empty_folder_to_an_answer(stack: Stack) -> None:
    predict = lines_of_the_page()[-1]
    assert json.loads(stack.said[predict]) == {"text": "Hello, Ada!"}
    assert stack.said[predict] in PAGE
    print(f"first answer after {stack.first_answer_seconds:.1f} s (promised: {LONGEST:g} s)")


def test_the_examples_of_the_page_are_true(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINGPOST_URL", stack.url)
    monkeypatch.setenv("KINGPOST_API_KEY", stack.key)
    examples = doctest.DocTestParser().get_doctest(PAGE, {}, "docs/client.md", None, 0)
    assert len(examples.examples) > 15
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert not said, "".join(said)
