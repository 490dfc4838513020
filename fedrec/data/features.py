"""Feature files of a prepared folder: one a modality, memory mapped, with who made it and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.checksum import digest_file
from fedrec.data.folder import FEATURES, read_json, record_files, verify_once
from fedrec.data.json_files import parse_json
from fedrec.data.plain_files import check_plain
from fedrec.errors import DataError

_BLOCK_ROWS = 1 << 16
_HEADER_LIMIT_BYTES = 1 << 20


class FeatureTable:
    """Features of one modality.

    values: float16 [items + 1, dim], memory mapped; rows are L2-normalised, row 0 and missing rows
    are zero. present: bool [items + 1]. manifest: encoder, preprocessing, coverage, checksum.
    """

    def __init__(
        self,
        name: str,
        values: NDArray[np.float16],
        present: NDArray[np.bool_],
        manifest: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.values = values
        self.present = present
        self.manifest = manifest

    @property
    def dim(self) -> int:
        """Width of a row."""
        return int(self.values.shape[1])

    @property
    def coverage(self) -> float:
        """Share of the items that have this modality."""
        return float(self.present[1:].mean()) if len(self.present) > 1 else 0.0

    @classmethod
    def open(
        cls, folder: Path, name: str, num_items: int, files: Mapping[str, str] | None = None
    ) -> FeatureTable:
        """Map `folder`/features/`name`.safetensors.

        files: sha256 of the folder's files by name, from its manifest.
        Raises DataError where the files are missing, damaged, or made for another catalogue.
        """
        about, held = f"{FEATURES}/{name}.json", f"{FEATURES}/{name}.safetensors"
        path = folder / held
        verify_once(folder, about, files or {})
        manifest = read_feature_manifest(folder, name)
        verify_once(folder, held, {held: manifest["sha256"], **(files or {})})
        tensors = map_tensors(path)
        if not {"features", "present"} <= tensors.keys():
            raise DataError(f"{path}: holds {sorted(tensors)}, expected features and present")
        values, present = tensors["features"], tensors["present"]
        rows = num_items + 1
        if values.ndim != 2 or values.dtype != np.float16 or values.shape[0] != rows:
            raise DataError(
                f"{path}: features are {values.dtype} {list(values.shape)}, expected float16 "
                f"[{rows}, dim] for {num_items} items"
            )
        if present.shape != (rows,):
            raise DataError(f"{path}: present is {list(present.shape)}, expected [{rows}]")
        return cls(name, values, np.asarray(present) != 0, manifest)


class FeatureTables(Mapping[str, FeatureTable]):
    """The modalities of a prepared folder by name, each opened when it is first asked for.

    files: sha256 of the folder's files by name, from its manifest; a modality that it names and
    whose files are gone is an error when it is opened.
    """

    def __init__(
        self, folder: Path, num_items: int, files: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._num_items = num_items
        self._files = files or {}
        named = (Path(name) for name in self._files if Path(name).parent.name == FEATURES)
        listed = {path.stem for path in named if path.suffix == ".json"}
        self._names = sorted({*modalities(folder), *listed})
        self._opened: dict[str, FeatureTable] = {}

    def __getitem__(self, name: str) -> FeatureTable:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._opened:
            self._opened[name] = FeatureTable.open(self._folder, name, self._num_items, self._files)
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def modalities(folder: Path) -> list[str]:
    """Names of the feature files of a prepared folder, sorted."""
    return sorted(path.stem for path in (folder / FEATURES).glob("*.json") if path.stem[0] != ".")


def read_feature_manifest(folder: Path, name: str) -> dict[str, Any]:
    """`folder`/features/`name`.json. Raises DataError where it is missing or malformed."""
    path = folder / FEATURES / f"{name}.json"
    manifest = read_json(path)
    if not isinstance(manifest.get("sha256"), str):
        raise DataError(f"{path}: not a feature manifest; it has no sha256")
    return manifest


def write_features(
    folder: Path,
    name: str,
    values: NDArray[np.floating[Any]],
    present: NDArray[np.bool_],
    manifest: Mapping[str, Any],
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write one modality into a prepared folder, or replace it, and its checksums with it.

    values: float [items + 1, dim], normalised here; present: bool [items + 1]. Row 0 is never
    present, and neither are rows of zeros. manifest: encoder, weights_sha256, preprocessing and
    what else is worth telling; counts and checksum are added. extra: more tensors for the file,
    [items + 1, ...] each.
    Raises DataError for shapes that do not fit and for numbers that are not finite.
    """
    if values.ndim != 2 or present.shape != values.shape[:1] or not len(values):
        raise DataError(
            f"{name}: features {list(values.shape)} with present {list(present.shape)}, "
            "expected [items + 1, dim] with [items + 1]"
        )
    rows, shown = normalised(name, values, present)
    write_rows(folder, name, rows, shown, manifest, extra)


def write_rows(
    folder: Path,
    name: str,
    rows: NDArray[np.float16],
    present: NDArray[np.bool_],
    manifest: Mapping[str, Any],
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """The same for rows that are as they shall stand: of length 1, or 0 where not present."""
    extra = extra or {}
    for tensor, content in extra.items():
        if tensor in ("features", "present") or content.shape[:1] != present.shape:
            raise DataError(
                f"{name}: further tensor {tensor!r} {list(content.shape)}, expected another name "
                f"than features and present, and [{len(present)}, ...]"
            )
    (folder / FEATURES).mkdir(exist_ok=True)
    path = folder / FEATURES / f"{name}.safetensors"
    saved = save({**extra, "features": rows, "present": present.astype(np.uint8)})
    write_atomically(path, lambda stream: stream.write(saved))
    items = len(rows) - 1
    found = int(present.sum())
    complete = {
        "modality": name,
        "encoder": None,
        "weights_sha256": None,
        "preprocessing": None,
        **manifest,
        "dim": int(rows.shape[1]),
        "items": items,
        "present": found,
        "coverage": round(found / items, 6) if items else 0.0,
        "sha256": digest_file(path),
    }
    write_json(folder / FEATURES / f"{name}.json", complete)
    record_files(folder, [f"{FEATURES}/{name}.safetensors", f"{FEATURES}/{name}.json"])


def normalised(
    name: str, values: NDArray[np.floating[Any]], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """float16 [items + 1, dim] with rows of length 1, or 0 where absent; bool [items + 1]."""
    rows = np.zeros(values.shape, dtype=np.float16)
    shown = np.array(present, dtype=np.bool_)
    shown[0] = False
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        block = np.where(shown[part, None], values[part], 0).astype(np.float32)
        if not np.isfinite(block).all():
            row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise DataError(f"{name}: the features of item {row} are not finite")
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        shown[part] &= norms[:, 0] > 0
        rows[part] = block / np.where(norms > 0, norms, 1)
    return rows, shown


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as read-only views of the mapped file.

    Raises DataError where the file is missing or not a sound safetensors file.
    Source: the format section of the safetensors README.
    """
    kinds = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "U8": "u1", "BOOL": "?"}
    kinds |= {"I32": "<i4", "I64": "<i8"}
    try:
        check_plain(path)
        mapped = np.memmap(path, dtype=np.uint8, mode="r")
        size = int.from_bytes(mapped[:8].tobytes(), "little")
        if not 0 < size <= min(_HEADER_LIMIT_BYTES, len(mapped) - 8):
            raise ValueError(f"header of {size} bytes")
        header = parse_json(mapped[8 : 8 + size].tobytes())
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= len(mapped) - 8 - size:
                raise ValueError(f"{name} lies outside the file")
            part = mapped[8 + size + begin : 8 + size + end]
            if any(length < 0 for length in entry["shape"]):
                raise ValueError(f"{name} has shape {entry['shape']}")
            tensors[name] = part.view(kinds[entry["dtype"]]).reshape(entry["shape"])
        return tensors
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: not a sound safetensors file ({error})") from error
