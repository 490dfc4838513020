"""Answers of a node, fit or not, and what the server judges of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from fedrec import wire
from server.refusal import Limits, Refused, read_rank_sums, read_update

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
