"""Feature files that are keyed by an item's id, joined to the numbered items of a catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrays import described, open_array, read_index
from fedrec.data.checksum import digest_file
from fedrec.data.features import map_tensors
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayFile:
    """A .npy file [rows, dim] and the CSV file that gives each row its key (columns: row, key)."""

    values: str
    index: str
    manifest: Mapping[str, Any]


KNOWN_ARRAYS: dict[str, tuple[ArrayFile, ...]] = {
    "text": (
        ArrayFile(values="text.npy", index="text_index.csv", manifest={}),
        ArrayFile(
            values="sbert_minilm_l6_v2_f16.npy",
            index="sbert_index.csv",
            manifest={
                "encoder": "sentence-transformers/all-MiniLM-L6-v2",
                "encoder_licence": "Apache-2.0",
                "preprocessing": "title, genres, plot and tags, where present; L2",
            },
        ),
    ),
    "image": (
        ArrayFile(values="image.npy", index="image_index.csv", manifest={}),
        ArrayFile(
            values="poster_efficientnet_lite0_pca256_f16.npy",
            index="poster_index.csv",
            manifest={
                "encoder": "EfficientNet-Lite0, ImageNet weights (not CLIP)",
                "encoder_licence": "Apache-2.0",
                "preprocessing": "poster; pooled 1280 features; centred; first 256 principal axes "
                "of the posters; L2",
            },
        ),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedFeatures:
    """Features of one modality by key. values: float [rows, dim]; row_of: key -> row."""

    modality: str
    values: NDArray[Any]
    row_of: Mapping[str, int]
    manifest: Mapping[str, Any]
    files: Mapping[str, str]

    def join(
        self, keys: Iterable[str | None]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
        """Rows for items 1, 2, ... of these keys: float [items + 1, dim], bool [items + 1]."""
        rows = self.rows(keys)
        present = rows >= 0
        values = np.zeros((len(rows), self.values.shape[1]), dtype=self.values.dtype)
        values[present] = self.values[rows[present]]
        return values, present

    def rows(self, keys: Iterable[str | None]) -> NDArray[np.int64]:
        """Rows of items 1, 2, ... of these keys: int64 [items + 1]; -1 for 0 and for none."""
        found = (-1 if key is None else self.row_of.get(key, -1) for key in keys)
        return np.array([-1, *found], dtype=np.int64)

    def stranger(self, keys: Sequence[str | None]) -> DataError:
        """The error for features that know none of these items."""
        return DataError(
            f"the {self.modality} features know none of the {len(keys)} items; their keys are "
            f"like {next(iter(self.row_of), None)!r}, the items' like {keys[0]!r}"
        )


def holds_features(folder: Path) -> bool:
    """Whether `find_features` would find any."""
    arrays = (form.values for forms in KNOWN_ARRAYS.values() for form in forms)
    return any(folder.glob("*.safetensors")) or any((folder / name).is_file() for name in arrays)


def find_features(folder: Path) -> dict[str, KeyedFeatures]:
    """Every modality in `folder`: NAME.safetensors with tensors `features` [rows, dim] and `ids`
    int64 [rows], described in NAME.json; else the array files of `KNOWN_ARRAYS`.

    Raises DataError for a folder that is missing or holds none, and for files that do not fit.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of features")
    found = {path.stem: _open_tensors(path) for path in sorted(folder.glob("*.safetensors"))}
    for modality, forms in KNOWN_ARRAYS.items():
        form = next((form for form in forms if (folder / form.values).is_file()), None)
        if form is not None and modality not in found:
            found[modality] = _open_arrays(folder, modality, form)
    if not holds_features(folder):
        arrays = [form.values for forms in KNOWN_ARRAYS.values() for form in forms]
        raise DataError(f"{folder}: no features in it; expected *.safetensors, {', '.join(arrays)}")
    return found


def _open_tensors(path: Path) -> KeyedFeatures:
    tensors = map_tensors(path)
    if not {"features", "ids"} <= tensors.keys():
        raise DataError(f"{path}: holds {sorted(tensors)}, expected features and ids")
    keys = [str(key) for key in tensors["ids"].tolist()]
    return keyed_features(path.stem, tensors["features"], keys, described(path, {}), (path,))


def _open_arrays(folder: Path, modality: str, form: ArrayFile) -> KeyedFeatures:
    path, index = folder / form.values, folder / form.index
    values = open_array(path)
    keys = read_index(index, len(values))
    manifest = described(folder / modality, form.manifest)
    return keyed_features(modality, values, keys, manifest, (path, index))


def keyed_features(
    modality: str,
    values: NDArray[Any],
    keys: Sequence[str],
    manifest: Mapping[str, Any],
    files: tuple[Path, ...],
) -> KeyedFeatures:
    """Features whose row i is of the item keys[i]. values: float [rows, dim]; files: where it all
    stands. Raises DataError unless every row has one key of its own."""
    row_of = {key: row for row, key in enumerate(keys)}
    if values.ndim != 2 or len(values) != len(keys) or len(row_of) != len(keys):
        raise DataError(
            f"{files[0]}: values {list(values.shape)} for {len(keys)} keys, {len(row_of)} of them "
            "distinct; expected [rows, dim] and one key a row"
        )
    return KeyedFeatures(
        modality=modality,
        values=values,
        row_of=row_of,
        manifest=manifest,
        files={path.name: digest_file(path) for path in files},
    )
