"""`fedrec partition`: a prepared folder cut into one folder a node, with its own users only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import new_folder, write_json
from fedrec.data.checksum import digest_file
from fedrec.data.dealing import BY_USERS, Hand, deal_by_column, deal_by_work
from fedrec.data.folder import (
    FEATURES,
    INTERACTIONS,
    ITEMS,
    MANIFEST,
    SPLIT,
    USERS,
    digests,
    read_json,
)
from fedrec.data.histories import Histories, write_histories
from fedrec.data.part import NUMBER, PART, Part
from fedrec.data.prepared import PreparedData
from fedrec.data.sealed import write_sealed
from fedrec.data.split import LABELS, HeldOut
from fedrec.data.writing import write_split, write_table
from fedrec.errors import DataError

PARTITION = "partition.json"
SERVER = "server"
_FOLDER_MODE = 0o700
_OF_THE_WHOLE = ("interactions_of_source", "reordered_users", "sha256")
"""What split.json may say of all users, which is no node's business."""


def partition_folder(
    source: Path,
    out: Path,
    *,
    nodes: int | None = None,
    by: str = BY_USERS,
    users: Path | None = None,
    force: bool = False,
) -> list[dict[str, Any]]:
    """Write `out` with node-1 to node-N, each a prepared folder of its own users and all items,
    and server, which has all items and nobody; whole or not at all.

    by: "users" deals them to `nodes` nodes by work, see `deal_by_work`; anything else is a column,
    see `deal_by_column`. Every folder may be entered by its owner alone. force: replace an `out`
    that this function wrote.
    Returns a record a node: folder, users, interactions, and value where there is a column.
    Raises DataError for a source that is damaged or a part itself, and for an `out` in the way.
    """
    _check_out(source, out, force=force)
    data = PreparedData.load(source, verify=True)
    if data.part is not None:
        raise DataError(f"{source} is part {data.part.index} of {data.part.count} already")
    hands = _deal(data, nodes=nodes, by=by, users=users)
    with new_folder(out, replace=force) as folder:
        folder.chmod(_FOLDER_MODE)
        _write_part(data, folder / SERVER, Hand(np.zeros(0, np.int64)), -1, len(hands))
        written = [
            _write_part(data, folder / f"node-{index + 1}", hand, index, len(hands))
            for index, hand in enumerate(hands)
        ]
        described = {"of": data.name, "by": by, "manifest": digest_file(source / MANIFEST)}
        write_json(folder / PARTITION, {**described, "nodes": written})
    return written


def _deal(data: PreparedData, *, nodes: int | None, by: str, users: Path | None) -> list[Hand]:
    if by != BY_USERS:
        return deal_by_column(data, by, users=users, nodes=nodes)
    if users is not None:
        raise DataError(f"{users}: a file of users needs the column to deal by, --by COLUMN")
    if nodes is None:
        raise DataError("how many nodes? users are dealt by work to --nodes N")
    return deal_by_work(data, nodes)


def _check_out(source: Path, out: Path, *, force: bool) -> None:
    inside = out.resolve() == source.resolve() or source.resolve() in out.resolve().parents
    if inside or out.resolve() in source.resolve().parents:
        raise DataError(f"{out} and {source} lie in each other; choose another OUT")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / PARTITION).is_file():
        raise DataError(f"{out} exists and is not a partition; choose another OUT")
    if not force:
        raise DataError(f"{out} holds a partition; --force replaces it, or choose another OUT")


def _write_part(
    data: PreparedData, folder: Path, hand: Hand, index: int, count: int
) -> dict[str, Any]:
    folder.mkdir(mode=_FOLDER_MODE)
    _copy_items(data, folder)
    part = Part(index=index, count=count, whole_users=data.num_users, numbers=hand.users)
    rows = _rows(data.offsets, hand.users)
    _write_users(data, folder, hand.users)
    labels = _write_interactions(data, folder, hand.users, rows)
    histories = _histories(data, hand.users, rows)
    write_histories(folder, histories)
    write_split(folder, _split(data, histories.held_out, labels))
    counts = {"users": len(hand.users), "items": data.num_items, "interactions": len(rows)}
    write_sealed(folder / MANIFEST, _manifest(data, folder, counts, part))
    value = {"value": hand.value} if hand.value else {}
    return {
        "folder": folder.name,
        **value,
        **{key: counts[key] for key in ("users", "interactions")},
    }


def _copy_items(data: PreparedData, folder: Path) -> None:
    """The catalogue and its features, byte for byte."""
    for name in data.manifest["files"]:
        if name == ITEMS or name.startswith(f"{FEATURES}/"):
            copied = folder / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data.path / name, copied)


def _write_users(data: PreparedData, folder: Path, users: NDArray[np.int64]) -> None:
    """The rows of these users, numbered anew from 0, with their numbers in the whole."""
    table = pq.read_table(data.path / USERS).take(pa.array(users))
    table = _with(table, "user", np.arange(len(users), dtype=np.int32))
    write_table(folder / USERS, table.append_column(NUMBER, pa.array(users)))


def _write_interactions(
    data: PreparedData, folder: Path, users: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.uint8] | None:
    """The rows of these users; returns the labels of a given split: uint8 [rows], else None."""
    table = pq.read_table(data.path / INTERACTIONS).take(pa.array(rows))
    own = np.repeat(np.arange(len(users), dtype=np.int32), np.diff(data.offsets)[users])
    write_table(folder / INTERACTIONS, _with(table, "user", own))
    return table["label"].to_numpy() if "label" in table.column_names else None


def _histories(data: PreparedData, users: NDArray[np.int64], rows: NDArray[np.int64]) -> Histories:
    lengths = np.diff(data.offsets)[users]
    held_out = HeldOut(
        train_end=np.asarray(data.train_end[users]),
        validation=np.asarray(data.validation_position[users]),
        test=np.asarray(data.test_position[users]),
    )
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Histories(offsets, np.asarray(data.items[rows]), held_out)


def _split(
    data: PreparedData, held_out: HeldOut, labels: NDArray[np.uint8] | None
) -> Mapping[str, Any]:
    """split.json of the part: the rule of the whole, the counts of these users."""
    whole = read_json(data.path / SPLIT)
    described = {key: value for key, value in whole.items() if key not in _OF_THE_WHOLE}
    described["users"] = len(held_out.train_end)
    described["validation_users"] = int((held_out.validation >= 0).sum())
    described["test_users"] = int((held_out.test >= 0).sum())
    if labels is not None and "interactions" in described:
        counts = np.bincount(labels, minlength=len(LABELS)).tolist()
        described["interactions"] = dict(zip(LABELS, counts, strict=True))
    return described


def _manifest(
    data: PreparedData, folder: Path, counts: Mapping[str, int], part: Part
) -> Mapping[str, Any]:
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    kept = {key: value for key, value in data.manifest.items() if key != "notes"}
    return {**kept, "counts": counts, PART: part.record(), "files": digests(folder, files)}


def _rows(offsets: NDArray[np.int64], users: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the users' interactions, user after user: int64 [their interactions]."""
    lengths = offsets[users + 1] - offsets[users]
    before = np.cumsum(lengths) - lengths
    rows: NDArray[np.int64] = np.repeat(offsets[users] - before, lengths)
    return rows + np.arange(len(rows))


def _with(table: Any, column: str, values: NDArray[Any]) -> Any:
    return table.set_column(table.schema.get_field_index(column), column, pa.array(values))
