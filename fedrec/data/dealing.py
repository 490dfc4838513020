"""Which users of a prepared folder go to which node: dealt by work, or by what a column says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.data.archive import Source
from fedrec.data.arrow import pq
from fedrec.data.folder import USERS
from fedrec.data.part import NUMBER
from fedrec.data.partition import cut_users, take_partition
from fedrec.data.prepared import PreparedData
from fedrec.data.table import records
from fedrec.errors import DataError

BY_USERS = "users"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Hand:
    """One node's users: int64 [users of the node], ascending; value: what the column says of them,
    "" where they were dealt by work."""

    users: NDArray[np.int64]
    value: str = ""


def deal_by_work(data: PreparedData, nodes: int) -> list[Hand]:
    """As many neighbouring users a node as have its share of the training interactions.

    The same nodes in the same order as in a simulation with `nodes` nodes. Raises DataError unless
    every node gets a user.
    """
    if not 1 <= nodes <= data.num_users:
        raise DataError(f"{nodes} nodes: {data.path} has {data.num_users} users to deal to them")
    cuts = cut_users(data.train_end, nodes)
    parts = [take_partition(cuts, index) for index in range(nodes)]
    return [Hand(np.arange(part.start, part.stop, dtype=np.int64)) for part in parts]


def deal_by_column(
    data: PreparedData, column: str, *, users: Path | None, nodes: int | None
) -> list[Hand]:
    """One node for every value of the column, in the order of the values as text.

    users: a file with the columns `user` (the publisher's ids) and `column`, .csv, .tsv or
    .parquet; None = the column is in the folder's users.parquet.
    Raises DataError for users without a value or with two, and where `nodes` is another number.
    """
    told = _of_folder(data, column) if users is None else _of_file(users, column)
    values = np.array(_by_user(data, told, column))
    hands = [Hand(np.flatnonzero(values == value), str(value)) for value in np.unique(values)]
    if nodes is not None and nodes != len(hands):
        shown = ", ".join(hand.value for hand in hands[:_SHOWN])
        more = f" and {len(hands) - _SHOWN} more" if len(hands) > _SHOWN else ""
        raise DataError(
            f"{column} has {len(hands)} values ({shown}{more}) and makes as many nodes, not {nodes}"
        )
    return hands


def _of_folder(data: PreparedData, column: str) -> dict[str, str | None]:
    path = data.path / USERS
    table = pq.read_table(path)
    if column not in table.column_names or column in ("user", "key", NUMBER):
        raise DataError(
            f"{path}: no column {column!r} to deal users by; name a file with the columns user and "
            f"{column} with --users"
        )
    values = [None if value is None else str(value) for value in table[column].to_pylist()]
    return dict(zip(data.user_keys(), values, strict=True))


def _of_file(path: Path, column: str) -> dict[str, str | None]:
    source = Source(path)
    if source.chosen is None:
        raise DataError(f"{path}: give the file of users itself, .csv or .parquet")
    told: dict[str, str | None] = {}
    for row in records(source, source.chosen, "user"):
        if column not in row:
            raise DataError(f"{path}: no column {column!r}; columns: {', '.join(row)}")
        key = row["user"] or ""
        if told.setdefault(key, row[column]) != row[column]:
            raise DataError(
                f"{path}: user {key!r} is in {column} {told[key]!r} and in {row[column]!r}; "
                "expected one"
            )
    return told


def _by_user(data: PreparedData, told: Mapping[str, str | None], column: str) -> Sequence[str]:
    """The value of every user of the folder, in its order."""
    keys = data.user_keys()
    without = [key for key in keys if not told.get(key)]
    if without:
        raise DataError(
            f"{len(without)} of {len(keys)} users have no {column}, the first {without[0]!r}; "
            "every user belongs to one node"
        )
    return [told[key] or "" for key in keys]
