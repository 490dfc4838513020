"""Reads what nodes answer, and refuses what must never be averaged.

A node may be broken or hostile; the run must outlive it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedrec.checkpoints import Arrays
from fedrec.checkpoints.tensors import by_group
from fedrec.evaluation.metrics import METRICS as RANK_METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.training.touched import TABLE
from fedrec.transport import Codec, Rows, decode_parts, shapes_of
from fedrec.wire import ARRAYS, CONFIG, LOSS, METRICS, ROW_WEIGHTS, ROWS, SECONDS, USERS, WEIGHT

ROUNDING = 1e-4
"""How far a sum of weights may exceed another one that is as large or larger, of its size."""
_FINITE = sys.float_info.max
_MAX_LOSS, _MAX_SECONDS = 1e6, 1e7
"""Beyond them a claim is no measurement: a loss is minus the logarithm of a share, and no round
takes months."""
_TEXT = 300
_TRAINING_METRICS = frozenset((WEIGHT, LOSS, USERS, SECONDS))


class Refused(Exception):
    """Why an answer is left out."""


class Failed(Refused):
    """The node says itself that it could not do its part: it is left out, and nobody's fault."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What a node's users have learned: sums over them, see `fedrec.training.cohort`.

    rows: [rows], those of the item table that `sums` has; None where it has all of them.
    row_weights: float32, what the users weigh who met an item, of the same rows; None where all
    rows are averaged like everything else.
    """

    sums: Arrays
    rows: Rows | None
    weight: float
    loss: float
    users: int
    seconds: float
    row_weights: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """max_norm: bound of the l2 norm of a node's mean update. max_weight: bound of the weight, what
    was drawn there can weigh. users: at most so many trained: how many places it had."""

    max_norm: float
    max_weight: float
    users: int


def read_update(
    reply: Message,
    sent: Arrays,
    limits: Limits,
    codec: Codec | None = None,
    *,
    by_rows: bool,
    weighs_rows: bool = False,
) -> Update:
    """A node's answer to a training message.

    sent: what trains, by name. codec: how the answer is encoded, None: plain arrays by name.
    by_rows: whether of the item table only rows come. weighs_rows: whether it says what users weigh
    by row. Raises Refused where the answer must not be averaged.
    """
    content = _content(reply, {ARRAYS: ArrayRecord, METRICS: MetricRecord})
    metrics = _numbers(content.metric_records[METRICS], _TRAINING_METRICS)
    weight = metrics[WEIGHT]
    if not 0 < weight <= limits.max_weight:
        raise Refused(f"weight {weight!r}, expected above 0 and at most {limits.max_weight:g}")
    _check_claims(metrics, limits.users)
    record, row_weights = content.array_records[ARRAYS], None
    if weighs_rows and TABLE in sent:
        record, row_weights = _without_row_weights(record)
    rows = _rows(record, len(sent[TABLE])) if by_rows and TABLE in sent else None
    sums = _plain(record, sent) if codec is None else _encoded(record, sent, codec, rows)
    _check_size(sums, weight, limits.max_norm)
    if row_weights is not None:
        _check_row_weights(row_weights, len(sums[TABLE]), weight)
    return Update(
        sums=sums,
        rows=rows,
        weight=weight,
        loss=metrics[LOSS],
        users=int(metrics[USERS]),
        seconds=metrics[SECONDS],
        row_weights=row_weights,
    )


def read_rank_sums(
    reply: Message,
    split: str,
    protocols: Collection[str] = tuple(PROTOCOLS),
    users: float = math.inf,
) -> dict[str, float]:
    """A node's answer to an evaluation, see `fedrec.evaluation.metrics.rank_sums`.

    protocols: those it must have, each over the same users. users: how many the node has. Raises
    Refused where it must not be added to those of others.
    """
    content = _content(reply, {METRICS: MetricRecord})
    prefixes = [f"{split}/{protocol}" for protocol in protocols]
    count_of = {f"{p}/{metric}/sum": f"{p}/users" for p in prefixes for metric in RANK_METRICS}
    numbers = _numbers(content.metric_records[METRICS], {*count_of, *count_of.values()})
    for key, count in count_of.items():
        if not 0 <= numbers[key] <= numbers[count]:
            raise Refused(f"{key} is {numbers[key]!r} over {numbers[count]!r} users")
    counts = {numbers[f"{prefix}/users"] for prefix in prefixes}
    _check_users(max(counts), users)
    if len(counts) > 1:
        raise Refused(f"{sorted(counts)} users, expected as many by every protocol")
    return numbers


def printable(text: str) -> str:
    """A node's text, fit for a line of a log: cut, and without what could end or colour a line."""
    return "".join(char if char.isprintable() else " " for char in text[:_TEXT])


def _check_claims(metrics: Mapping[str, float], users: int) -> None:
    """What is only reported, and must still not spoil the report."""
    if metrics[USERS] == 0:
        raise Refused("a weight of no users")
    _check_users(metrics[USERS], users)
    loss = metrics[LOSS] / metrics[WEIGHT]
    if not -ROUNDING <= loss <= _MAX_LOSS:
        raise Refused(f"a mean loss of {loss:g}, expected 0 to {_MAX_LOSS:g}")
    if not 0 <= metrics[SECONDS] <= _MAX_SECONDS:
        raise Refused(f"{metrics[SECONDS]:g} seconds, expected 0 to {_MAX_SECONDS:g}")


def _check_users(claimed: float, users: float) -> None:
    if not (0 <= claimed <= users and claimed == int(claimed)):
        raise Refused(f"{claimed:g} users, expected a whole number up to {users:g}")


def _content(reply: Message, expected: Mapping[str, type]) -> RecordDict:
    if reply.has_error():
        raise Failed(f"error: {printable(str(reply.error.reason))}")
    found = {key: type(record) for key, record in reply.content.items() if key != CONFIG}
    if found != expected:
        raise Refused(f"records {_some(found)}, expected {sorted(expected)}")
    return reply.content


def _numbers(metrics: MetricRecord, expected: Set[str]) -> dict[str, float]:
    """The metrics, each one finite number."""
    if set(metrics) != expected:
        raise Refused(f"metrics differ from those expected: {_some(set(metrics) ^ expected)}")
    numbers = {}
    for key, value in metrics.items():
        if isinstance(value, list) or not abs(value) <= _FINITE:  # of an int too large, too
            raise Refused(f"{key} is {value!r:.60}")
        numbers[key] = float(value)
    return numbers


def _plain(record: ArrayRecord, sent: Arrays) -> Arrays:
    """Every parameter by its name."""
    if set(record) != set(sent):
        raise Refused(f"parameters differ from those sent: {_some(set(record) ^ set(sent))}")
    return {name: _decoded(name, record[name], value.shape) for name, value in sent.items()}


def _encoded(record: ArrayRecord, sent: Arrays, codec: Codec, rows: Rows | None) -> Arrays:
    """One vector of bytes a group, of the item table only `rows` where these are given."""
    shapes = shapes_of(by_group(sent))
    if rows is not None:
        group, dim = TABLE.split(".", 1)[0], sent[TABLE].shape[1]
        shapes[group] = {**shapes[group], TABLE: (len(rows), dim)}
    names = {name for name in record if rows is None or name != ROWS}
    if names != set(shapes):
        raise Refused(f"groups differ from those expected: {_some(names ^ set(shapes))}")
    payloads = {name: _vector(name, record[name], np.uint8) for name in names}
    try:
        return decode_parts(payloads, shapes, codec)
    except ValueError as error:
        raise Refused(str(error)) from None


def _rows(record: ArrayRecord, items: int) -> Rows:
    """Which rows of the table came: ascending, each once, none of them the padding's."""
    if ROWS not in record:
        raise Refused(f"{ROWS} is missing")
    rows = _vector(ROWS, record[ROWS], np.int32)
    if (rows[1:] <= rows[:-1]).any():  # a difference of int32 could wrap
        raise Refused(f"{ROWS} are not ascending, each once")
    if len(rows) and not 1 <= rows[0] <= rows[-1] < items:
        raise Refused(f"{ROWS} from {rows[0]} to {rows[-1]}, expected 1 to {items - 1}")
    return rows


def _without_row_weights(record: ArrayRecord) -> tuple[ArrayRecord, NDArray[np.float32]]:
    if ROW_WEIGHTS not in record:
        raise Refused(f"{ROW_WEIGHTS} is missing")
    others = {name: array for name, array in record.items() if name != ROW_WEIGHTS}
    return ArrayRecord(others), _vector(ROW_WEIGHTS, record[ROW_WEIGHTS], np.float32)


def _check_row_weights(weights: NDArray[np.float32], rows: int, weight: float) -> None:
    """Nobody who met an item weighs more than all users of the node."""
    if len(weights) != rows:
        raise Refused(f"{ROW_WEIGHTS} are {len(weights)}, expected one for each of {rows} rows")
    fit = (weights >= 0) & (weights <= weight * (1 + ROUNDING))  # not so for what is no number
    if not fit.all():
        wrong = float(weights[np.argmin(fit)])
        raise Refused(f"{ROW_WEIGHTS} has {wrong!r}, expected 0 to {weight:g}")


def _check_size(sums: Arrays, weight: float, max_norm: float) -> None:
    squares = sum(float(np.square(value, dtype=np.float64).sum()) for value in sums.values())
    if not math.isfinite(squares):
        raise Refused("values that are not finite")
    norm = math.sqrt(squares) / weight
    if norm > max_norm:
        raise Refused(f"mean update of norm {norm:g}, at most {max_norm:g}")


def _vector(name: str, array: Array, dtype: type[np.generic]) -> NDArray[Any]:
    """The one-dimensional array that the bytes hold."""
    value = _array(name, array)
    if value.dtype != dtype or value.ndim != 1:
        found = f"{value.dtype} {value.shape}"
        raise Refused(f"{name} is {found}, expected {np.dtype(dtype)} of one dimension")
    return value


def _decoded(name: str, array: Array, shape: tuple[int, ...]) -> NDArray[np.float32]:
    value = _array(name, array)
    if value.dtype != np.float32 or value.shape != shape:
        raise Refused(f"{name} is {value.dtype} {value.shape}, sent was float32 {shape}")
    return value


def _array(name: str, array: Array) -> NDArray[Any]:
    """What the bytes hold, whatever the record says about them."""
    try:
        value = array.numpy()
    except Exception as error:  # strangers' bytes can lead to any
        raise Refused(f"{name} cannot be read ({type(error).__name__})") from None
    if not isinstance(value, np.ndarray):
        raise Refused(f"{name} is {type(value).__name__}, expected an array")
    return value


def _some(names: Set[str] | Mapping[str, object]) -> list[str]:
    """The first names, shortened: enough to find the mistake, too little to flood a log."""
    return [name[:60] for name in sorted(names)[:3]]
