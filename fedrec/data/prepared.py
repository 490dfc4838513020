"""A prepared data set, opened for reading."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa
from fedrec.data.features import FeatureTables
from fedrec.data.folder import (
    HISTORIES,
    INTERACTIONS,
    ITEMS,
    MANIFEST,
    SPLIT,
    USERS,
    read_column,
    read_json,
    read_manifest,
    verify_files,
    verify_once,
)
from fedrec.data.histories import open_histories
from fedrec.data.part import read_part
from fedrec.errors import DataError


class PreparedData:
    """Histories, their split, and the features of the items.

    offsets: int64 [users + 1] and items: int32 [interactions]: the history of user u is
    items[offsets[u] : offsets[u + 1]], oldest first. Items are 1..num_items; 0 is padding.
    warm_items: items 1..warm_items may occur in training; those after them are new, nobody trains
    on them. cold_targets: whether all test targets are new items.
    train_end: int64 [users], how many leading interactions are for training.
    validation_position, test_position: int64 [users], the index of the held-out target within the
    user's own history, -1 where the user has none. These arrays are read only and memory mapped
    (in folders from before there was a file to map: read). features: by modality, opened when
    asked for. part: which part of a whole this folder is, None for a whole.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], split: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.name: str = manifest["name"]
        missing = {"users", "items", "interactions"} - manifest["counts"].keys()
        if missing:
            raise DataError(f"{path / MANIFEST}: counts lacks {', '.join(sorted(missing))}")
        self.num_users: int = manifest["counts"]["users"]
        self.num_items: int = manifest["counts"]["items"]
        self.warm_items = _warm_items(path, manifest)
        self.cold_targets: bool = split.get("test_targets") == "cold"
        histories = open_histories(path, manifest, split)
        self.offsets, self.items = histories.offsets, histories.items
        self.train_end = histories.held_out.train_end
        self.validation_position = histories.held_out.validation
        self.test_position = histories.held_out.test
        self.features = FeatureTables(path, self.num_items, manifest["files"])
        self.part = read_part(path, manifest)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> PreparedData:
        """Open the prepared folder `path`; `verify` checks the checksum of every file first.

        Otherwise that of a file is checked when a process opens it for the first time.
        Raises DataError for a folder that is missing, of another format version, or damaged.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        if verify:
            verify_files(folder, manifest)
        verify_once(folder, SPLIT, manifest["files"])
        split = read_json(folder / SPLIT)
        for name in (INTERACTIONS, HISTORIES):
            if _belongs_to(split).get(name) != manifest["files"].get(name):
                raise DataError(f"{folder / SPLIT}: made for other interactions than {name}")
        return cls(folder, manifest, split)

    @cached_property
    def timestamps(self) -> NDArray[np.int64]:
        """int64 [interactions], in the order of `items`; read when first asked for."""
        times: NDArray[np.int64] = self._column(INTERACTIONS, "timestamp").to_numpy()
        if times.dtype != np.int64 or len(times) != len(self.items):
            raise DataError(
                f"{self.path / INTERACTIONS}: {len(times)} times of type {times.dtype}, expected "
                f"int64 for {len(self.items)} interactions"
            )
        times.setflags(write=False)
        return times

    @cached_property
    def catalogue_fingerprint(self) -> str:
        """sha256 over the keys of the items 1..warm_items and their features of every modality.

        The same on all nodes with the same catalogue, whatever interactions they hold, and in a
        folder that has new items after these.
        """
        return self._fingerprint(1, self.warm_items + 1)

    @cached_property
    def new_items_fingerprint(self) -> str:
        """The same over the items after warm_items; `none` where there are none."""
        if self.warm_items == self.num_items:
            return "none"
        return self._fingerprint(self.warm_items + 1, self.num_items + 1)

    def _fingerprint(self, first: int, end: int) -> str:
        digest = hashlib.sha256(json.dumps(self.item_keys()[first:end]).encode())
        for name, table in self.features.items():
            start = 0 if first == 1 else first  # the padding's row belongs to the trained items
            digest.update(f"{name} {table.dim}\n".encode())
            digest.update(np.ascontiguousarray(table.values[start:end]).data)
            digest.update(table.present[start:end].tobytes())
        return digest.hexdigest()

    def history(self, user: int) -> NDArray[np.int32]:
        """All item ids of a user, oldest first: a view, int32 [interactions of the user].

        Raises DataError for a user that does not exist.
        """
        if not 0 <= user < self.num_users:
            raise DataError(f"user {user} does not exist; users are 0..{self.num_users - 1}")
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def train_items(self, user: int) -> NDArray[np.int32]:
        """The item ids of a user that are for training, oldest first: a view."""
        return self.history(user)[: self.train_end[user]]

    def item_titles(self) -> list[str]:
        """Titles by item id; "" for 0 and for items without a title."""
        return ["", *self._texts(ITEMS, "title", self.num_items)]

    def item_keys(self) -> list[str]:
        """The publisher's ids by item id; "" for 0."""
        return ["", *self._texts(ITEMS, "key", self.num_items)]

    def user_keys(self) -> list[str]:
        """The publisher's ids by user."""
        return self._texts(USERS, "key", self.num_users)

    def _column(self, name: str, column: str) -> Any:
        verify_once(self.path, name, self.manifest["files"])
        return read_column(self.path / name, column)

    def _texts(self, name: str, column: str, expected: int) -> list[str]:
        found = self._column(name, column)
        if len(found) != expected or found.type not in (pa.string(), pa.large_string()):
            raise DataError(
                f"{self.path / name}: {column} is {len(found)} x {found.type}, expected "
                f"{expected} texts"
            )
        return [text or "" for text in found.to_pylist()]


def _belongs_to(split: dict[str, Any]) -> dict[str, Any]:
    """The checksums of the files that a split was made for."""
    found = split.get("sha256")
    return found if isinstance(found, dict) else {}


def _warm_items(path: Path, manifest: dict[str, Any]) -> int:
    items = manifest["counts"]["items"]
    warm = manifest.get("warm_items", items)
    if not isinstance(warm, int) or not 1 <= warm <= items:
        raise DataError(f"{path / MANIFEST}: warm_items is {warm!r}, expected 1 to {items}")
    return warm
