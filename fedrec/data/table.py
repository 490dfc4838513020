"""Interactions and items from any CSV, TSV or Parquet file with named columns, gzipped or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedrec.data.archive import Source
from fedrec.data.arrow import pa, pc, pq
from fedrec.data.catalogue import COLUMNS, Catalogue, Item, catalogue_of, compose_text
from fedrec.data.delimited import Layout, read_delimited
from fedrec.data.interactions import Interactions, parse_times
from fedrec.data.raw import Columns, RawData
from fedrec.data.rows import Dialect, read_records
from fedrec.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": ","}


def read_table(source: Source, columns: Columns) -> RawData:
    """One file of interactions, and the file of items that `columns` names.

    Raises DataError where no column orders the interactions, and for malformed files with the line
    (Parquet: the row).
    """
    if source.chosen is None:
        raise DataError(f"{source.path}: give the file of interactions itself, .csv or .parquet")
    user, item = columns.user or "user", columns.item or "item"
    time = columns.position or columns.time
    if time is None:
        raise DataError(
            f"{source.label(source.chosen)}: nothing says in which order the interactions "
            "happened; name the column of the time or of the position (--time-column or "
            "--position-column)"
        )
    layout = Layout(user=user, item=item, time=time, positional=columns.position is not None)
    interactions = read_interactions(source, source.chosen, layout)
    catalogue = read_items(columns.items, item) if columns.items else {}
    return RawData(interactions=interactions, catalogue=catalogue)


def read_interactions(source: Source, name: str, layout: Layout) -> Interactions:
    """Read a file by its suffix. Raises DataError for a suffix nobody reads."""
    suffix = _suffix(name)
    if suffix == ".parquet":
        return _read_parquet(source, name, layout)
    if suffix not in DELIMITERS:
        allowed = ", ".join((*DELIMITERS, ".parquet"))
        raise DataError(
            f"{source.label(name)}: suffix {suffix!r}, expected {allowed} (or with .gz)"
        )
    dialect = Dialect(delimiter=DELIMITERS[suffix])
    return read_delimited(source, name, replace(layout, dialect=dialect))


def read_items(path: Path, key: str) -> Catalogue:
    """A file that describes items: column `key`, and title, text, genres, image where it has them.

    Further columns are passed on as text. Raises DataError for a missing key column and for keys
    that are empty or come twice.
    """
    source = Source(path)
    if source.chosen is None:
        raise DataError(f"{path}: give the file of items itself, .csv or .parquet")
    label = source.label(source.chosen)
    return catalogue_of(map(_item_maker(key, label), records(source, source.chosen, key)), label)


def _item_maker(key: str, label: str) -> Any:
    def item_of(row: Mapping[str, str | None]) -> Item:
        name = row[key]
        if not name:
            raise DataError(f"{label}: an item has no {key}")
        title, genres = row.get("title") or "", row.get("genres") or ""
        separate = tuple(genre for genre in genres.split("|") if genre)
        return Item(
            key=name,
            title=title,
            genres=separate,
            text=row.get("text") or compose_text(title, separate),
            image=row.get("image") or None,
            feature_key=name,
            further={name: row[name] for name in row if name not in (key, *COLUMNS)},
        )

    return item_of


def records(source: Source, name: str, key: str) -> Iterator[Mapping[str, str | None]]:
    """The rows of a file as text by column. Raises DataError where there is no column `key`."""
    if _suffix(name) != ".parquet":
        dialect = Dialect(delimiter=DELIMITERS.get(_suffix(name), ","))
        yield from read_records(source, name, dialect, (key,))
        return
    table = _parquet_columns(source, name, None)
    if key not in table.column_names:
        raise _no_column(source.label(name), key, table.column_names)
    try:
        rows = _in_microseconds(table).to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError(f"{source.label(name)}: holds what has no text ({error})") from error
    for row in rows:
        yield {column: None if value is None else str(value) for column, value in row.items()}


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Times of nanoseconds cut to what Python's own have; alike with and without pandas."""
    for place, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            shorter = table[column.name].cast(pa.timestamp("us", kind.tz), safe=False)
            table = table.set_column(place, column.name, shorter)
    return table


def _read_parquet(source: Source, name: str, layout: Layout) -> Interactions:
    label = source.label(name)
    table = _parquet_columns(source, name, list(layout.columns))
    if not table.num_rows:
        raise DataError(f"{label}: no interactions in it")
    for column in table.column_names:
        if table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py() + 1
            raise DataError(f"{label}: row {row}: {column} is missing")
    try:
        times, unit = parse_times(table[layout.time])
        users, items = (_keys(table[column], column) for column in (layout.user, layout.item))
    except (DataError, pa.ArrowException) as error:
        raise DataError(f"{label}: {error}") from error
    return Interactions(
        users=users, items=items, times=times, unit=unit, positional=layout.positional
    )


def _keys(column: Any, name: str) -> Any:
    """Whole numbers or text that is not empty, as int64 or dictionary-encoded strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(f"{name} is of type {column.type}, expected whole numbers or text")
    empty = pc.index(pc.equal(column, ""), True).as_py()
    if empty >= 0:
        raise DataError(f"{name} is empty in row {empty + 1}, expected a name")
    return column.cast(pa.string()).dictionary_encode()


def _parquet_columns(source: Source, name: str, columns: list[str] | None) -> Any:
    label = source.label(name)
    with source.open(name) as stream:
        try:
            file = pq.ParquetFile(pa.BufferReader(stream.read()) if _zipped(name) else stream)
            for column in columns or ():
                if column not in file.schema_arrow.names:
                    raise _no_column(label, column, file.schema_arrow.names)
            table = file.read(columns=columns)
            table.validate(full=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{label}: not a sound Parquet file ({error})") from error
    return table


def _no_column(label: str, column: str, names: list[str]) -> DataError:
    return DataError(f"{label}: no column {column!r}; columns: {', '.join(names)}")


def _zipped(name: str) -> bool:
    return name.endswith(".gz")


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()
