"""Arrays and messages: from the library's words to Flower's and back, and how many bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from numpy.typing import NDArray

from fedrec.model.feddmmr import group_of
from fedrec.wire import ARRAYS, METRICS, WEIGHT


def to_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Named arrays as a Flower record; order is kept."""
    return ArrayRecord(
        {name: Array(np.asarray(value, order="C")) for name, value in arrays.items()}
    )


def from_record(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """A Flower record as named arrays."""
    return {name: array.numpy() for name, array in record.items()}


def as_reply(arrays: Mapping[str, NDArray[np.generic]]) -> Message:
    """Named arrays as the reply that Flower's strategies expect, as if a node of weight 1 had sent
    them."""
    content = RecordDict({METRICS: MetricRecord({WEIGHT: 1.0}), ARRAYS: to_record(arrays)})
    return Message(content, dst_node_id=0, message_type=MessageType.TRAIN)


def payload_bytes(messages: Iterable[Message]) -> int:
    """Bytes of the arrays and metrics that these messages carry."""
    return sum(record.count_bytes() for record in _records(messages))


def group_bytes(messages: Iterable[Message]) -> dict[str, int]:
    """Group -> bytes of its arrays in these messages; the rest of a message belongs to none."""
    found: dict[str, int] = {}
    for record in _records(messages):
        if isinstance(record, ArrayRecord):
            for name, array in record.items():
                size = len(array.data) + len(name)
                found[group_of(name)] = found.get(group_of(name), 0) + size
    return found


def _records(messages: Iterable[Message]) -> Iterator[ArrayRecord | MetricRecord | ConfigRecord]:
    for message in messages:
        if message.has_content():
            yield from message.content.values()
