"""Every way in which an update in an encoding, or by rows, can be unfit to be averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from fedrec import wire
from fedrec.transport import CODECS, encode_parts
from server.refusal import Refused, Update, read_update
from tests.server.answers import LIMITS, METRIC, huge_header, message, npy, npz, raw

pytestmark = pytest.mark.usefixtures("flower_identity")


ITEMS, DIM = 9, 4
LARGE = {
    "item_embedding.weight": np.zeros((ITEMS, DIM), dtype=np.float32),
    "backbone.scale": np.zeros(1, dtype=np.float32),
}
TOUCHED = np.array([2, 5, 8], dtype=np.int32)


def encoded(
    codec: str, rows: Any = TOUCHED, changes: dict[str, Any] | None = None, value: float = 1.0
) -> Message:
    """An update of ones; of the table `rows`, or all of them where that is None."""
    count = ITEMS if rows is None else 3
    parts = {
        "item_embedding": {"item_embedding.weight": np.full((count, DIM), value, np.float32)},
        "backbone": {"backbone.scale": np.full(1, value, np.float32)},
    }
    named: dict[str, Any] = {**encode_parts(parts, CODECS[codec])}
    named |= {wire.ROWS: rows} | (changes or {})
    record = {n: v if isinstance(v, Array) else Array(v) for n, v in named.items() if v is not None}
    return message({wire.ARRAYS: ArrayRecord(record), wire.METRICS: MetricRecord(METRIC)})


def read(reply: Message, codec: str = "int8", by_rows: bool = True) -> Update:
    return read_update(reply, LARGE, LIMITS, CODECS[codec], by_rows=by_rows)


def judge_encoded(reply: Message, codec: str = "int8", by_rows: bool = True) -> str | None:
    try:
        read(reply, codec, by_rows)
    except Refused as reason:
        return str(reason)
    return None


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("by_rows", [True, False])
def test_a_fit_encoded_update_is_read(codec: str, by_rows: bool) -> None:
    found = read(encoded(codec, TOUCHED if by_rows else None), codec, by_rows)

    assert list(found.sums) == list(LARGE)
    table = found.sums["item_embedding.weight"]
    assert table.shape == ((3 if by_rows else ITEMS), DIM)
    np.testing.assert_allclose(table, 1.0, rtol=0.01)
    np.testing.assert_allclose(found.sums["backbone.scale"], [1.0], rtol=0.01)
    if by_rows:
        np.testing.assert_array_equal(found.rows, TOUCHED)
    else:
        assert found.rows is None


def test_a_cohort_may_touch_no_row() -> None:
    nothing = {"item_embedding": np.zeros(0, dtype=np.uint8)}

    found = read(encoded("int8", np.zeros(0, dtype=np.int32), nothing))

    assert found.sums["item_embedding.weight"].shape == (0, DIM)


def of(*numbers: int, dtype: Any = np.int32) -> np.ndarray:
    return np.array(numbers, dtype=dtype)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (of(2, 5, 9), "from 2 to 9, expected 1 to 8"),
        (of(0, 5, 8), "from 0 to 8"),
        (of(-1, 5, 8), "from -1 to 8"),
        (of(5, 2, 8), "not ascending"),
        (of(2, 2, 8), "not ascending"),
        (of(2, 5), "group 'item_embedding': the payload is"),
        (of(2, 5, 6, 8), "group 'item_embedding': the payload is"),
        (of(2, 5, 8, dtype=np.int64), "is int64 (3,), expected int32"),
        (of(2, 5, 8, dtype=np.float32), "is float32 (3,)"),
        (of(2, 5, 8).reshape(3, 1), "is int32 (3, 1)"),
        (raw(b""), "cannot be read"),
        (raw(npz(np.zeros(1, dtype=np.int32))), "item_embedding.rows"),
        (None, "item_embedding.rows is missing"),
        (of(2**31 - 1, -(2**31), 8), "item_embedding.rows"),
        (of(1, 2**31 - 1, -(2**31) + 1, -1, 5), "not ascending"),
    ],
    ids=[
        "beyond the table", "the padding", "negative", "unsorted", "twice", "too few", "too many",
        "int64", "float32", "two dimensions", "empty", "an archive", "missing", "overflowing",
        "differences that wrap",
    ],
)  # fmt: skip
def test_rows_that_are_refused(rows: Any, reason: str) -> None:
    found = judge_encoded(encoded("int8", changes={wire.ROWS: rows}))

    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": np.zeros(7, dtype=np.uint8)}, "group 'backbone': the payload is uint8 (7,)"),
        ({"backbone": np.zeros(2, dtype=np.int8)}, "backbone is int8 (2,), expected uint8"),
        ({"backbone": np.zeros((1, 2), dtype=np.uint8)}, "backbone is uint8 (1, 2)"),
        ({"backbone": None}, "groups differ from those expected: ['backbone']"),
        ({"router": np.zeros(2, dtype=np.uint8)}, "['router']"),
        ({"backbone": raw(huge_header())}, "backbone"),
        ({"backbone": raw(npy(np.array([{}], dtype=object)))}, "backbone cannot be read"),
    ],
    ids=["longer", "another type", "more dimensions", "missing", "too many", "8 TB", "a pickle"],
)
def test_encoded_groups_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    found = judge_encoded(encoded("int8", changes=changes))

    assert found is not None
    assert reason in found


def test_rows_where_whole_tables_travel_are_refused() -> None:
    found = judge_encoded(encoded("int8"), by_rows=False)

    assert found is not None
    assert "item_embedding.rows" in found


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("codec", "kind"), [("float32", "<f4"), ("float16", "<f2")])
def test_encoded_values_that_are_not_finite_are_refused(codec: str, kind: str, bad: float) -> None:
    """int8 and the scales have no bytes for them."""
    payload = np.array([bad], dtype=kind).view(np.uint8)
    scale = np.zeros(0 if codec == "float32" else 1, dtype=np.uint8)

    found = judge_encoded(
        encoded(codec, changes={"backbone": np.concatenate([scale, payload])}), codec
    )

    assert found == "values that are not finite"


def test_the_norm_is_of_what_was_decoded() -> None:
    """The largest scale there is: 127 * 2 ** 19.75."""
    found = judge_encoded(encoded("int8", changes={"backbone": of(255, 127, dtype=np.uint8)}))

    assert found is not None
    assert "mean update of norm 5.599" in found


@given(rows=st.lists(st.integers(-3, 12), max_size=6), content=st.binary(max_size=60))
def test_whatever_rows_and_bytes_come_only_fit_ones_are_read(
    rows: list[int], content: bytes
) -> None:
    chosen = np.array(rows, dtype=np.int32)
    payload = np.frombuffer(content, dtype=np.uint8)
    reply = encoded("int8", changes={wire.ROWS: chosen, "item_embedding": payload})

    try:
        found = read(reply)
    except Refused:
        return
    assert sorted(set(rows)) == rows
    assert all(1 <= row < ITEMS for row in rows)
    assert found.sums["item_embedding.weight"].shape == (len(rows), DIM)
    assert np.isfinite(found.sums["item_embedding.weight"]).all()
