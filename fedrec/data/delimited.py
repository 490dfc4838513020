"""Interactions from delimited text: fast for a sound file, exact about the line of a bad one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedrec.data.archive import Source
from fedrec.data.arrow import pa, pacsv, pc
from fedrec.data.faults import row_check
from fedrec.data.interactions import Interactions, parse_times
from fedrec.data.rows import COMMA, Dialect, check_columns, read_rows
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a delimited file keeps the three things that make an interaction.

    user, item, time: column names. whole_ids: users and items are whole numbers from 1, as in
    MovieLens; otherwise any text that is not empty. positional: see `Interactions`.
    """

    user: str
    item: str
    time: str
    whole_ids: bool = False
    positional: bool = False
    dialect: Dialect = COMMA

    def __post_init__(self) -> None:
        if len({self.user, self.item, self.time}) < 3:
            raise DataError(
                f"user, item and time are the columns {self.user!r}, {self.item!r} and "
                f"{self.time!r}, expected three different ones"
            )


def read_delimited(source: Source, name: str, layout: Layout) -> Interactions:
    """Read one file. Raises DataError with the line, the value and what was expected."""
    header = file_header(source, name, layout.dialect)
    check_columns(source.label(name), header, (layout.user, layout.item, layout.time))
    try:
        table = _parse(source, name, header, layout)
        times, unit = parse_times(table[layout.time])
        users, items = (_sound_keys(table[column]) for column in (layout.user, layout.item))
    except (pa.ArrowInvalid, DataError) as error:
        _raise_first_fault(source, name, header, layout)
        raise DataError(f"{source.label(name)}: {error}") from error
    if not len(times):
        raise DataError(f"{source.label(name)}: no interactions in it")
    return Interactions(
        users=users, items=items, times=times, unit=unit, positional=layout.positional
    )


def file_header(source: Source, name: str, dialect: Dialect) -> list[str]:
    """The column names of a delimited file; empty for an empty file."""
    return (
        list(dialect.header)
        if dialect.header
        else next(read_rows(source, name, dialect), (0, []))[1]
    )


def _parse(source: Source, name: str, header: list[str], layout: Layout) -> Any:
    """The three columns; times stay text where they are not whole numbers."""
    try:
        return _parse_as(source, name, header, layout, pa.int64())
    except pa.ArrowInvalid:
        return _parse_as(source, name, header, layout, pa.string())


def _parse_as(source: Source, name: str, header: list[str], layout: Layout, time: Any) -> Any:
    key = pa.int64() if layout.whole_ids else pa.dictionary(pa.int32(), pa.string())
    dialect = layout.dialect
    wanted = [layout.user, layout.item, layout.time]
    with source.open(name) as stream:
        return pacsv.read_csv(
            dialect.single_character(stream),
            read_options=pacsv.ReadOptions(
                column_names=header, skip_rows=0 if dialect.header else 1, encoding=dialect.encoding
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=dialect.separator,
                quote_char='"' if dialect.quoted else False,
                newlines_in_values=dialect.quoted and not layout.whole_ids,
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted,
                column_types=dict(zip(wanted, (key, key, time), strict=True)),
            ),
        )


def _sound_keys(column: Any) -> Any:
    if column.null_count:
        raise DataError("some users or items are missing")
    if pa.types.is_integer(column.type):
        if len(column) and pc.min(column).as_py() < 1:
            raise DataError("some users or items are below 1")
    elif pc.any(pc.equal(column.cast(pa.string()), "")).as_py():
        raise DataError("some users or items are empty")
    return column


def _raise_first_fault(source: Source, name: str, header: list[str], layout: Layout) -> None:
    """A slow second reading that knows lines; returns where it finds nothing wrong."""
    check = row_check(
        header, user=layout.user, item=layout.item, time=layout.time, whole_ids=layout.whole_ids
    )
    rows = read_rows(source, name, layout.dialect)
    if not layout.dialect.header:
        next(rows, None)
    for line, fields in rows:
        fault = check(fields)
        if fault:
            raise DataError(f"{source.label(name)}:{line}: {fault}")
