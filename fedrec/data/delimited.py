"""Interactions from delimited text: fast for a sound file, exact about the line of a bad one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.archive import Source
from fedrec.data.arrow import pa, pacsv, pc
from fedrec.data.faults import row_check
from fedrec.data.interactions import Interactions, parse_times
from fedrec.data.rows import COMMA, Dialect, check_columns, read_rows
from fedrec.data.split import LABELS
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a delimited file keeps the three things that make an interaction.

    user, item, time: column names; time None: the order of the file. label: the column of the
    publisher's split, if it is to be read. whole_ids: users and items are whole numbers from
    `first_id`, as in MovieLens; otherwise any text that is not empty. positional: see
    `Interactions`.
    """

    user: str
    item: str
    time: str | None
    label: str | None = None
    whole_ids: bool = False
    first_id: int = 1
    positional: bool = False
    dialect: Dialect = COMMA

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns):
            named = ", ".join(repr(column) for column in self.columns)
            raise DataError(
                f"user, item{', time' if self.time else ''}{', label' if self.label else ''} are "
                f"the columns {named}, expected {len(self.columns)} different ones"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read: user, item, and time and label where there are such."""
        return tuple(
            name for name in (self.user, self.item, self.time, self.label) if name is not None
        )


def read_delimited(source: Source, name: str, layout: Layout) -> Interactions:
    """Read one file. Raises DataError with the line, the value and what was expected."""
    header = file_header(source, name, layout.dialect)
    check_columns(source.label(name), header, layout.columns)
    try:
        table = _parse(source, name, header, layout)
        times, unit = _times(table, layout)
        users, items = (_sound_keys(table[key], layout) for key in (layout.user, layout.item))
        labels = None if layout.label is None else _sound_labels(table[layout.label])
    except (pa.ArrowException, UnicodeDecodeError, OverflowError, DataError) as error:
        _raise_first_fault(source, name, header, layout)
        raise DataError(f"{source.label(name)}: {error}") from error
    if not len(times):
        raise DataError(f"{source.label(name)}: no interactions in it")
    return Interactions(
        users=users,
        items=items,
        times=times,
        unit=unit,
        positional=layout.positional or layout.time is None,
        labels=labels,
    )


def file_header(source: Source, name: str, dialect: Dialect) -> list[str]:
    """The column names of a delimited file; empty for an empty file."""
    return (
        list(dialect.header)
        if dialect.header
        else next(read_rows(source, name, dialect), (0, []))[1]
    )


def _parse(source: Source, name: str, header: list[str], layout: Layout) -> Any:
    """The columns of the layout; times stay text where they are not whole numbers."""
    try:
        return _parse_as(source, name, header, layout, pa.int64())
    except pa.ArrowException:
        return _parse_as(source, name, header, layout, pa.string())


def _parse_as(source: Source, name: str, header: list[str], layout: Layout, time: Any) -> Any:
    key = pa.int64() if layout.whole_ids else pa.dictionary(pa.int32(), pa.string())
    types = {layout.user: key, layout.item: key, layout.time: time, layout.label: pa.int64()}
    dialect = layout.dialect
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
                include_columns=layout.columns,
                column_types={column: types[column] for column in layout.columns},
            ),
        )


def _times(table: Any, layout: Layout) -> tuple[NDArray[np.int64] | NDArray[np.float64], int]:
    if layout.time is None:
        return np.arange(table.num_rows, dtype=np.int64), 1
    return parse_times(table[layout.time])


def _sound_labels(column: Any) -> NDArray[np.uint8]:
    if column.null_count:
        raise DataError("some labels are missing")
    labels: NDArray[np.int64] = column.to_numpy()
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(LABELS):
        raise DataError(f"labels from {labels.min()} to {labels.max()}, expected 0, 1 and 2")
    return labels.astype(np.uint8)


def _sound_keys(column: Any, layout: Layout) -> Any:
    if column.null_count:
        raise DataError("some users or items are missing")
    if pa.types.is_integer(column.type):
        if len(column) and pc.min(column).as_py() < layout.first_id:
            raise DataError(f"some users or items are below {layout.first_id}")
    elif pc.any(pc.equal(column.cast(pa.string()), "")).as_py():
        raise DataError("some users or items are empty")
    return column


def _raise_first_fault(source: Source, name: str, header: list[str], layout: Layout) -> None:
    """A slow second reading that knows lines; returns where it finds nothing wrong."""
    check = row_check(
        header,
        keys=(layout.user, layout.item),
        time=layout.time,
        label=layout.label,
        first_id=layout.first_id if layout.whole_ids else None,
    )
    rows = read_rows(source, name, layout.dialect)
    if not layout.dialect.header:
        next(rows, None)
    for line, fields in rows:
        fault = check(fields)
        if fault:
            raise DataError(f"{source.label(name)}:{line}: {fault}")
