"""The list of parts that a client of S3 sends to complete an object."""

import pytest

from api.routes.truss.content import ContentRefused
from api.routes.truss.objects import LONGEST_LIST, parts_in

PART = b'<Part><ETag>"%032x"</ETag><PartNumber>%d</PartNumber></Part>'


def test_the_parts_of_a_list_are_read() -> None:
    said = b"".join(PART % (number * 7, number) for number in (1, 2, 300))
    expected = {number: f"{number * 7:032x}" for number in (1, 2, 300)}
    assert parts_in(b"<CompleteMultipartUpload>" + said + b"</CompleteMultipartUpload>") == expected


@pytest.mark.parametrize(
    "said",
    [
        PART[:-7] % (1, 1),  # its end is missing
        b"<Part>" * (LONGEST_LIST // 6),  # a search for the end of each would take hours
        b"<Part><PartNumber>" + b" " * (LONGEST_LIST - 40) + b"</Part>",
        b"<Part><PartNumber>1</PartNumber></Part>",
    ],
    ids=["open", "many", "blanks", "no digest"],
)
def test_a_list_that_is_none_is_refused(said: bytes) -> None:
    with pytest.raises(ContentRefused):
        parts_in(said)
