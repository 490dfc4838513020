"""Prepared folders of any size, written from arrays: for how cost grows, not for how well it ranks.

Histories are 5 items and some more, 20 on average; items are drawn by Zipf's law, with exponent 1,
their numbers in no order of popularity. There are no features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa
from fedrec.data.folder import (
    FORMAT,
    HISTORIES,
    INTERACTIONS,
    ITEMS,
    MANIFEST,
    SPLIT,
    USERS,
    digests,
)
from fedrec.data.histories import Histories, write_histories
from fedrec.data.sealed import write_sealed
from fedrec.data.split import SplitRule, describe_split, leave_one_out
from fedrec.data.writing import write_split, write_table

SHORTEST, MEAN = 5, 20


def write_synthetic(folder: Path, *, users: int, items: int, seed: int = 0) -> Path:
    """Write the prepared folder of so many users and items, and return it."""
    folder.mkdir(parents=True)
    histories = draw_histories(users, items, np.random.default_rng(seed))
    write_histories(folder, histories)
    lengths = np.diff(histories.offsets)
    interactions = {
        "user": np.repeat(np.arange(users, dtype=np.int32), lengths),
        "item": histories.items,
        "timestamp": np.arange(len(histories.items)),
    }
    write_table(folder / INTERACTIONS, pa.table(interactions))
    write_table(
        folder / USERS, pa.table({"user": np.arange(users, dtype=np.int32), **_keys(users)})
    )
    write_table(folder / ITEMS, _items_table(items))
    write_split(folder, describe_split(SplitRule(rule="leave-one-out"), histories.held_out))
    counts = {"users": users, "items": items, "interactions": len(histories.items)}
    manifest = {
        "format": FORMAT,
        "name": folder.name,
        "counts": counts,
        "settings": {},
        "source": {"kind": "synthetic", "seed": seed},
        "files": digests(folder, [HISTORIES, INTERACTIONS, ITEMS, SPLIT, USERS]),
    }
    write_sealed(folder / MANIFEST, manifest)
    return folder


def draw_histories(users: int, items: int, generator: np.random.Generator) -> Histories:
    """Histories of random length, and the last two items of each held out."""
    lengths = SHORTEST + generator.poisson(MEAN - SHORTEST, size=users)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    drawn = zipf(generator.random(offsets[-1], dtype=np.float32), items)
    numbers = 1 + generator.permutation(items).astype(np.int32)
    return Histories(offsets, numbers[drawn], leave_one_out(lengths))


def zipf(uniform: NDArray[np.float32], items: int) -> NDArray[np.int32]:
    """Ranks int32 [draws] from 0, rank k as often as log((k + 2) / (k + 1)), about 1 / (k + 1)."""
    ranks: NDArray[np.int32] = np.exp(uniform * np.float32(np.log(items + 1))).astype(np.int32)
    return np.minimum(ranks - 1, items - 1)


def _keys(count: int) -> dict[str, pa.Array]:
    return {"key": pa.array(np.arange(count)).cast(pa.string())}


def _items_table(items: int) -> pa.Table:
    nothing = pa.repeat(pa.scalar(""), items)
    about = {"title": nothing, "text": nothing, "genres": nothing}
    image = pa.nulls(items, pa.string())
    numbers = np.arange(1, items + 1, dtype=np.int32)
    return pa.table({"item": numbers, **_keys(items), **about, "image": image})
