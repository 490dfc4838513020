"""`fedrec prepare cold`: a prepared folder in which some items never appear in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import copy_file
from fedrec.data.cold import ColdHistories, draw_cold_items, hold_out_cold
from fedrec.data.derived import Content, derive
from fedrec.data.features import FeatureTable, map_tensors, write_rows
from fedrec.data.folder import FEATURES, INTERACTIONS, ITEMS, USERS
from fedrec.data.histories import Histories, write_histories
from fedrec.data.prepared import PreparedData
from fedrec.data.split import SplitRule, describe_split, given_labels
from fedrec.data.writing import write_split, write_table
from fedrec.errors import DataError

COLD = "cold"


def prepare_cold(
    source: Path, out: Path, *, share: float = 0.1, seed: int = 0, force: bool = False
) -> bool:
    """Write `out`: the items of `source`, a share of them cold and numbered last, and a given
    split that asks for these; see `fedrec.data.cold`. False: it is there already.

    The users are the same, in the same order. Raises DataError.
    """
    if not 0 < share < 1:
        raise DataError(f"--share {share:g}: expected a share of the items, between 0 and 1")
    settings = {"dataset": COLD, "share": share, "seed": seed}
    return derive(
        source,
        out,
        settings,
        lambda data, folder: _write(data, folder, share=share, seed=seed),
        force=force,
    )


def _write(data: PreparedData, folder: Path, *, share: float, seed: int) -> Content:
    if data.warm_items < data.num_items:
        raise DataError(f"{data.path} has items that nobody trains on already")
    counts = np.bincount(data.items, minlength=data.num_items + 1)
    cold = draw_cold_items(counts, share=share, seed=seed)
    numbers = np.argsort(cold, kind="stable")  # [items + 1], the source's number of every item
    histories = hold_out_cold(data.offsets, data.items, cold)
    _write_items(data, folder, numbers)
    for table in data.features.values():
        _write_features(data, folder, table, numbers)
    new_number = np.argsort(numbers).astype(np.int32)
    items = new_number[data.items[histories.kept]]
    _write_interactions(data, folder, histories, items, counts={COLD: int(cold.sum())})
    copy_file(data.path / USERS, folder / USERS)
    return {
        "counts": {"users": data.num_users, "items": data.num_items, "interactions": len(items)},
        "warm_items": data.num_items - int(cold.sum()),
        "notes": [*data.manifest.get("notes", ()), *_notes(data, histories)],
    }


def _write_items(data: PreparedData, folder: Path, numbers: NDArray[np.int64]) -> None:
    table = pq.read_table(data.path / ITEMS).take(pa.array(numbers[1:] - 1))
    place = table.schema.get_field_index("item")
    renumbered = pa.array(np.arange(1, data.num_items + 1, dtype=np.int32))
    write_table(folder / ITEMS, table.set_column(place, "item", renumbered))


def _write_features(
    data: PreparedData, folder: Path, table: FeatureTable, numbers: NDArray[np.int64]
) -> None:
    path = data.path / FEATURES / f"{table.name}.safetensors"
    tensors = {name: np.asarray(held)[numbers] for name, held in map_tensors(path).items()}
    rows, present = tensors.pop("features"), tensors.pop("present") != 0
    write_rows(folder, table.name, rows, present, table.manifest, tensors)


def _write_interactions(
    data: PreparedData,
    folder: Path,
    histories: ColdHistories,
    items: NDArray[np.int32],
    counts: dict[str, int],
) -> None:
    held_out = given_labels(histories.offsets, histories.labels)
    users = np.repeat(np.arange(data.num_users, dtype=np.int32), np.diff(histories.offsets))
    columns: dict[str, Any] = {
        "user": users,
        "item": items,
        "timestamp": data.timestamps[histories.kept],
        "label": histories.labels,
    }
    write_table(folder / INTERACTIONS, pa.table(columns))
    write_histories(folder, Histories(histories.offsets, items, held_out))
    described = describe_split(SplitRule(rule="given"), held_out)
    write_split(folder, {**described, "test_targets": COLD, "items": counts})


def _notes(data: PreparedData, histories: ColdHistories) -> list[str]:
    dropped = len(data.items) - len(histories.kept)
    return [
        f"{dropped:,} of {len(data.items):,} interactions are left out: those after a user's "
        "target, and the cold ones of users without a target"
    ]
