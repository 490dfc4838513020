from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.segments import Batch, encode_batch, encode_end, encode_header, read_segment

HEADER = {"dim": 3, "plan": "p", "versions": {"torch": "2"}}


def digest(number: int) -> bytes:
    return bytes([number]) * 16


FULL = Batch(
    index=4,
    digests=[digest(1), digest(0), digest(3)],
    kept=[0, 2],
    rows=np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float16),
    faults={1: ("truncated", "ends at byte 7 \N{BROKEN HEART}")},
    first_frames=[2],
)
EMPTY = Batch(index=0, digests=[digest(7)], kept=[], rows=np.zeros((0, 3), np.float16))
CONTENT = encode_header(HEADER) + encode_batch(FULL) + encode_batch(EMPTY)


def same(left: Batch, right: Batch) -> bool:
    return (
        (left.index, list(left.digests), list(left.kept), dict(left.faults))
        == (right.index, list(right.digests), list(right.kept), dict(right.faults))
        and list(left.first_frames) == list(right.first_frames)
        and np.array_equal(left.rows, right.rows)
    )


def test_what_is_written_is_read(tmp_path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(CONTENT)
    segment = read_segment(path)
    assert segment is not None and segment.header == HEADER and not segment.finished
    assert segment.end == len(CONTENT) and len(segment.batches) == 2
    assert same(segment.batches[0], FULL) and same(segment.batches[1], EMPTY)
    path.write_bytes(CONTENT + encode_end(2))
    segment = read_segment(path)
    assert segment is not None and segment.finished


def test_an_end_that_counts_other_batches_is_no_end(tmp_path) -> None:
    (tmp_path / "rows").write_bytes(CONTENT + encode_end(3))
    segment = read_segment(tmp_path / "rows")
    assert segment is not None and not segment.finished and segment.end == len(CONTENT)


def test_wherever_it_is_torn_the_whole_batches_before_are_read(tmp_path) -> None:
    path = tmp_path / "rows"
    first = len(encode_header(HEADER))
    second = first + len(encode_batch(FULL))
    for length in range(len(CONTENT)):
        for rest in (b"", bytes(40), b"\xff" * 40):
            path.write_bytes(CONTENT[:length] + rest)
            segment = read_segment(path)
            if length < first:
                assert segment is None
            else:
                assert segment is not None
                assert segment.end == (second if length >= second else first)


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_always_found(tmp_path_factory, at, bit) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped"
    whole = CONTENT + encode_end(2)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    segment = read_segment(path)
    assert segment is None or not segment.finished
