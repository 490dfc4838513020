"""A table in a file holds the version its note names, or none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from client import table_file
from client.table_file import TableFile, node_folder

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
ROWS = np.array([1, 3], dtype=np.int32)
NEW = np.full((2, 3), 7.0, dtype=np.float32)


@pytest.fixture
def file(tmp_path: Path) -> TableFile:
    made = TableFile(tmp_path / "nodes" / "1-2", "table")
    made.write(TABLE, "a/0")
    return made


def test_a_table_is_read_by_its_version(file: TableFile) -> None:
    found = file.read("a/0")

    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, TABLE)
    assert file.read("a/1") is None
    assert file.read("b/0") is None


def test_there_may_be_no_file(tmp_path: Path) -> None:
    assert TableFile(tmp_path / "nowhere", "table").read("a/0") is None
    assert not (tmp_path / "nowhere").exists()


def test_rows_change_in_place(file: TableFile) -> None:
    mapped = file.read("a/0")

    file.change(ROWS, NEW, "a/0", "a/1")

    expected = TABLE.copy()
    expected[ROWS] = 7.0
    np.testing.assert_array_equal(file.read("a/1"), expected)
    np.testing.assert_array_equal(mapped, expected)
    assert file.read("a/0") is None


def test_rows_of_another_version_are_not_changed(file: TableFile) -> None:
    with pytest.raises(FileNotFoundError, match="version a/5"):
        file.change(ROWS, NEW, "a/5", "a/6")

    np.testing.assert_array_equal(file.read("a/0"), TABLE)


def test_a_file_that_was_left_half_written_holds_nothing(
    file: TableFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the rows were written and before the note was."""

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TableFile, "_write_note", killed)
        file.change(ROWS, NEW, "a/0", "a/1")

    assert file.read("a/0") is None
    assert file.read("a/1") is None


def test_a_replaced_table_leaves_the_one_that_is_mapped(file: TableFile) -> None:
    mapped = file.read("a/0")

    file.write(TABLE + 1, "a/1")

    np.testing.assert_array_equal(mapped, TABLE)
    np.testing.assert_array_equal(file.read("a/1"), TABLE + 1)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY"])
def test_a_damaged_file_holds_nothing(file: TableFile, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "nodes" / "1-2" / "table.npy").write_bytes(damage)

    assert file.read("a/0") is None


def test_a_new_run_removes_what_others_left_long_ago(file: TableFile, tmp_path: Path) -> None:
    old, recent = tmp_path / "nodes" / "1-2", tmp_path / "nodes" / "1-3"
    TableFile(recent, "table").write(TABLE, "b/0")
    long_ago = time.time() - 2 * table_file._FORGOTTEN_S
    mapped = file.read("a/0")
    os.utime(old, (long_ago, long_ago))

    TableFile(tmp_path / "nodes" / "2-2", "table").write(TABLE, "c/0")

    assert not old.exists()
    assert recent.exists()
    np.testing.assert_array_equal(mapped, TABLE)  # whoever has it mapped keeps it


def test_each_run_and_node_has_a_folder_below_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    context = Context(run_id=5, node_id=9, node_config={}, state=RecordDict(), run_config={})

    assert node_folder(context) == tmp_path / "nodes" / "5-9"


def test_what_a_run_still_reads_is_not_removed(file: TableFile, tmp_path: Path) -> None:
    """A table that is frozen for a stage is written once and read for hours."""
    long_ago = time.time() - 2 * table_file._FORGOTTEN_S
    os.utime(tmp_path / "nodes" / "1-2", (long_ago, long_ago))
    assert file.read("a/0") is not None

    TableFile(tmp_path / "nodes" / "2-2", "table").write(TABLE, "c/0")

    assert file.read("a/0") is not None
