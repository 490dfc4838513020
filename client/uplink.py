"""What a node sends up of its users' update: all numbers, or encoded, or only rows of the items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from numpy.typing import NDArray

from fedrec import wire
from fedrec.checkpoints import Arrays
from fedrec.checkpoints.tensors import by_group
from fedrec.training.cohort import CohortUpdate
from fedrec.training.node import Node
from fedrec.training.touched import TABLE
from fedrec.transport import CODECS, Codec, Remainder, Rows, decode_parts, encode_parts, shapes_of

_REMAINDER, _ABOUT = "remainder", "remainder-about"
_ROWS, _VALUES = "/rows", "/values"  # no parameter has a slash in its name


def update_record(update: CohortUpdate, node: Node, context: Context, stage: str) -> ArrayRecord:
    """The update as the configuration wants it to travel.

    What an encoding loses stays in the node's state and goes with the next update of the stage.
    What users weigh by row is never encoded: it is a number a row.
    """
    record = _numbers(update, node, context, stage)
    if update.row_weights is not None:
        if node.config.federation.sparse_rows:
            weights = update.row_weights[update.rows > 0]
        else:
            weights = update.dense_row_weights(node.data.warm_items)
        record[wire.ROW_WEIGHTS] = Array(weights.cpu().numpy().astype(np.float32))
    return record


def _numbers(update: CohortUpdate, node: Node, context: Context, stage: str) -> ArrayRecord:
    federation = node.config.federation
    by_rows = federation.sparse_rows and TABLE in update.update_sum
    sums = update.update_sum if by_rows else update.dense(node.data.warm_items)
    arrays = {name: total.cpu().numpy() for name, total in sums.items()}
    if federation.transport == "float32" and not federation.sparse_rows:
        return _record(arrays)
    rows = update.rows.cpu().numpy().astype(np.int32) if by_rows else None
    if rows is not None and len(rows) and rows[0] == 0:  # the padding is no item
        rows, arrays[TABLE] = rows[1:], arrays[TABLE][1:]
    codec = CODECS[federation.transport]
    if codec.lossless:
        return _record(_with_rows(encode_parts(by_group(arrays), codec), rows))
    return _compensated(arrays, rows, codec, context, stage)


def _compensated(
    arrays: Arrays, rows: Rows | None, codec: Codec, context: Context, stage: str
) -> ArrayRecord:
    """Encoded together with what was lost before; what is lost now is kept."""
    remainder = _load(context, stage)
    whole = remainder.added_to(arrays)
    if rows is not None:
        whole[TABLE] = remainder.added_to_rows(rows, arrays[TABLE])
    parts = by_group(whole)
    payload = encode_parts(parts, codec)
    arrived = decode_parts(payload, shapes_of(parts), codec)
    if rows is not None:
        remainder.keep_rows(rows, whole.pop(TABLE), arrived[TABLE])
    remainder.keep(whole, arrived)
    _save(remainder, context, stage)
    return _record(_with_rows(payload, rows))


def _with_rows(payload: Mapping[str, NDArray[Any]], rows: Rows | None) -> dict[str, NDArray[Any]]:
    return {**payload} if rows is None else {**payload, wire.ROWS: rows}


def _record(arrays: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


def _load(context: Context, stage: str) -> Remainder:
    """What was lost in this stage; nothing of another one."""
    about = context.state.config_records.get(_ABOUT, ConfigRecord())
    if about.get(wire.STAGE) != stage:
        return Remainder()
    record = context.state.array_records[_REMAINDER]
    arrays: dict[str, Any] = {name: array.numpy() for name, array in record.items()}
    return Remainder(rows=arrays.pop(_ROWS), values=arrays.pop(_VALUES), arrays=arrays)


def _save(remainder: Remainder, context: Context, stage: str) -> None:
    of_table = {_ROWS: remainder.rows, _VALUES: remainder.values}
    context.state[_REMAINDER] = _record({**remainder.arrays, **of_table})
    context.state[_ABOUT] = ConfigRecord({wire.STAGE: stage})
