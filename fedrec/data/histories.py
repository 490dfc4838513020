"""Every user's history and what of it is held out: arrays in a file that is mapped, not read.

Opening it takes no time and no memory that grow with the users; pages come in with the users that
are looked at. Folders from before there was such a file hold the same in their interactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fedrec.data.arrow import pa
from fedrec.data.atomic import write_atomically
from fedrec.data.features import map_tensors
from fedrec.data.folder import HISTORIES, INTERACTIONS, SPLIT, read_column, verify_once
from fedrec.data.split import HeldOut, SplitRule, hold_out
from fedrec.errors import DataError

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Histories:
    """offsets: int64 [users + 1] and items: int32 [interactions]: the history of user u is
    items[offsets[u] : offsets[u + 1]], oldest first. held_out: what of it is not for training."""

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    held_out: HeldOut


def offsets_of(users: NDArray[np.integer[Any]], num_users: int) -> NDArray[np.int64]:
    """Where each user's interactions begin: int64 [users + 1]. users: [interactions], sorted."""
    lengths = np.bincount(users, minlength=num_users)
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def write_histories(folder: Path, histories: Histories) -> None:
    """`folder`/histories.safetensors; the same histories give the same bytes."""
    held_out = histories.held_out
    saved = save(
        {
            "offsets": histories.offsets,
            "items": histories.items,
            "train_end": held_out.train_end,
            "validation": held_out.validation,
            "test": held_out.test,
        }
    )
    write_atomically(folder / HISTORIES, lambda stream: stream.write(saved))


def open_histories(
    folder: Path, manifest: Mapping[str, Any], split: Mapping[str, Any]
) -> Histories:
    """The histories of a prepared folder, read only: mapped, or read from an older folder.

    Raises DataError where they are not as they were written, or do not fit the manifest's counts. A
    mapped file is read once by every process that opens it; beside its checksum only the shapes and
    the ends are looked at.
    """
    if HISTORIES in manifest["files"]:
        verify_once(folder, HISTORIES, manifest["files"])
        return _mapped(folder, manifest["counts"])
    verify_once(folder, INTERACTIONS, manifest["files"])
    offsets, items = _from_interactions(folder, manifest["counts"])
    held_out = _hold_out(folder, split, offsets)
    for array in (offsets, items, held_out.train_end, held_out.validation, held_out.test):
        array.setflags(write=False)
    return Histories(offsets, items, held_out)


def _mapped(folder: Path, counts: Mapping[str, int]) -> Histories:
    path, users = folder / HISTORIES, counts["users"]
    tensors = map_tensors(path)
    held_out = HeldOut(
        **{
            name: _tensor(path, tensors, name, users, np.int64)
            for name in ("train_end", "validation", "test")
        }
    )
    offsets = _tensor(path, tensors, "offsets", users + 1, np.int64)
    items = _tensor(path, tensors, "items", counts["interactions"], np.int32)
    if offsets[0] != 0 or offsets[-1] != len(items):
        raise DataError(
            f"{path}: histories from {offsets[0]} to {offsets[-1]}, expected 0 to {len(items)}"
        )
    return Histories(offsets, items, held_out)


def _tensor(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    name: str,
    length: int,
    kind: type[_Scalar],
) -> NDArray[_Scalar]:
    found = tensors.get(name)
    if found is None:
        raise DataError(f"{path}: holds {sorted(tensors)}, but no {name}")
    if found.shape != (length,) or found.dtype != kind:
        raise DataError(
            f"{path}: {name} is {found.dtype} {list(found.shape)}, expected "
            f"{np.dtype(kind)} [{length}]"
        )
    return np.asarray(found)  # a plain array: views of a memmap are slow to make


def _from_interactions(
    folder: Path, counts: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    path = folder / INTERACTIONS
    users, items = (read_column(path, name).to_numpy() for name in ("user", "item"))
    sound = (
        users.dtype == items.dtype == np.int32
        and len(items) == counts["interactions"] > 0
        and items.min() >= 1
        and items.max() <= counts["items"]
        and users[0] >= 0
        and users[-1] < counts["users"]
        and bool((users[1:] >= users[:-1]).all())
    )
    if not sound:
        raise DataError(
            f"{path}: not {counts['interactions']} interactions in order of {counts['users']} "
            f"users and items 1..{counts['items']}; prepare the data again"
        )
    return offsets_of(users, counts["users"]), items


def _hold_out(folder: Path, split: Mapping[str, Any], offsets: NDArray[np.int64]) -> HeldOut:
    try:
        rule = SplitRule(
            rule=split["rule"],
            validation_time=split.get("validation_time"),
            test_time=split.get("test_time"),
        )
    except KeyError as error:
        raise DataError(f"{folder / SPLIT}: lacks {error}") from error
    path = folder / INTERACTIONS
    times = read_column(path, "timestamp").to_numpy() if rule.rule == "global-time" else None
    labels = _labels(path) if rule.rule == "given" else None
    try:
        return hold_out(rule, offsets, times, labels)
    except DataError as error:
        raise DataError(f"{folder}: {error}; prepare the data again (--force)") from error


def _labels(path: Path) -> NDArray[np.uint8]:
    labels = read_column(path, "label")
    if labels.type != pa.uint8() or labels.null_count:
        raise DataError(
            f"{path}: label is {labels.type} with {labels.null_count} missing, expected uint8 "
            "with none"
        )
    found: NDArray[np.uint8] = labels.to_numpy()
    return found
