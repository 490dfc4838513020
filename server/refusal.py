"""Which answers are never averaged: a node may be broken or hostile, the run must outlive it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedrec.evaluation.metrics import METRICS as RANK_METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.wire import ARRAYS, LOSS, METRICS, SECONDS, USERS, WEIGHT

_TRAINING_METRICS = frozenset((WEIGHT, LOSS, USERS, SECONDS))


def refusal(
    reply: Message,
    expected: Mapping[str, NDArray[np.float32]],
    *,
    max_norm: float,
    max_weight: float,
) -> str | None:
    """Why an update must not be averaged, or None where it may.

    expected: the arrays that were sent, by name. max_norm: bound of the l2 norm of the node's mean
    update. max_weight: bound of the weight, what its users can weigh together.
    """
    if reply.has_error():
        return f"error: {reply.error.reason}"
    fault = _records_fault(reply.content, {ARRAYS: ArrayRecord, METRICS: MetricRecord})
    if fault is not None:
        return fault
    metrics = reply.content.metric_records[METRICS]
    fault = _metrics_fault(metrics, _TRAINING_METRICS)
    if fault is not None:
        return fault
    weight = _number(metrics, WEIGHT)
    if not 0 < weight <= max_weight:
        return f"weight {weight!r}, expected above 0 and at most {max_weight:g}"
    record = reply.content.array_records[ARRAYS]
    if set(record) != set(expected):
        return f"parameters differ from those sent: {_some(set(record) ^ set(expected))}"
    squares = 0.0
    for name, array in record.items():
        value = _decoded(array, expected[name])
        if isinstance(value, str):
            return f"{name}: {value}"
        squares += float(np.square(value, dtype=np.float64).sum())
    if not math.isfinite(squares):
        return "values that are not finite"
    norm = math.sqrt(squares) / weight
    return None if norm <= max_norm else f"mean update of norm {norm:g}, at most {max_norm:g}"


def evaluation_refusal(reply: Message, split: str) -> str | None:
    """Why sums of rank statistics must not be added to those of others, or None where they may."""
    if reply.has_error():
        return f"error: {reply.error.reason}"
    fault = _records_fault(reply.content, {METRICS: MetricRecord})
    if fault is not None:
        return fault
    metrics = reply.content.metric_records[METRICS]
    counts = {f"{split}/{protocol}/users": f"{split}/{protocol}/" for protocol in PROTOCOLS}
    sums = {f"{prefix}{m}/sum": c for c, prefix in counts.items() for m in RANK_METRICS}
    fault = _metrics_fault(metrics, sums.keys() | counts.keys())
    if fault is not None:
        return fault
    for key, count in sums.items():
        if not 0 <= _number(metrics, key) <= _number(metrics, count):
            return f"{key} is {metrics[key]!r} over {metrics[count]!r} users"
    return None


def _records_fault(content: RecordDict, expected: Mapping[str, type]) -> str | None:
    found = {key: type(record) for key, record in content.items()}
    return None if found == expected else f"records {_some(found)}, expected {sorted(expected)}"


def _metrics_fault(metrics: MetricRecord, expected: Set[str]) -> str | None:
    if set(metrics) != expected:
        return f"metrics differ from those expected: {_some(set(metrics) ^ expected)}"
    odd = [key for key in metrics if not math.isfinite(_number(metrics, key))]
    return f"{odd[0]} is {metrics[odd[0]]!r}" if odd else None


def _number(metrics: MetricRecord, key: str) -> float:
    """A metric that is one number; NaN where it is a list."""
    value = metrics[key]
    return math.nan if isinstance(value, list) else float(value)


def _decoded(array: Array, sent: NDArray[np.float32]) -> NDArray[np.float32] | str:
    """What the bytes hold, whatever is said about them; or what is wrong with them."""
    try:
        value = array.numpy()
    except Exception as error:  # strangers' bytes can lead to any
        return f"cannot be read ({type(error).__name__})"
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != sent.shape:
        found = (getattr(value, "dtype", type(value)), getattr(value, "shape", ()))
        return f"is {found[0]} {found[1]}, sent was {sent.dtype} {sent.shape}"
    return value


def _some(names: Set[str] | Mapping[str, object]) -> list[str]:
    """The first names, shortened: enough to find the mistake, too little to flood a log."""
    return [name[:60] for name in sorted(names)[:3]]
