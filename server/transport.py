"""Arrays and messages: from the library's words to Flower's and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from numpy.typing import NDArray


def to_record(arrays: Mapping[str, NDArray[np.generic]]) -> ArrayRecord:
    """Named arrays as a Flower record; order is kept."""
    return ArrayRecord(
        {name: Array(np.asarray(value, order="C")) for name, value in arrays.items()}
    )


def from_record(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """A Flower record as named arrays."""
    return {name: array.numpy() for name, array in record.items()}


def payload_bytes(messages: Iterable[Message]) -> int:
    """Bytes of the arrays and metrics that these messages carry."""
    return sum(
        record.count_bytes()
        for message in messages
        if message.has_content()
        for record in message.content.values()
    )
