"""Arrays of features that were made elsewhere, the keys of their rows, and what is told of them."""

from __future__ import annotations

import tokenize
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.archive import Source
from fedrec.data.json_files import read_json_value
from fedrec.data.plain_files import check_plain
from fedrec.data.rows import COMMA, check_columns, read_rows
from fedrec.errors import DataError

IMPORTED = "imported"  # the encoder of features that come without a word about theirs
KEY_COLUMNS = ("item", "key")
MOVIELENS_COLUMN = "movieId"
# What `fedrec extract` and imports note to know their own files again.
_FILES_OWN = ("recipe_sha256", "faults", "first_frames", "imported")
_WIDTHS_BYTES = (2, 4, 8)
# What numpy raises over a header: it is Python's text, and read as such, but not run.
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip


def open_array(path: Path) -> NDArray[np.floating[Any]]:
    """A .npy file as a read-only, memory mapped array: float16, float32 or float64 [rows, dim].

    Raises DataError for a file that is missing, empty or truncated, and for anything but numbers
    with a fraction in rows and columns. Nothing is unpickled.
    """
    try:
        check_plain(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a header as Python 2 wrote it
            values = np.lib.format.open_memmap(path, mode="r")
    except _UNREADABLE as error:
        raise DataError(f"{path}: not an array file ({error})") from error
    if values.dtype.kind != "f" or values.dtype.itemsize not in _WIDTHS_BYTES:
        raise DataError(
            f"{path}: holds {values.dtype}, expected features as float16, float32 or float64"
        )
    if values.ndim != 2 or not values.size:
        raise DataError(f"{path}: an array {list(values.shape)}, expected [rows, dim]")
    return values


def read_index(path: Path, num_rows: int, columns: tuple[str, ...] = ()) -> list[str]:
    """The key of every row, from a CSV file with the columns row and key, in this order.

    columns: what the second column may be called; none: anything.
    Raises DataError with the line for rows and keys that come twice or cannot be, and unless every
    row has its line.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an index with the columns row and key")
    rows = read_rows(Source(path.parent), path.name, COMMA)
    _check_header(path, next(rows, (0, []))[1], columns)
    keys: dict[int, str] = {}
    line_of: dict[int | str, int] = {}
    for line, fields in rows:
        row, key = _row_and_key(f"{path}:{line}", fields, num_rows)
        for name, known in (("row", row), ("key", key)):
            if known in line_of:
                raise DataError(f"{path}:{line}: {name} {known!r} was in line {line_of[known]}")
            line_of[known] = line
        keys[row] = key
    if len(keys) != num_rows:
        missing = next(row for row in range(num_rows) if row not in keys)
        raise DataError(f"{path}: keys for {len(keys)} of {num_rows} rows; row {missing} has none")
    return [keys[row] for row in range(num_rows)]


def described(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """What is `known` of the features in `path`, and what the .json file beside them says."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return dict(known)
    try:
        told = read_json_value(beside)
        return {key: value for key, value in {**known, **told}.items() if key not in _FILES_OWN}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{beside}: cannot be read ({error})") from error


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    check_columns(str(path), header, ("row",))
    if len(header) != 2 or header[0] != "row" or (columns and header[1] not in columns):
        raise DataError(
            f"{path}:1: the columns are {', '.join(header)}, expected row and "
            f"{' or '.join(columns) or 'a key'}"
        )


def _row_and_key(place: str, fields: list[str], num_rows: int) -> tuple[int, str]:
    text = fields[0]
    whole = text.isascii() and text.isdigit() and len(text) < 19
    if not whole or int(text) >= num_rows or len(fields) != 2 or not fields[1]:
        raise DataError(f"{place}: {','.join(fields)!r}, expected a row below {num_rows} and a key")
    return int(text), fields[1]
