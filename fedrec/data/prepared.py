"""A prepared data set, opened for reading."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa, pq
from fedrec.data.features import FeatureTables, modalities, read_feature_manifest
from fedrec.data.folder import (
    FEATURES,
    INTERACTIONS,
    ITEMS,
    SPLIT,
    USERS,
    read_json,
    read_manifest,
    verify_files,
)
from fedrec.data.split import HeldOut, SplitRule, hold_out
from fedrec.errors import DataError

_Scalar = TypeVar("_Scalar", bound=np.generic)


class PreparedData:
    """Histories, their split, and the features of the items.

    offsets: int64 [users + 1] and items: int32 [interactions], read only: the history of user u is
    items[offsets[u] : offsets[u + 1]], oldest first. Items are 1..num_items; 0 is padding.
    train_end: int64 [users], how many leading interactions are for training.
    validation_position, test_position: int64 [users], the index of the held-out target within the
    user's own history, -1 where the user has none. features: by modality, opened when asked for.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], split: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.num_users: int = manifest["counts"]["users"]
        self.num_items: int = manifest["counts"]["items"]
        self.offsets, self.items = self._read_histories()
        held_out = self._hold_out(split)
        self.train_end = _read_only(held_out.train_end)
        self.validation_position = _read_only(held_out.validation)
        self.test_position = _read_only(held_out.test)
        self.features = FeatureTables(path, self.num_items)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> PreparedData:
        """Open the prepared folder `path`; `verify` checks the checksum of every file first.

        Raises DataError for a folder that is missing, damaged, or of another format version.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        if verify:
            verify_files(folder, manifest)
        split = read_json(folder / SPLIT)
        belongs_to = split.get("sha256", {}).get(INTERACTIONS)
        if belongs_to != manifest["files"].get(INTERACTIONS):
            raise DataError(f"{folder / SPLIT}: made for other interactions than {INTERACTIONS}")
        return cls(folder, manifest, split)

    @cached_property
    def timestamps(self) -> NDArray[np.int64]:
        """int64 [interactions], in the order of `items`; read when first asked for."""
        times: NDArray[np.int64] = self._column(INTERACTIONS, "timestamp").to_numpy()
        return _read_only(times)

    @cached_property
    def catalogue_fingerprint(self) -> str:
        """sha256 over the checksums of the items and of every modality's features.

        The same on all nodes with the same catalogue, whatever interactions they hold.
        """
        digest = hashlib.sha256(f"{ITEMS} {self.manifest['files'].get(ITEMS)}\n".encode())
        for name in modalities(self.path):
            checksum = read_feature_manifest(self.path, name)["sha256"]
            digest.update(f"{FEATURES}/{name} {checksum}\n".encode())
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
        return self._texts(ITEMS, "title")

    def item_keys(self) -> list[str]:
        """The publisher's ids by item id; "" for 0."""
        return self._texts(ITEMS, "key")

    def user_keys(self) -> list[str]:
        """The publisher's ids by user."""
        keys: list[str] = self._column(USERS, "key").to_pylist()
        return keys

    def _texts(self, name: str, column: str) -> list[str]:
        return ["", *(text or "" for text in self._column(name, column).to_pylist())]

    def _column(self, name: str, column: str) -> Any:
        try:
            return pq.read_table(self.path / name, columns=[column])[column]
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DataError(f"{self.path / name}: cannot be read ({error})") from error

    def _read_histories(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        users = self._column(INTERACTIONS, "user").to_numpy()
        items = self._column(INTERACTIONS, "item").to_numpy()
        expected = self.manifest["counts"]["interactions"]
        sound = (
            users.dtype == items.dtype == np.int32
            and len(items) == expected > 0
            and items.min() >= 1
            and items.max() <= self.num_items
            and users[0] >= 0
            and users[-1] < self.num_users
            and bool((users[1:] >= users[:-1]).all())
        )
        if not sound:
            raise DataError(
                f"{self.path / INTERACTIONS}: not {expected} interactions in order of "
                f"{self.num_users} users and items 1..{self.num_items}; prepare the data again"
            )
        lengths = np.bincount(users, minlength=self.num_users)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return _read_only(offsets), _read_only(items)

    def _hold_out(self, split: dict[str, Any]) -> HeldOut:
        try:
            rule = SplitRule(
                rule=split["rule"],
                validation_time=split.get("validation_time"),
                test_time=split.get("test_time"),
            )
        except KeyError as error:
            raise DataError(f"{self.path / SPLIT}: lacks {error}") from error
        timestamps = self.timestamps if rule.rule == "global-time" else None
        labels = self._labels() if rule.rule == "given" else None
        try:
            return hold_out(rule, self.offsets, timestamps, labels)
        except DataError as error:
            raise DataError(f"{self.path}: {error}; prepare the data again (--force)") from error

    def _labels(self) -> NDArray[np.uint8]:
        labels = self._column(INTERACTIONS, "label")
        if labels.type != pa.uint8() or labels.null_count:
            raise DataError(
                f"{self.path / INTERACTIONS}: label is {labels.type} with {labels.null_count} "
                "missing, expected uint8 with none"
            )
        found: NDArray[np.uint8] = labels.to_numpy()
        return found


def _read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    array.setflags(write=False)
    return array
