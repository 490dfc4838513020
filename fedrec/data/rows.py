"""Text files row by row, with line numbers: for small files, and to find where a big one is bad."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from fedrec.data.archive import Source
from fedrec.errors import DataError

_UNIT_SEPARATOR = "\x1f"  # stands in for a delimiter of more than one character


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """How a text file separates its fields.

    header: the column names, for a file whose first line is data already.
    """

    delimiter: str = ","
    quoted: bool = True
    encoding: str = "utf-8"
    header: tuple[str, ...] | None = None

    @property
    def separator(self) -> str:
        """The delimiter as one character."""
        return self.delimiter if len(self.delimiter) == 1 else _UNIT_SEPARATOR

    def single_character(self, stream: BinaryIO) -> BinaryIO:
        """The same bytes with `separator` for the delimiter."""
        if len(self.delimiter) == 1:
            return stream
        replaced = stream.read().replace(self.delimiter.encode(), self.separator.encode())
        return io.BytesIO(replaced)


COMMA = Dialect()


def read_rows(source: Source, name: str, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of every row that is not blank, the header line included.

    Raises DataError with the line for bytes that are not text and for broken quoting.
    """
    label = source.label(name)
    with source.open(name) as stream:
        lines = _decoded(dialect.single_character(stream), dialect.encoding, label)
        reader = csv.reader(
            lines,
            delimiter=dialect.separator,
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        )
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{label}:{line}: {error}") from error


def read_records(
    source: Source, name: str, dialect: Dialect, needed: tuple[str, ...]
) -> Iterator[Mapping[str, str]]:
    """The rows of a file as column name -> value.

    Raises DataError for a column of `needed` that the file lacks and for a wrong number of fields.
    """
    rows = read_rows(source, name, dialect)
    header = list(dialect.header) if dialect.header else next(rows, (0, []))[1]
    check_columns(source.label(name), header, needed)
    for line, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{source.label(name)}:{line}: {field_count_fault(fields, header)}")
        yield dict(zip(header, fields, strict=True))


def check_columns(label: str, header: list[str], needed: tuple[str, ...]) -> None:
    """Raises DataError unless `header` has each column of `needed` exactly once."""
    if not header:
        raise DataError(f"{label}: the file is empty")
    for column in needed:
        if header.count(column) != 1:
            trouble = "no column" if column not in header else "more than one column"
            raise DataError(f"{label}:1: {trouble} {column!r}; columns: {', '.join(header)}")


def field_count_fault(fields: list[str], header: list[str]) -> str:
    """The message for a row with too few or too many fields."""
    return f"{len(fields)} fields, expected {len(header)} ({', '.join(header)})"


def _decoded(stream: BinaryIO, encoding: str, label: str) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            raise DataError(f"{label}:{number}: not {encoding} text ({error.reason})") from error
        yield text.removeprefix("\ufeff") if number == 1 else text
