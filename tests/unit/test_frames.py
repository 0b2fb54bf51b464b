"""The frames between host and worker, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.wire import (
    BODY_PIECE,
    Frame,
    FrameDecoder,
    FrameError,
    FrameKind,
    encode_body,
    encode_frame,
    encode_json,
)

FRAMES = st.lists(st.builds(Frame, st.sampled_from(FrameKind), st.binary(max_size=50)))


@given(FRAMES, st.data())
def test_frames_survive_any_cut(frames: list[Frame], data: st.DataObject) -> None:
    wire = b"".join(encode_frame(frame.kind, frame.payload) for frame in frames)
    decoder, seen, start = FrameDecoder(), [], 0
    while start < len(wire):
        step = data.draw(st.integers(1, len(wire) - start))
        seen += decoder.feed(wire[start : start + step])
        start += step
    assert seen == frames
    assert decoder.empty


def test_a_half_frame_is_not_empty() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(FrameKind.OUTPUT, b"abc")[:-1]) == []
    assert not decoder.empty


def test_json_frames_are_compact() -> None:
    wire = encode_json(FrameKind.PROGRESS, {"fraction": 0.5, "message": None})
    assert wire == b'P\x00\x00\x00\x1f{"fraction":0.5,"message":null}'
    assert FrameDecoder().feed(wire)[0].json() == {"fraction": 0.5, "message": None}


def test_a_body_is_cut_into_pieces() -> None:
    sizes = [len(piece) - 5 for piece in encode_body(b"x" * (2 * BODY_PIECE + 1))]
    assert sizes == [BODY_PIECE, BODY_PIECE, 1]
    assert list(encode_body(b"")) == []


@pytest.mark.parametrize("wire", [b"HTTP/1.1 200", b"R\xff\xff\xff\xff"])
def test_other_bytes_are_refused(wire: bytes) -> None:
    with pytest.raises(FrameError):
        FrameDecoder().feed(wire)
