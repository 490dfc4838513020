"""Sources that once ended in somebody else's error, or in none."""

from __future__ import annotations

import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrec.config import load_config
from fedrec.data import Columns, prepare
from fedrec.data.archive import Source
from fedrec.data.arrays import described, open_array
from fedrec.data.features import map_tensors
from fedrec.data.json_files import parse_json
from fedrec.data.ordering import number_keys
from fedrec.data.table import read_table
from fedrec.errors import ConfigError, DataError

Write = Callable[[str, str | bytes], Path]
COLUMNS = Columns(user="user", item="item", time="time")
DIGITS = "9" * 5000


def prepared(source: Path, dataset: str = "csv", **options: Any) -> Path:
    return prepare(dataset, source=source, out=source.with_name("out"), **options)


def tensors(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' + DIGITS.encode() + b"}", "digits"),
        (b"[NaN]", "NaN is not a number"),
        (b'"\\ud800"', "surrogates"),
        (b"\xff", "decode"),
        (b"", "Expecting value"),
    ],
    ids=["deep", "digits", "NaN", "half a character", "no text", "empty"],
)
def test_json_that_is_none(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(content)


def test_whole_characters_may_be_written_in_halves() -> None:
    assert parse_json(b'"\\ud83c\\udf55"') == "\N{SLICE OF PIZZA}"


def test_a_description_nested_too_deep(write: Write) -> None:
    write("a.json", "[" * 100_000)
    with pytest.raises(DataError, match=r"a\.json: cannot be read \(nested too deep\)"):
        described(write("a.npy", ""), {})


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**80], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-4, 4]}},
        {"a": {"dtype": "OBJECT", "shape": [2], "data_offsets": [0, 8]}},
        [],
        b"[" * 50_000,
    ],
    ids=["negative", "huge", "text", "before the file", "another type", "a list", "deep"],
)
def test_tensors_with_a_header_that_lies(write: Write, header: object) -> None:
    with pytest.raises(DataError, match=r"a\.safetensors: not a sound safetensors file"):
        map_tensors(write("a.safetensors", tensors(header)))


@pytest.mark.parametrize("header", ["-" * 9000, "[" * 90, "{'descr': 3}", "{'descr': '<f4'"])
def test_arrays_with_a_header_that_is_no_header(write: Write, header: str) -> None:
    text = header.ljust(9100).encode()
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    with pytest.raises(DataError, match=r"a\.npy: not an array file"):
        open_array(write("a.npy", start + text))


def test_keys_of_thousands_of_digits_are_in_the_order_of_numbers() -> None:
    keys = ["10", DIGITS, "9", "007", "7", "0"]
    assert number_keys(pa.chunked_array([keys]))[1] == ["0", "007", "7", "9", "10", DIGITS]


def test_a_whole_id_of_thousands_of_digits_is_named_with_its_line(write: Write) -> None:
    write("ml/ratings.csv", f"userId,movieId,rating,timestamp\n1,2,3,4\n1,{DIGITS},3,4\n")
    with pytest.raises(DataError, match=r"ratings\.csv:3: movieId is '999.*a whole number"):
        prepared(write("ml/x", "").parent, "ml-20m")


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"movieId": 2, "title": "\\ud800"}',
        '{"movieId": 2, "title": "", "poster": 5}',
    ],
    ids=["deep", "half a character", "no path"],
)
def test_items_that_no_table_can_hold(write: Write, line: str) -> None:
    write("ml/ratings.dat", "1::2::5::100\n")
    with pytest.raises(DataError, match=r"items\.jsonl:1: not an item object"):
        prepared(write("ml/items.jsonl", line).parent, "ml-1m")


def test_a_table_with_damaged_pages(write: Write) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"user": ["a"] * 99, "item": ["b"] * 99, "time": range(99)}), out)
    sound = out.getvalue()
    refused = 0
    for at in range(4, len(sound) - 8, 7):
        damaged = sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :]
        path = write("a.parquet", damaged)
        try:
            read_table(Source(path), COLUMNS)
        except DataError as error:
            refused += 1
            assert "a.parquet" in str(error)
    assert refused > 20


def test_text_of_a_table_that_is_no_text(write: Write) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    out = io.BytesIO()
    pq.write_table(pa.table({"user": bad, "item": ["b"], "time": [1]}), out)
    with pytest.raises(DataError, match=r"a\.parquet: not a sound Parquet file .*UTF8"):
        prepared(write("a.parquet", out.getvalue()), "parquet", columns=COLUMNS)


def archive(kind: int, name: str = "ratings.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as written:
        written.writestr(name, "userId,movieId,rating,timestamp\n" + "1,2,3,4\n" * 50)
    return out.getvalue()


def test_a_damaged_member_by_lzma(write: Write) -> None:
    content = bytearray(archive(zipfile.ZIP_LZMA))
    content[60] ^= 0xFF
    with pytest.raises(lzma.LZMAError):
        zipfile.ZipFile(io.BytesIO(content)).read("ratings.csv")
    with pytest.raises(DataError, match=r"a\.zip:ratings\.csv: the file is damaged"):
        prepared(write("a.zip", bytes(content)), "ml-20m")


def test_a_member_whose_place_is_not_where_it_should_be(write: Write) -> None:
    content = bytearray(archive(zipfile.ZIP_STORED))
    content[0] ^= 0xFF
    with pytest.raises(DataError, match=r"a\.zip:ratings\.csv: cannot be opened"):
        prepared(write("a.zip", bytes(content)), "ml-20m")


@pytest.mark.parametrize("name", ["../ratings.csv", "/ratings.csv", "a/../../b", "C:/b", "a\\b"])
def test_members_that_lead_out_of_the_archive(write: Write, name: str) -> None:
    content = archive(zipfile.ZIP_STORED, name="x" * len(name)).replace(
        b"x" * len(name), name.encode()
    )
    with pytest.raises(DataError, match=r"a\.zip: the archive holds an unsafe path"):
        Source(write("a.zip", content))


def test_a_name_that_is_too_long_for_a_file(tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(DataError, match="no such file or folder"):
            Source(tmp_path / name)


def test_a_pipe_does_not_hold_anybody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(DataError, match=r"a\.npy: not an array file \(a pipe, expected a file\)"):
        open_array(tmp_path / "a.npy")
    with pytest.raises(ConfigError, match=r"a\.toml: cannot be read: it is a pipe"):
        load_config(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = " + "[" * 50_000, "nested too deep"),
        ("seed = " + DIGITS, "not valid TOML"),
        (".".join("a" * 5000) + " = 1", "unknown key"),
        (f"[federation]\ntau = {'9' * 400}", "expected float, got int"),
        ("x" * 300_000 + " = 1", "unknown key"),
        ("[model]\ndim = 0", r"a\.toml: model\.dim = 0"),
    ],
    ids=["deep", "digits", "tables in tables", "too large", "a long key", "a bad value"],
)
def test_configurations(write: Write, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(write("a.toml", content))
    assert "a.toml" in str(raised.value) and len(str(raised.value)) < 1000


def test_an_override_is_one_value() -> None:
    with pytest.raises(ConfigError, match="expected one value in one line"):
        load_config(None, ["run.seed=1\nout=2"])
