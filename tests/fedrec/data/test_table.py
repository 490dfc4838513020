from __future__ import annotations

import datetime
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrec.data.archive import Source
from fedrec.data.ordering import order
from fedrec.data.raw import Columns
from fedrec.data.table import read_items, read_table
from fedrec.errors import DataError

COLUMNS = Columns(user="who", item="what", time="when")


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def read(path, columns=COLUMNS):
    return read_table(Source(path), columns)


def test_csv(small_csv) -> None:
    data = order(read(small_csv).interactions)
    assert data.user_keys == ["ann", "bob", "cy"] and data.item_keys == ["jam", "rye", "tea"]
    assert data.users.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert data.items.tolist() == [0, 1, 2, 0, 2, 1, 2, 0]
    assert data.times.tolist() == [10, 20, 30, 40, 50, 60, 15, 90]


def test_tsv(write) -> None:
    data = read(write("s.tsv", "who\twhat\twhen\nann\ttea, green\t5\n"))
    assert data.interactions.items.to_pylist() == ["tea, green"]


def test_parquet_plain_and_gzipped(tmp_path) -> None:
    path = parquet(tmp_path / "s.parquet", who=[7, 7], what=["tea", "jam"], when=[2, 1], far=[0, 0])
    (tmp_path / "t.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, tmp_path / "t.parquet.gz"):
        data = order(read(file).interactions)
        assert data.user_keys == ["7"] and data.item_keys == ["jam", "tea"]
        assert data.items.tolist() == [0, 1] and data.times.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("times", "stored"),
    [
        (pa.array([1.5, 2.0]), [1, 2]),
        (pa.array(["5", "6"]), [5, 6]),
        (pa.array([datetime.date(1970, 1, 2), datetime.date(1970, 1, 3)]), [86400, 172800]),
        (pa.array([1_500_000_001, 2_000_000_000], pa.timestamp("ns", tz="UTC")), [1, 2]),
        (pa.array([1_500, 2_000], pa.timestamp("ms")), [1, 2]),
    ],
)
def test_parquet_times(tmp_path, times, stored) -> None:
    path = parquet(tmp_path / "s.parquet", who=[1, 1], what=[1, 2], when=times)
    assert read(path).interactions.stored_times().tolist() == stored


def test_parquet_dictionaries(tmp_path) -> None:
    names = pa.array(["b", "a"]).dictionary_encode()
    path = parquet(tmp_path / "s.parquet", who=names, what=[1, 2], when=[1, 2])
    assert order(read(path).interactions).user_keys == ["a", "b"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"who": ["a", None]}, r"s\.parquet: row 2: who is missing"),
        ({"who": ["a", ""]}, "who is empty in row 2, expected a name"),
        ({"who": [1.5, 2.5]}, "who is of type double, expected whole numbers or text"),
        ({"when": [1, None]}, "row 2: when is missing"),
        ({"when": [1, -1]}, "row 2: the time is -1, expected a number, 0 or more"),
        ({"when": [1.0, float("inf")]}, "row 2: the time is inf"),
        ({"when": ["1", "soon"]}, "row 2: the time is 'soon', expected a number"),
        ({"when": [[1], [2]]}, "times of type list"),
        ({"what": []}, "no interactions in it"),
    ],
)
def test_bad_parquet(tmp_path, columns, message) -> None:
    columns = {"who": ["a", "b"], "what": [1, 2], "when": [1, 2], **columns}
    if not columns["what"]:
        columns = {name: pa.array([], pa.int64()) for name in columns}
    with pytest.raises(DataError, match=message):
        read(parquet(tmp_path / "s.parquet", **columns))


def test_parquet_without_the_column_and_not_parquet(tmp_path, write) -> None:
    with pytest.raises(DataError, match="no column 'who'; columns: a"):
        read(parquet(tmp_path / "s.parquet", a=[1]))
    with pytest.raises(DataError, match="not a sound Parquet file"):
        read(write("t.parquet", "who,what,when\n"))


def test_nothing_to_order_by(small_csv) -> None:
    with pytest.raises(DataError, match=r"in which order .*\(--time-column or --position-column\)"):
        read(small_csv, Columns(user="who", item="what"))


def test_a_position_may_stand_for_the_time(small_csv) -> None:
    columns = Columns(user="who", item="what", position="when")
    interactions = read(small_csv, columns).interactions
    assert interactions.positional and interactions.times.tolist()[0] == 30


def test_suffix_and_folder(write, tmp_path) -> None:
    with pytest.raises(DataError, match=r"suffix '\.xlsx', expected \.csv, \.tsv"):
        read(write("s.xlsx", "x"))
    with pytest.raises(DataError, match="give the file of interactions itself"):
        read(tmp_path)


def test_items_from_csv(write) -> None:
    items = read_items(
        write(
            "i.csv", "what,title,genres,image,price\ntea,Green tea,Drink|Hot,tea.jpg,3\njam,,,,\n"
        ),
        "what",
    )
    tea, jam = items["tea"], items["jam"]
    assert (tea.title, tea.genres, tea.image) == ("Green tea", ("Drink", "Hot"), "tea.jpg")
    assert tea.text == "Green tea. Drink, Hot." and tea.further == {"price": "3"}
    assert (jam.title, jam.text, jam.image) == ("", "", None)


def test_items_from_parquet(tmp_path) -> None:
    path = parquet(tmp_path / "i.parquet", what=[1, 2], title=["One", None], text=["Long", None])
    items = read_items(path, "what")
    assert items["1"].text == "Long" and items["2"].title == ""


def test_bad_items(write) -> None:
    with pytest.raises(DataError, match=r"i\.csv: item 'tea' comes twice"):
        read_items(write("i.csv", "what\ntea\ntea\n"), "what")
    with pytest.raises(DataError, match=r"i\.csv: an item has no what"):
        read_items(write("i.csv", "what,title\n,x\n"), "what")
    with pytest.raises(DataError, match=r"i\.csv:1: no column 'what'"):
        read_items(write("i.csv", "title\nx\n"), "what")
    with pytest.raises(DataError, match=r"i\.csv:2: 1 fields, expected 2"):
        read_items(write("i.csv", "what,title\ntea\n"), "what")
