"""`fedrec prepare add-items`: a prepared folder with further items that nobody has trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedrec.data.arrays import IMPORTED
from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import copy_file
from fedrec.data.catalogue import Catalogue, items_table
from fedrec.data.checksum import digest_file
from fedrec.data.derived import Content, derive
from fedrec.data.features import FeatureTable, map_tensors, normalised, write_rows
from fedrec.data.folder import FEATURES, ITEMS
from fedrec.data.joining import KeyedFeatures, find_features
from fedrec.data.origin import feature_files
from fedrec.data.prepared import PreparedData
from fedrec.data.table import read_items
from fedrec.data.writing import write_table
from fedrec.errors import DataError

ADD_ITEMS = "add-items"


def add_items(
    source: Path,
    out: Path,
    items: Path,
    *,
    item_column: str = "item",
    features: Path | None = None,
    force: bool = False,
) -> bool:
    """Write `out`: the folder `source`, with the items of a file after its own. False: it is there.

    items: a file that describes items, `item_column` with their keys. features: a folder of keyed
    feature files, see `find_features`; what a new item has no row in is masked until
    `fedrec extract` makes it. All else is as it was, so a model that was trained on `source` can be
    used with `out`. Raises DataError.
    """
    added = read_items(items, item_column)
    keyed = {} if features is None else find_features(features)
    settings = {"dataset": ADD_ITEMS, "item_column": item_column}
    files = {items.name: digest_file(items), **feature_files(keyed)}
    if not added:
        raise DataError(f"{items}: describes no item")
    return derive(
        source,
        out,
        settings,
        lambda data, folder: _write(data, folder, added, keyed),
        files=files,
        force=force,
    )


def _write(
    data: PreparedData, folder: Path, added: Catalogue, keyed: Mapping[str, KeyedFeatures]
) -> Content:
    _check(data, added, keyed)
    keys = list(added)
    for name in data.manifest["files"]:
        copied = folder / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        copy_file(data.path / name, copied)
    table = pq.read_table(data.path / ITEMS)
    new = items_table(keys, added, first=data.num_items + 1)
    write_table(folder / ITEMS, pa.concat_tables([table, new], promote_options="default"))
    for features in data.features.values():
        _append_rows(data, folder, features, keys, keyed.get(features.name))
    return {
        "counts": {**data.manifest["counts"], "items": data.num_items + len(keys)},
        "warm_items": data.warm_items,
    }


def _check(data: PreparedData, added: Catalogue, keyed: Mapping[str, KeyedFeatures]) -> None:
    known = set(data.item_keys()[1:])
    if twice := next((key for key in added if key in known), None):
        raise DataError(f"item {twice!r} is in {data.path} already; name only new items")
    for new in keyed.values():
        _check_features(data, added, new)


def _check_features(data: PreparedData, added: Catalogue, new: KeyedFeatures) -> None:
    name = new.modality
    if name not in data.features:
        raise DataError(
            f"new items have {name} features, {data.path} has {', '.join(data.features)}; "
            "a model knows only what all its items may have"
        )
    held = data.features[name]
    if new.values.shape[1] != held.dim:
        raise DataError(
            f"new {name} features have {new.values.shape[1]} dimensions, those of {data.path} "
            f"have {held.dim}"
        )
    encoder, theirs = new.manifest.get("encoder"), held.manifest.get("encoder")
    if encoder != theirs and not {encoder, theirs} & {None, IMPORTED}:
        raise DataError(
            f"new {name} features are of encoder {encoder!r}, those of {data.path} of {theirs!r}: "
            "the two cannot be compared"
        )
    if (new.rows(added) < 0).all():
        raise new.stranger(list(added))


def _append_rows(
    data: PreparedData,
    folder: Path,
    table: FeatureTable,
    keys: list[str],
    keyed: KeyedFeatures | None,
) -> None:
    """The rows as they are, and those of the new items after them."""
    path = data.path / FEATURES / f"{table.name}.safetensors"
    tensors = {name: np.asarray(held) for name, held in map_tensors(path).items()}
    rows, _ = tensors.pop("features"), tensors.pop("present")
    values = np.zeros((len(keys) + 1, table.dim), dtype=np.float32)
    present = np.zeros(len(keys) + 1, dtype=np.bool_)
    if keyed is not None:
        joined, present = keyed.join(keys)
        values = joined.astype(np.float32)
    new, shown = normalised(table.name, values, present)
    extra = {
        name: np.concatenate([held, np.zeros((len(keys), *held.shape[1:]), held.dtype)])
        for name, held in tensors.items()
    }
    write_rows(
        folder,
        table.name,
        np.concatenate([rows, new[1:]]),
        np.concatenate([table.present, shown[1:]]),
        {**table.manifest, "items_added": len(keys)},
        extra,
    )
