"""Every way in which an answer can be unfit to be averaged."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedrec import wire
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.transport import CODECS, encode_parts
from server.refusal import Limits, Refused, Update, read_rank_sums, read_update

pytestmark = pytest.mark.usefixtures("flower_identity")

SENT = {
    "item_embedding.weight": np.zeros((2, 2), dtype=np.float32),
    "backbone.scale": np.zeros(1, dtype=np.float32),
}
GOOD = {
    "item_embedding.weight": np.array([[3.0, 0.0], [0.0, 4.0]], dtype=np.float32),
    "backbone.scale": np.zeros(1, dtype=np.float32),
}
LIMITS = Limits(max_norm=1e3, max_weight=100.0, users=3)
METRIC = {wire.WEIGHT: 2.0, wire.LOSS: 1.5, wire.USERS: 3, wire.SECONDS: 0.1}


def message(records: dict[str, Any]) -> Message:
    return Message(RecordDict(records), dst_node_id=1, message_type="train")


def update(
    arrays: dict[str, Any] | None = None, metrics: dict[str, Any] | None = None, **more: Any
) -> Message:
    named = {**GOOD, **(arrays or {})}
    record = ArrayRecord(
        {n: v if isinstance(v, Array) else Array(v) for n, v in named.items() if v is not None}
    )
    numbers = {k: v for k, v in {**METRIC, **(metrics or {})}.items() if v is not None}
    return message({wire.ARRAYS: record, wire.METRICS: MetricRecord(numbers), **more})


def judge(reply: Message, max_norm: float = 1e3, max_weight: float = 100.0) -> str | None:
    """Why the update is refused, None where it is read."""
    try:
        limits = Limits(max_norm=max_norm, max_weight=max_weight, users=3)
        read_update(reply, SENT, limits, by_rows=False)
    except Refused as reason:
        return str(reason)
    return None


def judge_ranks(reply: Message) -> str | None:
    """Why the sums over the test targets are refused, None where they are read."""
    try:
        read_rank_sums(reply, "test")
    except Refused as reason:
        return str(reason)
    return None


def raw(content: bytes, shape: tuple[int, ...] = (1,), dtype: str = "float32") -> Array:
    """An array whose bytes are not what it says they are."""
    return Array(dtype=dtype, shape=shape, stype="numpy.ndarray", data=content)


def npy(value: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def npz(value: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, value=value)
    return stream.getvalue()


def huge_header() -> bytes:
    """Says that 8 TB follow."""
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2 * 10**12,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_a_fit_update_is_read() -> None:
    read = read_update(update(), SENT, LIMITS, by_rows=False)

    assert (read.weight, read.loss, read.users) == (2.0, 1.5, 3)
    assert list(read.sums) == list(SENT)
    for name, value in GOOD.items():
        np.testing.assert_array_equal(read.sums[name], value)


def test_names_are_read_in_the_order_in_which_they_were_sent() -> None:
    turned = ArrayRecord({name: Array(GOOD[name]) for name in reversed(GOOD)})
    reply = message({wire.ARRAYS: turned, wire.METRICS: MetricRecord(METRIC)})

    read = read_update(reply, SENT, LIMITS, by_rows=False)

    assert list(read.sums) == list(SENT)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"backbone.scale": np.array([np.nan], dtype=np.float32)}, "not finite"),
        ({"backbone.scale": np.array([np.inf], dtype=np.float32)}, "not finite"),
        ({"backbone.scale": np.array([-np.inf], dtype=np.float32)}, "not finite"),
        ({"backbone.scale": np.zeros(2, dtype=np.float32)}, r"backbone.scale is .*\(2,\)"),
        ({"backbone.scale": np.zeros((1, 1), dtype=np.float32)}, r"\(1, 1\), sent .*\(1,\)"),
        ({"backbone.scale": np.zeros((), dtype=np.float32)}, "backbone.scale"),
        ({"backbone.scale": np.zeros(1, dtype=np.float64)}, "float64"),
        ({"backbone.scale": np.zeros(1, dtype=np.int32)}, "int32"),
        ({"backbone.scale": None}, r"parameters differ .*backbone.scale"),
        ({"gate": np.zeros(1, dtype=np.float32)}, r"parameters differ .*gate"),
        ({"backbone.scale": raw(npy(np.zeros(9, dtype=np.float32)))}, r"\(9,\)"),
        ({"backbone.scale": raw(npy(np.zeros(1, dtype=np.float64)))}, "float64"),
        ({"backbone.scale": raw(npy(np.array([{}], dtype=object)))}, "cannot be read"),
        ({"backbone.scale": raw(npz(np.zeros(1, dtype=np.float32)))}, "backbone.scale"),
        ({"backbone.scale": raw(b"")}, "cannot be read"),
        ({"backbone.scale": raw(b"\x93NUMPY\x01\x00v\x00")}, "cannot be read"),
        ({"backbone.scale": raw(npy(np.zeros(1, dtype=np.float32))[:-2])}, "cannot be read"),
        ({"backbone.scale": raw(huge_header())}, "backbone.scale"),
    ],
    ids=[
        "nan", "inf", "-inf", "longer", "more dimensions", "scalar", "float64", "int32",
        "a name is missing", "a name too many", "longer than it says", "wider than it says",
        "a pickle", "an archive", "empty", "half a header", "cut short", "says 8 TB",
    ],
)  # fmt: skip
def test_arrays_that_are_refused(arrays: dict[str, Any], reason: str) -> None:
    found = judge(update(arrays))

    assert found is not None
    assert re.search(reason, found), found


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({wire.WEIGHT: 0.0}, "weight 0.0"),
        ({wire.WEIGHT: -1.0}, "weight -1.0"),
        ({wire.WEIGHT: 1e12}, "weight 1000000000000.0, expected above 0 and at most 100"),
        ({wire.WEIGHT: 100.1}, "at most 100"),
        ({wire.WEIGHT: math.nan}, "num-examples is nan"),
        ({wire.WEIGHT: math.inf}, "num-examples is inf"),
        ({wire.WEIGHT: [1.0]}, r"num-examples is [1.0]"),
        ({wire.WEIGHT: None}, "num-examples"),
        ({wire.LOSS: math.nan}, "loss-sum is nan"),
        ({wire.LOSS: math.inf}, "loss-sum is inf"),
        ({wire.USERS: None}, "users"),
        ({wire.USERS: [1, 2]}, "users is [1, 2]"),
        ({"user-17": 1.0}, "user-17"),
    ],
)
def test_metrics_that_are_refused(metrics: dict[str, Any], reason: str) -> None:
    found = judge(update(metrics=metrics))

    assert found is not None
    assert reason in found


def test_weights_may_be_whole_numbers() -> None:
    assert judge(update(metrics={wire.WEIGHT: 2})) is None


@pytest.mark.parametrize(
    "records",
    [
        {},
        {wire.ARRAYS: ArrayRecord()},
        {wire.METRICS: MetricRecord(METRIC)},
        {wire.ARRAYS: MetricRecord(METRIC), wire.METRICS: MetricRecord(METRIC)},
        {wire.ARRAYS: ConfigRecord(), wire.METRICS: ConfigRecord()},
    ],
    ids=["nothing", "no metrics", "no arrays", "metrics as arrays", "configs"],
)
def test_records_that_are_refused(records: dict[str, Any]) -> None:
    found = judge(message(records))

    assert found is not None
    assert "records" in found


def test_a_record_too_many_is_refused() -> None:
    found = judge(update(items=ConfigRecord({"items": [1, 2, 3]})))

    assert found is not None
    assert "items" in found


def test_the_norm_is_of_the_mean_update() -> None:
    assert judge(update(), max_norm=2.5) is None  # the sums 3 and 4 have norm 5, their weight is 2
    found = judge(update(), max_norm=2.49)
    assert found is not None
    assert "norm 2.5, at most 2.49" in found


def test_a_tiny_weight_does_not_hide_a_huge_mean() -> None:
    assert judge(update(metrics={wire.WEIGHT: 1e-30})) is not None


def test_values_whose_squares_overflow_are_refused() -> None:
    largest = np.full((2, 2), np.finfo(np.float32).max)

    assert judge(update({"item_embedding.weight": largest})) is not None


def test_a_long_answer_does_not_flood_the_log() -> None:
    found = judge(update(metrics={f"{number}" * 500: 1.0 for number in range(500)}))

    assert found is not None
    assert len(found) < 400


def test_an_error_is_refused_with_its_reason() -> None:
    reply = Message(Error(2, "out of memory"), reply_to=update())

    assert judge(reply) == "error: out of memory"
    assert judge_ranks(reply) == "error: out of memory"


@given(st.binary(max_size=200))
def test_no_bytes_can_do_more_than_be_refused(content: bytes) -> None:
    assert judge(update({"backbone.scale": raw(content)})) is not None


# -------------------------------------------------------------------------------- encoded updates

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


# ------------------------------------------------------------------------------ rank statistics


def ranks(split: str = "test", **changes: Any) -> Message:
    metrics: dict[str, Any] = {f"{split}/{p}/{m}/sum": 1.0 for p in PROTOCOLS for m in METRICS}
    metrics |= {f"{split}/{protocol}/users": 2.0 for protocol in PROTOCOLS} | changes
    return message({wire.METRICS: MetricRecord(metrics)})


def test_fit_rank_statistics_are_read() -> None:
    read = read_rank_sums(ranks(), "test")

    assert read["test/full/users"] == 2.0
    assert read["test/sampled100/ndcg@10/sum"] == 1.0


def test_a_node_without_targets_is_not_refused() -> None:
    nothing = {key: 0.0 for key in ranks().content[wire.METRICS]}

    assert judge_ranks(ranks(**nothing)) is None


@pytest.mark.parametrize(
    "reply",
    [
        lambda: ranks(**{"test/full/hr@5/sum": 2.1}),
        lambda: ranks(**{"test/full/hr@5/sum": -0.1}),
        lambda: ranks(**{"test/full/users": -2.0}),
        lambda: ranks(**{"test/full/users": math.nan}),
        lambda: ranks(**{"test/full/users": math.inf}),
        lambda: ranks(**{"test/full/users": [2.0]}),
        lambda: ranks(**{"test/full/median/sum": 1.0}),
        lambda: ranks(split="validation"),
        lambda: message({}),
        lambda: message({wire.METRICS: ConfigRecord()}),
        lambda: update(),
    ],
    ids=[
        "more hits than users", "negative hits", "negative users", "nan", "inf", "a list",
        "an unknown metric", "another split", "nothing", "no metrics", "arrays",
    ],
)  # fmt: skip
def test_rank_statistics_that_are_refused(reply: Any) -> None:
    assert judge_ranks(reply()) is not None


def test_the_protocols_of_rank_statistics_are_those_asked_for() -> None:
    cold = {f"test/cold/{metric}/sum": 1.0 for metric in METRICS} | {"test/cold/users": 2.0}
    asked = (*PROTOCOLS, "cold")
    assert read_rank_sums(ranks(**cold), "test", asked)["test/cold/hr@10/sum"] == 1.0
    with pytest.raises(Refused, match="metrics differ from those expected"):
        read_rank_sums(ranks(**cold), "test")
    with pytest.raises(Refused, match="metrics differ from those expected"):
        read_rank_sums(ranks(), "test", asked)
    with pytest.raises(Refused, match=r"test/cold/hr@10/sum is 3\.0 over 2"):
        read_rank_sums(ranks(**cold | {"test/cold/hr@10/sum": 3.0}), "test", asked)
