"""Arrays survive the wire bit by bit, and traffic is counted."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from server.transport import from_record, group_bytes, payload_bytes, to_record

pytestmark = pytest.mark.usefixtures("flower_identity")
ARRAYS = hypothesis_numpy.arrays(
    np.float32,
    hypothesis_numpy.array_shapes(min_dims=0, max_dims=3, max_side=4),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=4))
def test_arrays_come_back_bit_by_bit_and_in_order(arrays: dict[str, np.ndarray]) -> None:
    back = from_record(to_record(arrays))

    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == np.float32
        assert back[name].shape == value.shape
        assert back[name].tobytes() == value.tobytes()


def test_arrays_need_not_be_contiguous() -> None:
    value = np.arange(12, dtype=np.float32).reshape(3, 4).T

    np.testing.assert_array_equal(from_record(to_record({"a": value}))["a"], value)


def test_a_record_shares_no_memory_with_its_arrays() -> None:
    value = np.zeros(3, dtype=np.float32)
    record = to_record({"a": value})
    value[:] = 7

    np.testing.assert_array_equal(from_record(record)["a"], 0.0)


def test_payload_is_counted_over_records_and_errors_weigh_nothing() -> None:
    thousand = to_record({"a": np.zeros(1000, dtype=np.float32)})
    records = {"arrays": thousand, "metrics": MetricRecord({"x": 1.0}), "config": ConfigRecord()}
    message = Message(RecordDict(records), dst_node_id=1, message_type="train")
    error = Message(Error(2, "no"), reply_to=message)

    assert 4000 < payload_bytes([message]) < 4400
    assert payload_bytes([message, message, error]) == 2 * payload_bytes([message])
    assert payload_bytes([error]) == 0


def test_bytes_by_group_are_those_of_its_arrays_in_all_records() -> None:
    """Names of parameters, groups and rows all begin with the group; 128 is numpy's header."""
    first = to_record({"gate": np.zeros(1, "f4"), "backbone.a": np.zeros(10, "f4")})
    second = to_record({"backbone": np.zeros(7, "u1"), "item_embedding.rows": np.zeros(2, "i4")})
    records = {"arrays": first, "change": second, "metrics": MetricRecord({"x": 1.0})}
    message = Message(RecordDict(records), dst_node_id=1, message_type="train")

    found = group_bytes([message, message, Message(Error(2, "no"), reply_to=message)])

    assert found == {
        "gate": 2 * (128 + 4 + len("gate")),
        "backbone": 2 * (128 + 40 + len("backbone.a") + 128 + 7 + len("backbone")),
        "item_embedding": 2 * (128 + 8 + len("item_embedding.rows")),
    }
    assert sum(found.values()) < payload_bytes([message, message])
