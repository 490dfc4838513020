"""Every way in which an update by name can be unfit to be averaged."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from fedrec import wire
from server.refusal import read_update
from tests.server.answers import (
    GOOD,
    LIMITS,
    METRIC,
    SENT,
    huge_header,
    judge,
    judge_ranks,
    message,
    npy,
    npz,
    raw,
    update,
)

pytestmark = pytest.mark.usefixtures("flower_identity")


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
