"""RecBole's atomic files: tab-separated, with `name:type` in the header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fedrec.data.archive import Source
from fedrec.data.catalogue import Catalogue, Item, catalogue_of, compose_text
from fedrec.data.delimited import Layout, file_header, read_delimited
from fedrec.data.interactions import Interactions
from fedrec.data.raw import Columns, RawData
from fedrec.data.rows import Dialect, read_records
from fedrec.errors import DataError

TABS = Dialect(delimiter="\t", quoted=False)
TITLES = ("title", "movie_title", "item_name", "name", "product_title")
GENRES = ("genres", "genre", "class", "categories", "category")
PLOTS = ("plot", "description", "text", "abstract")
YEARS = ("release_year", "year")


def read_recbole(source: Source, columns: Columns) -> RawData:
    """An .inter file, or a folder or archive with one; and the .item file beside it, if any.

    Raises DataError for none or several .inter files, and for malformed rows.
    """
    if columns.items:
        raise DataError(f"{source.path}: RecBole keeps items in an .item file; name no other")
    name = only_inter(source)
    item_file = source.find(name.removesuffix(".gz").removesuffix(".inter") + ".item")
    return RawData(
        interactions=read_inter(source, name, columns),
        catalogue=read_item_file(source, item_file, columns) if item_file else {},
    )


def only_inter(source: Source) -> str:
    """The .inter file that was chosen, or that is alone. Raises DataError for none or several."""
    found = [source.chosen] if source.chosen else source.names(".inter")
    if len(found) != 1:
        raise DataError(
            f"{source.path}: {len(found)} .inter files ({', '.join(found) or 'none'}), expected 1"
        )
    return source.require(found[0])


def read_inter(source: Source, name: str, columns: Columns) -> Interactions:
    """user_id, item_id and timestamp of an .inter file, or the columns named instead of them."""
    typed = _typed_names(source, name)
    time = columns.position or columns.time or "timestamp"
    if time not in typed:
        raise DataError(
            f"{source.label(name)}:1: no column {time!r} to order by; name one that holds a time "
            f"or a position; columns: {', '.join(typed)}"
        )
    layout = Layout(
        user=typed.get(columns.user or "user_id", columns.user or "user_id"),
        item=typed.get(columns.item or "item_id", columns.item or "item_id"),
        time=typed[time],
        positional=columns.position is not None,
        dialect=TABS,
    )
    return read_delimited(source, name, layout)


def read_item_file(source: Source, name: str, columns: Columns) -> Catalogue:
    """Titles, genres and texts of an .item file; columns without a role are passed on."""
    typed = _typed_names(source, name)
    key = columns.item or "item_id"
    dialect = replace(TABS, header=tuple(typed))
    roles = [next((c for c in names if c in typed), None) for names in (TITLES, GENRES, PLOTS)]
    year = next((column for column in YEARS if column in typed), None)
    used = {key, *roles}

    def items() -> Iterator[Item]:
        records = read_records(source, name, dialect, (key,))
        next(records, None)  # the header line, with its types
        for row in records:
            title, genres, plot = (row[role].strip() if role else "" for role in roles)
            if year and title and row[year].strip():
                title = f"{title} ({row[year].strip()})"
            separate = tuple(genres.split())
            yield Item(
                key=row[key],
                title=title,
                genres=separate,
                text=compose_text(title, separate, plot),
                feature_key=row[key],
                further={column: row[column] for column in typed if column not in used},
            )

    return catalogue_of(items(), source.label(name))


def _typed_names(source: Source, name: str) -> dict[str, str]:
    """Column name -> the header's `name:type`."""
    return {typed.split(":")[0]: typed for typed in file_header(source, name, TABS)}
