"""A control for features: the same items, the same interactions, everybody else's content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from fedrec.data import PreparedData, write_features
from fedrec.data.atomic import new_folder
from fedrec.data.features import read_feature_manifest


def shuffled_copy(folder: Path, out: Path, *, seed: int) -> Path:
    """Copy a prepared folder to `out`, every item with all the features of another one.

    All modalities and their masks are exchanged alike, so that what holds within an item still
    does. Nothing is done where `out` is there. Raises DataError for a folder that is not prepared.
    """
    if out.exists():
        return out
    data = PreparedData.load(folder)
    order = np.random.default_rng([seed, data.num_items]).permutation(data.num_items) + 1
    rows = np.concatenate([[0], order])  # the padding stays
    with new_folder(out) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        for name, table in data.features.items():
            about = {**read_feature_manifest(folder, name), "shuffled_by_seed": seed}
            write_features(partial, name, table.values[rows], table.present[rows], about)
    return out
