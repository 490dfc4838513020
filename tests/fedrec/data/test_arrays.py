from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.data.arrays import described, open_array, read_index
from fedrec.errors import DataError

SHARED_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_floats_are_mapped_and_read_only(tmp_path, kind) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]], dtype=kind))
    found = open_array(tmp_path / "a.npy")
    assert isinstance(found, np.memmap) and not found.flags.writeable
    assert found.tolist() == [[1, 2], [3, 4]]


def test_columns_first_are_read_too(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert open_array(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 2), dtype=np.int64), r"holds int64, expected features as float16, float32"),
        (np.ones((2, 2), dtype=np.bool_), "holds bool"),
        (np.ones((2, 2), dtype=np.complex64), "holds complex64"),
        (np.ones((2, 2), dtype=np.longdouble), "holds float128|holds longdouble"),
        (np.array([["a"]]), "holds <U1"),
        (np.ones(3), r"an array \[3\], expected \[rows, dim\]"),
        (np.ones((2, 2, 2)), r"an array \[2, 2, 2\]"),
        (np.ones((0, 4)), r"an array \[0, 4\]"),
        (np.ones((4, 0)), r"an array \[4, 0\]"),
        (np.array([[{}]], dtype=object), "not an array file.*Python objects"),
    ],
)
def test_other_arrays_are_refused_by_name(tmp_path, array, message) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=rf"a\.npy: ({message})"):
        open_array(tmp_path / "a.npy")


def test_files_that_are_none(tmp_path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(DataError, match=r"a\.npy: not an array file .*No such file"):
        open_array(path)
    np.savez(tmp_path / "a.npz", x=np.ones((2, 2)))
    np.save(path, np.ones((4, 4)))
    content = path.read_bytes()
    for bad in (b"", content[:4], content[:60], content[:-1], (tmp_path / "a.npz").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"a\.npy: not an array file"):
            open_array(path)


@SHARED_FOLDER
@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_an_array_or_a_named_error(tmp_path, changes) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 2), dtype=np.float32))
    content = bytearray(path.read_bytes())
    for at, value in changes:
        content[at] = value
    path.write_bytes(content)
    try:
        assert open_array(path).ndim == 2
    except DataError as error:
        assert "a.npy" in str(error)


def test_an_index_may_be_in_any_order(write) -> None:
    path = write("i.csv", '\ufeffrow,item\n2,"x, y"\n0,7\n\n1,07\n')
    assert read_index(path, 3, ("item",)) == ["7", "07", "x, y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r": the file is empty"),
        ("item,row\n7,0\n", r":1: the columns are item, row, expected row and item or key"),
        ("row,title\n0,a\n", r":1: the columns are row, title, expected row and item or key"),
        ("row,item,note\n0,a,b\n", r":1: the columns are row, item, note"),
        ("row\n0\n", r":1: the columns are row, expected"),
        ("0,7\n1,8\n", r":1: no column 'row'; columns: 0, 7"),
        ("row,item\n0,a\n2,b\n", r":3: '2,b', expected a row below 2 and a key"),
        ("row,item\n0,a\n-1,b\n", r":3: '-1,b'"),
        ("row,item\n0,a\n1.0,b\n", r":3: '1\.0,b'"),
        (f"row,item\n{'9' * 5000},b\n", r":2: '99"),
        ("row,item\n0,a\n1,\n", r":3: '1,'"),
        ("row,item\n0,a\n1,b,c\n", r":3: '1,b,c'"),
        ("row,item\n0,a\n0,b\n", r":3: row 0 was in line 2"),
        ("row,item\n1,a\n0,a\n", r":3: key 'a' was in line 2"),
        ("row,item\n1,a\n", r": keys for 1 of 2 rows; row 0 has none"),
        (b"row,item\n0,\xff\n", r":2: not utf-8 text"),
    ],
)
def test_a_bad_index_is_refused_with_its_line(write, content, message) -> None:
    with pytest.raises(DataError, match=rf"i\.csv{message}"):
        read_index(write("i.csv", content), 2, ("item", "key"))


def test_a_missing_index(tmp_path) -> None:
    with pytest.raises(DataError, match=r"i\.csv: no such file; expected an index"):
        read_index(tmp_path / "i.csv", 2)


def test_what_is_told_beside_the_file(tmp_path) -> None:
    path = tmp_path / "a.npy"
    assert described(path, {"encoder": "imported"}) == {"encoder": "imported"}
    (tmp_path / "a.json").write_text(json.dumps({"encoder": "CLIP", "year": 2021}))
    assert described(path, {"encoder": "imported"}) == {"encoder": "CLIP", "year": 2021}
    for bad in ("[1]", "{", '{"encoder": NaN}', "7"):
        (tmp_path / "a.json").write_text(bad)
        with pytest.raises(DataError, match=r"a\.json: cannot be read"):
            described(path, {})
