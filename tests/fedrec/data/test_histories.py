"""Histories to be mapped: the same as in the interactions, and cheap to open."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedrec.data import Columns, PreparedData, prepare
from fedrec.data.folder import HISTORIES
from fedrec.data.histories import offsets_of
from fedrec.errors import DataError

ARRAYS = ("offsets", "items", "train_end", "validation_position", "test_position")
COLUMNS = Columns(user="who", item="what", time="when")
SPLITS = {
    "leave-one-out": {},
    "global-time": {"validation_time": 20, "test_time": 60},
}


def of_shop(small_csv, out, split="leave-one-out"):
    return prepare(
        "csv", source=small_csv, out=out, min_interactions=1, columns=COLUMNS, split=split,
        **SPLITS[split],
    )  # fmt: skip


def of_labels(write, tmp_path):
    rows = [(0, 2, 0, 0), (0, 1, 1, 1), (0, 0, 2, 2), (1, 2, 9, 0), (1, 1, 3, 2), (2, 0, 1, 1)]
    lines = ["userID\titemID\ttimestamp\tx_label", *("\t".join(map(str, row)) for row in rows)]
    write("baby/baby.inter", "\n".join(lines) + "\n")
    return prepare("mmrec", source=tmp_path / "baby", out=tmp_path / "out")


@pytest.mark.parametrize("split", [*SPLITS, "given"])
def test_a_folder_from_before_has_the_same_arrays(small_csv, write, tmp_path, older, split) -> None:
    given = split == "given"
    folder = of_labels(write, tmp_path) if given else of_shop(small_csv, tmp_path / "o", split)
    mapped = PreparedData.load(folder, verify=True)
    read = PreparedData.load(older(folder), verify=True)
    assert (mapped.test_position >= 0).any()
    for name in ARRAYS:
        one, other = getattr(mapped, name), getattr(read, name)
        assert one.dtype == other.dtype and one.tolist() == other.tolist()
        assert not one.flags.writeable and not other.flags.writeable


def base_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base


def test_the_arrays_are_mapped_and_no_table_is_read(small_csv, tmp_path) -> None:
    folder = of_shop(small_csv, tmp_path / "o")
    (folder / "interactions.parquet").write_bytes(b"not looked at")
    data = PreparedData.load(folder)
    assert data.history(0).tolist() == [1, 2, 3]
    for name in ARRAYS:
        array = getattr(data, name)
        assert type(array) is np.ndarray and isinstance(base_of(array), mmap.mmap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": None}, "but no items"),
        ({"items": np.ones(7, np.int32)}, r"items is int32 \[7\], expected int32 \[8\]"),
        ({"items": np.ones(8, np.int64)}, r"items is int64 \[8\], expected int32 \[8\]"),
        ({"test": np.ones(2, np.int64)}, r"test is int64 \[2\], expected int64 \[3\]"),
        ({"offsets": np.array([0, 3, 6, 9])}, "histories from 0 to 9, expected 0 to 8"),
        ({"offsets": np.array([1, 3, 6, 8])}, "histories from 1 to 8, expected 0 to 8"),
    ],
)
def test_what_does_not_fit_the_manifest(small_csv, tmp_path, vouch, change, message) -> None:
    path = of_shop(small_csv, tmp_path / "o") / HISTORIES
    tensors = {**load_file(path), **change}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)
    vouch(path.parent)
    with pytest.raises(DataError, match=message):
        PreparedData.load(path.parent)


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 40])
def test_missing_or_cut_short(small_csv, tmp_path, vouch, content) -> None:
    path = of_shop(small_csv, tmp_path / "o") / HISTORIES
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"histories\.safetensors: (cannot be read|sha256)"):
        PreparedData.load(path.parent)
    if content is not None:
        vouch(path.parent)
        with pytest.raises(DataError, match=r"histories\.safetensors: not a sound safetensors"):
            PreparedData.load(path.parent)


def test_users_without_interactions_have_an_empty_history() -> None:
    assert offsets_of(np.array([1, 1, 3], np.int32), 5).tolist() == [0, 0, 2, 2, 3, 3]
