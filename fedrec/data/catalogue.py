"""What is known about items: titles, genres, texts for an encoder, posters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedrec.data.arrow import pa
from fedrec.errors import DataError

COLUMNS = ("title", "text", "genres", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item of a source.

    key: the publisher's id. text: what an encoder reads. image: relative path of its picture.
    feature_key: the id under which feature files know it, None where it has none there.
    further: columns of the source that are passed on.
    """

    key: str
    title: str = ""
    text: str = ""
    genres: tuple[str, ...] = ()
    image: str | None = None
    feature_key: str | None = None
    further: Mapping[str, str | None] = field(default_factory=dict)


Catalogue = Mapping[str, Item]


def catalogue_of(items: Iterable[Item], label: str) -> Catalogue:
    """Items by key. Raises DataError for a key that comes twice; `label` names the file."""
    catalogue: dict[str, Item] = {}
    for item in items:
        if item.key in catalogue:
            raise DataError(f"{label}: item {item.key!r} comes twice")
        catalogue[item.key] = item
    return catalogue


def compose_text(
    title: str, genres: Iterable[str] = (), plot: str = "", tags: Iterable[str] = ()
) -> str:
    """`Title. Genre, genre. Plot. Tags: tag, tag.`, without the parts that are empty."""
    listed = ", ".join(tags)
    parts = (title, ", ".join(genres), plot, f"Tags: {listed}" if listed else "")
    sentences = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in sentences)


def items_table(keys: list[str], catalogue: Catalogue, *, first: int = 1) -> Any:
    """The content of items.parquet: one row an item of `keys`, numbered from `first`.

    An item that the catalogue does not have gets empty texts and no picture.
    """
    rows = [catalogue.get(key) or Item(key=key) for key in keys]
    further = sorted({name for row in rows for name in row.further} - {"item", "key", *COLUMNS})
    columns = {
        "item": pa.array(range(first, first + len(keys)), pa.int32()),
        "key": pa.array(keys, pa.string()),
        "title": pa.array([row.title for row in rows], pa.string()),
        "text": pa.array([row.text for row in rows], pa.string()),
        "genres": pa.array(["|".join(row.genres) for row in rows], pa.string()),
        "image": pa.array([row.image for row in rows], pa.string()),
    }
    for name in further:
        columns[name] = pa.array([row.further.get(name) for row in rows], pa.string())
    return pa.table(columns)
