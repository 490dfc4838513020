"""Features that were computed elsewhere, brought into a prepared folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrays import (
    IMPORTED,
    KEY_COLUMNS,
    MOVIELENS_COLUMN,
    described,
    open_array,
    read_index,
)
from fedrec.data.checksum import digest_file
from fedrec.data.features import modalities, read_feature_manifest, write_features
from fedrec.data.folder import FEATURES, read_manifest
from fedrec.data.import_report import ImportReport, Named, recorded
from fedrec.data.joining import KeyedFeatures, keyed_features
from fedrec.data.prepared import PreparedData
from fedrec.errors import ConfigError, DataError

EXPERT_FILES = {"visual": "image", "semantic": "text"}  # an expert's name stands for its file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PADDING = ""  # the key of a row of padding: no item has it
_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joined:
    """Rows of the items 0, 1, ...: values float32 [items + 1, dim], of length 1 or 0; row: int64
    [items + 1], where each came from, -1 none; finite, nonzero: bool [items + 1]."""

    values: NDArray[np.float32]
    row: NDArray[np.int64]
    finite: NDArray[np.bool_]
    nonzero: NDArray[np.bool_]

    @property
    def present(self) -> NDArray[np.bool_]:
        return (self.row >= 0) & self.finite & self.nonzero


def import_features(
    folder: Path, name: str, values: Path, index: Path | None = None
) -> ImportReport:
    """Bring the rows of the .npy file `values` [rows, dim] to the items of a prepared folder.

    name: visual or semantic, which are the files image and text, or a name for a file of its own.
    index: a CSV file with the columns row and item (the publisher's key, as in items.parquet);
    without one the rows are those of items 1, 2, ..., with or without a row of zeros before them.
    What FILE.json beside FILE.npy says (encoder, weights_sha256, preprocessing) is kept. The same
    import again changes nothing.
    Raises ConfigError for a name that cannot be; DataError for files that do not fit, and where
    the name is taken by features that did not come from these files.
    """
    name = feature_file(name)
    data = PreparedData.load(folder)
    keys = data.item_keys()[1:]
    # ml-100k numbers its films itself: a movieId would match another film.
    columns = KEY_COLUMNS if data.name == "ml-100k" else (*KEY_COLUMNS, MOVIELENS_COLUMN)
    keyed = _open(name, values, index, keys, columns)
    before = _imported_before(folder, name, keyed.files)
    if before is not None:
        return before
    joined = _join(keyed, keys)
    if (joined.row < 0).all():
        raise keyed.stranger(keys)
    report = _report(keyed, joined, keys, file=values.name, index=index)
    if not report.present:
        raise DataError(f"{values}: no item gets features; {'; '.join(report.troubles())}")
    origin = {"files": dict(keyed.files), "report": report.record()}
    manifest = {**keyed.manifest, "imported": origin}
    write_features(folder, name, joined.values, joined.present, manifest)
    return report


def feature_file(name: str) -> str:
    """The file that a modality's name stands for: image for visual, text for semantic.

    Raises ConfigError for a name of anything but letters, digits, - and _.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"features cannot be called {name!r}; allowed: letters, digits, - and _, up to 64, a "
            "letter or a digit first"
        )
    return EXPERT_FILES.get(name, name)


def _open(
    name: str, values: Path, index: Path | None, keys: list[str], columns: tuple[str, ...]
) -> KeyedFeatures:
    array = open_array(values)
    if index is not None:
        row_keys = read_index(index, len(array), columns)
    else:
        row_keys = _in_order(values, array, keys)
    beside = values.with_suffix(".json")
    files = [values, *([index] if index else []), *([beside] if beside.is_file() else [])]
    manifest = described(values, {"encoder": IMPORTED})
    return keyed_features(name, array, row_keys, manifest, tuple(files))


def _in_order(path: Path, array: NDArray[Any], keys: list[str]) -> list[str]:
    """The keys of the rows of an array that has no index."""
    if len(array) == len(keys):
        return keys
    if len(array) != len(keys) + 1:
        raise DataError(
            f"{path}: {len(array)} rows for {len(keys)} items; without an index expected "
            f"{len(keys)} (items 1 to {len(keys)} in order) or one more (row 0 is padding)"
        )
    if array[0].any():
        raise DataError(
            f"{path}: {len(array)} rows for {len(keys)} items, so row 0 should be padding, but it "
            "is not all zeros; name an index that says which item each row is of"
        )
    return [_PADDING, *keys]


def _imported_before(folder: Path, name: str, files: Mapping[str, str]) -> ImportReport | None:
    """The report of the same import where it is all there; None where it is to be written.

    Raises DataError where the name is taken by other features.
    """
    names = [f"{FEATURES}/{name}.safetensors", f"{FEATURES}/{name}.json"]
    known = read_manifest(folder)["files"]
    if name not in modalities(folder):
        if names[1] in known:
            raise DataError(f"{folder / names[1]}: the file is missing; prepare the data again")
        return None
    manifest = read_feature_manifest(folder, name)
    origin = manifest.get("imported")
    if not isinstance(origin, Mapping) or origin.get("files") != files:
        raise _taken(folder, name, manifest)
    # what a killed import left behind is written again
    whole = all(
        (folder / path).is_file() and digest_file(folder / path) == known.get(path)
        for path in names
    )
    try:
        return recorded(origin["report"]) if whole else None
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / names[1]}: imported has no sound report ({error})") from error


def _taken(folder: Path, name: str, manifest: Mapping[str, Any]) -> DataError:
    imported = manifest.get("imported")
    files = ", ".join(imported.get("files", ())) if isinstance(imported, Mapping) else ""
    held = f"{files} as it was when it was imported" if files else manifest.get("encoder")
    taken = modalities(folder)
    other = next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
    expert = next((expert for expert, file in EXPERT_FILES.items() if file == name), "further")
    return DataError(
        f"{folder / FEATURES / name}.safetensors holds features of another origin ({held}), which "
        f"are not overwritten; import under another name, --import {other}=FILE.npy, and train "
        f"with model.{expert}={other}"
    )


def _join(keyed: KeyedFeatures, keys: list[str]) -> _Joined:
    """The features of the items, block by block, so that the array is never whole in memory."""
    row = keyed.rows(keys)
    dim = keyed.values.shape[1]
    joined = _Joined(
        values=np.zeros((len(row), dim), dtype=np.float32),
        row=row,
        finite=np.ones(len(row), dtype=np.bool_),
        nonzero=np.ones(len(row), dtype=np.bool_),
    )
    items = np.flatnonzero(row >= 0)
    step = max(1, _BLOCK_BYTES // (8 * dim))
    for part in (items[start : start + step] for start in range(0, len(items), step)):
        block = keyed.values[row[part]].astype(np.float64)  # [step, dim]
        joined.finite[part] = np.isfinite(block).all(axis=1)
        block[~joined.finite[part]] = 0
        largest = np.abs(block).max(axis=1, keepdims=True)
        joined.nonzero[part] = largest[:, 0] > 0
        block /= np.where(largest > 0, largest, 1)  # or squares overflow
        length = np.linalg.norm(block, axis=1, keepdims=True)
        joined.values[part] = block / np.where(length > 0, length, 1)
    return joined


def _report(
    keyed: KeyedFeatures, joined: _Joined, keys: list[str], *, file: str, index: Path | None
) -> ImportReport:
    row_keys = list(keyed.row_of)
    unmatched = np.ones(len(row_keys), dtype=np.bool_)
    unmatched[joined.row[joined.row >= 0]] = False
    padded = row_keys[0] == _PADDING
    unmatched[0] &= not padded
    in_order = "row 0 is padding, the others are items" if padded else "rows are items"

    def row_of_item(item: int) -> str:
        return f"row {joined.row[item]} of item {keys[item - 1]!r}"

    missing = joined.row < 0
    missing[0] = False
    rows, dim = keyed.values.shape
    return ImportReport(
        name=keyed.modality,
        file=file,
        rows=rows,
        dim=dim,
        keyed_by=f"keyed by {index.name}" if index else f"{in_order} 1 to {len(keys)} in order",
        items=len(keys),
        present=int(joined.present.sum()),
        unmatched=Named.of(unmatched, lambda row: f"row {row} of {row_keys[row]!r}"),
        missing=Named.of(missing, lambda item: repr(keys[item - 1])),
        not_finite=Named.of(~joined.finite, row_of_item),
        zero=Named.of(joined.finite & ~joined.nonzero, row_of_item),
    )
