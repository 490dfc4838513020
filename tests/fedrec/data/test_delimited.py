"""Sound files are read exactly; unsound ones are refused with the line, the value, the reason."""

from __future__ import annotations

import gzip

import pytest

from fedrec.data.archive import Source
from fedrec.data.delimited import Layout, read_delimited
from fedrec.data.movielens import RATINGS_CSV, RATINGS_DAT, U_DATA
from fedrec.errors import DataError

SHOP = Layout(user="who", item="what", time="when")
HEADER = "userId,movieId,rating,timestamp\n"


def read(path, layout=SHOP):
    return read_delimited(Source(path.parent), path.name, layout)


def test_values(write) -> None:
    found = read(write("r.csv", HEADER + "1,10,4.0,100\n2,20,3.5,50\n"), RATINGS_CSV)
    assert found.users.to_pylist() == [1, 2]
    assert found.items.to_pylist() == [10, 20]
    assert found.times.tolist() == [100, 50]


def test_columns_are_found_by_name_and_others_ignored(write) -> None:
    path = write("s.csv", '\ufeffwhen,note,what,who\n3,"a, ""b""\nc",tea,ann\n4,,"jam, red",bob\n')
    found = read(path)
    assert found.users.to_pylist() == ["ann", "bob"]
    assert found.items.to_pylist() == ["tea", "jam, red"]
    assert found.times.tolist() == [3, 4]


def test_gzip_and_windows_line_ends(write) -> None:
    content = gzip.compress((HEADER + "1,10,4.0,100\n").replace("\n", "\r\n").encode())
    assert read(write("r.csv.gz", content), RATINGS_CSV).times.tolist() == [100]


def test_two_character_delimiter(write) -> None:
    found = read(write("ratings.dat", "1::1193::5::978300760\n2::661::3::978302109\n"), RATINGS_DAT)
    assert found.items.to_pylist() == [1193, 661]


@pytest.mark.parametrize(
    ("times", "stored", "unit"),
    [
        (["1.5", "2"], [1, 2], 1),
        (["881250949.0"], [881250949], 1),
        (["1970-01-02"], [86400], 1_000_000),
        (["1970-01-01 00:01:00.25", "1970-01-01T00:02:00"], [60, 120], 1_000_000),
        (["1970-01-01T02:00:00+02:00"], [0], 1_000_000),
    ],
)
def test_times_may_be_fractions_or_dates(write, times, stored, unit) -> None:
    found = read(write("s.csv", "who,what,when\n" + "".join(f"a,b,{time}\n" for time in times)))
    assert found.stored_times().tolist() == stored and found.unit == unit


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "1,10,4,100\n1,11,4\n",
            r":3: 3 fields, expected 4 \(userId, movieId, rating, timestamp\)",
        ),
        ("1,10,4,100\n1,11,4,1,9\n", ":3: 5 fields, expected 4"),
        ("1,10,4,100\n1,11,4,noon\n", ":3: timestamp is 'noon', expected a number"),
        ("1,10,4,100\n\n1,11,4,\n", ":4: timestamp is '', expected a number"),
        ("1,10,4,-5\n", ":2: timestamp is '-5', expected a number, 0 or more"),
        ("1,10,4,100\n,11,4,100\n", ":3: userId is '', expected a whole number, 1 or more"),
        ("0,10,4,100\n", ":2: userId is '0', expected a whole number, 1 or more"),
        ("1,-10,4,100\n", ":2: movieId is '-10', expected a whole number, 1 or more"),
        ("1,x,4,100\n", ":2: movieId is 'x', expected a whole number"),
        ("", "no interactions in it"),
    ],
)
def test_bad_rows_of_whole_ids(write, rows, message) -> None:
    with pytest.raises(DataError, match=r"r\.csv" + "(?s:.*)" + message):
        read(write("r.csv", HEADER + rows), RATINGS_CSV)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("ann,tea,1\n,tea,2\n", r"s\.csv:3: who is '', expected a name that is not empty"),
        ("ann,tea,1\nann,,2\n", r"s\.csv:3: what is ''"),
        ("ann,tea,1\nann,tea,nan\n", r"s\.csv:3: when is 'nan', expected a number, 0 or more"),
        ("ann,tea,2020-01-01\nann,tea,7\n", r"s\.csv:3: when is '7', expected an ISO 8601 date"),
        ("ann,tea,2020-01-01\nann,tea,1969-12-31\n", r"s\.csv:3: .* a date in 1970 or later"),
        ('ann,"a\nb",1\nann,tea,soon\n', r"s\.csv:4: when is 'soon'"),
        ("ann,t\xe9a,1\nann,tea,2\n".encode("latin-1"), r"s\.csv:2: not utf-8 text"),
    ],
)
def test_bad_rows_of_named_columns(write, rows, message) -> None:
    rows = rows.encode() if isinstance(rows, str) else rows
    with pytest.raises(DataError, match=message):
        read(write("s.csv", b"who,what,when\n" + rows))


def test_a_bad_row_far_into_the_file(write) -> None:
    lines = ["1\t2\t3\t4"] * 200_000
    lines[150_000] = "1\t2\t3\tlate"
    with pytest.raises(DataError, match=r"u\.data:150001: timestamp is 'late'"):
        read(write("u.data", "\n".join(lines)), U_DATA)


def test_headers(write) -> None:
    with pytest.raises(DataError, match=r"s\.csv:1: no column 'who'; columns: a, b"):
        read(write("s.csv", "a,b\n1,2\n"))
    with pytest.raises(DataError, match=r"s\.csv:1: more than one column 'who'"):
        read(write("s.csv", "who,who,what,when\n1,2,3,4\n"))
    with pytest.raises(DataError, match=r"s\.csv: the file is empty"):
        read(write("s.csv", ""))


def test_the_three_columns_differ() -> None:
    with pytest.raises(DataError, match="expected 3 different ones"):
        Layout(user="a", item="a", time="t")


def test_damaged_gzip(write) -> None:
    content = gzip.compress(HEADER.encode() + b"1,10,4.0,100\n" * 5000)
    with pytest.raises(DataError, match="the file is damaged"):
        read(write("r.csv.gz", content[:-20]), RATINGS_CSV)
