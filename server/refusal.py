"""Reads what nodes answer, and refuses what must never be averaged.

A node may be broken or hostile; the run must outlive it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedrec.checkpoints import Arrays
from fedrec.evaluation.metrics import METRICS as RANK_METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.wire import ARRAYS, LOSS, METRICS, SECONDS, USERS, WEIGHT

_TRAINING_METRICS = frozenset((WEIGHT, LOSS, USERS, SECONDS))


class Refused(Exception):
    """Why an answer is left out."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What a node's users have learned: sums over them, see `fedrec.training.cohort`."""

    sums: Arrays
    weight: float
    loss: float
    users: int
    seconds: float


def read_update(reply: Message, sent: Arrays, *, max_norm: float, max_weight: float) -> Update:
    """A node's answer to a training message.

    sent: the arrays it was sent, by name. max_norm: bound of the l2 norm of the node's mean update.
    max_weight: bound of the weight, what its users can weigh together.
    Raises Refused where the answer must not be averaged.
    """
    content = _content(reply, {ARRAYS: ArrayRecord, METRICS: MetricRecord})
    metrics = _numbers(content.metric_records[METRICS], _TRAINING_METRICS)
    weight = metrics[WEIGHT]
    if not 0 < weight <= max_weight:
        raise Refused(f"weight {weight!r}, expected above 0 and at most {max_weight:g}")
    record = content.array_records[ARRAYS]
    if set(record) != set(sent):
        raise Refused(f"parameters differ from those sent: {_some(set(record) ^ set(sent))}")
    sums = {name: _decoded(name, record[name], value.shape) for name, value in sent.items()}
    squares = sum(float(np.square(value, dtype=np.float64).sum()) for value in sums.values())
    if not math.isfinite(squares):
        raise Refused("values that are not finite")
    norm = math.sqrt(squares) / weight
    if norm > max_norm:
        raise Refused(f"mean update of norm {norm:g}, at most {max_norm:g}")
    users, seconds = int(metrics[USERS]), metrics[SECONDS]
    return Update(sums=sums, weight=weight, loss=metrics[LOSS], users=users, seconds=seconds)


def read_rank_sums(reply: Message, split: str) -> dict[str, float]:
    """A node's answer to an evaluation, see `fedrec.evaluation.metrics.rank_sums`.

    Raises Refused where it must not be added to those of others.
    """
    content = _content(reply, {METRICS: MetricRecord})
    prefixes = [f"{split}/{protocol}" for protocol in PROTOCOLS]
    count_of = {f"{p}/{metric}/sum": f"{p}/users" for p in prefixes for metric in RANK_METRICS}
    numbers = _numbers(content.metric_records[METRICS], {*count_of, *count_of.values()})
    for key, count in count_of.items():
        if not 0 <= numbers[key] <= numbers[count]:
            raise Refused(f"{key} is {numbers[key]!r} over {numbers[count]!r} users")
    return numbers


def _content(reply: Message, expected: Mapping[str, type]) -> RecordDict:
    if reply.has_error():
        raise Refused(f"error: {reply.error.reason}")
    found = {key: type(record) for key, record in reply.content.items()}
    if found != expected:
        raise Refused(f"records {_some(found)}, expected {sorted(expected)}")
    return reply.content


def _numbers(metrics: MetricRecord, expected: Set[str]) -> dict[str, float]:
    """The metrics, each one finite number."""
    if set(metrics) != expected:
        raise Refused(f"metrics differ from those expected: {_some(set(metrics) ^ expected)}")
    numbers = {}
    for key, value in metrics.items():
        if isinstance(value, list) or not math.isfinite(value):
            raise Refused(f"{key} is {value!r:.60}")
        numbers[key] = float(value)
    return numbers


def _decoded(name: str, array: Array, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What the bytes hold, whatever the record says about them."""
    try:
        value = array.numpy()
    except Exception as error:  # strangers' bytes can lead to any
        raise Refused(f"{name} cannot be read ({type(error).__name__})") from None
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.shape != shape:
        found = (getattr(value, "dtype", type(value)), getattr(value, "shape", ()))
        raise Refused(f"{name} is {found[0]} {found[1]}, sent was float32 {shape}")
    return value


def _some(names: Set[str] | Mapping[str, object]) -> list[str]:
    """The first names, shortened: enough to find the mistake, too little to flood a log."""
    return [name[:60] for name in sorted(names)[:3]]
