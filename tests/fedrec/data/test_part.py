"""What a part remembers of its whole."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrec.data import PreparedData
from fedrec.data.folder import MANIFEST, read_manifest, record_files
from fedrec.data.parting import partition_folder
from fedrec.data.sealed import write_sealed
from fedrec.errors import DataError


@pytest.fixture
def part(toy_data, tmp_path):
    partition_folder(toy_data.path, tmp_path / "out", nodes=3)
    return tmp_path / "out" / "node-2"


def test_a_whole_is_no_part(toy_data) -> None:
    assert toy_data.part is None


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (7, "part is 7"),
        ({"index": 1, "count": 3}, "expected whole index, count, whole_users"),
        ({"index": 3, "count": 3, "whole_users": 130}, "part 3 of 3, expected 0 to 2"),
        ({"index": 1, "count": 3, "whole_users": 5}, "numbers, expected .* from 0 to 4"),
        ({"index": True, "count": 3, "whole_users": 130}, "expected whole"),
    ],
)
def test_a_record_that_cannot_be_is_refused(part, record, message) -> None:
    write_sealed(part / MANIFEST, {**read_manifest(part), "part": record})
    with pytest.raises(DataError, match=message):
        PreparedData.load(part)


@pytest.mark.parametrize("change", ["reversed", "missing", "dropped"])
def test_numbers_that_cannot_be_are_refused(part, change) -> None:
    table = pq.read_table(part / "users.parquet")
    numbers = table["number"].to_pylist()
    changed = {"reversed": numbers[::-1], "missing": [None, *numbers[1:]]}.get(change)
    table = table.drop_columns("number")
    if changed is not None:
        table = table.append_column("number", pa.array(changed, pa.int64()))
    pq.write_table(table, part / "users.parquet")
    record_files(part, ["users.parquet"])
    with pytest.raises(DataError, match=r"users\.parquet"):
        PreparedData.load(part)
