"""MMRec's data sets: a split .inter file, and arrays of features whose row i is of itemID i."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fedrec.data.archive import Source
from fedrec.data.arrays import IMPORTED, described, open_array
from fedrec.data.arrow import pc
from fedrec.data.catalogue import Catalogue, Item, catalogue_of
from fedrec.data.delimited import Layout, file_header, read_delimited
from fedrec.data.interactions import Interactions
from fedrec.data.joining import KeyedFeatures, keyed_features
from fedrec.data.raw import Columns, RawData
from fedrec.data.recbole import TABS, only_inter
from fedrec.data.rows import COMMA, read_records
from fedrec.data.table import read_items
from fedrec.errors import DataError

USER, ITEM, TIME, LABEL = "userID", "itemID", "timestamp", "x_label"
ITEM_NAMES = "i_id_mapping.csv"
ARRAYS = {"image": "image_feat.npy", "text": "text_feat.npy"}


def read_mmrec(source: Source, columns: Columns) -> RawData:
    """A folder with NAME.inter, and i_id_mapping.csv where it has one. Its labels are the split.

    Without a column of times the order of the file counts. Raises DataError for malformed rows,
    and for arrays of features that are too short for the items.
    """
    if source.path.is_file():
        raise DataError(f"{source.path}: unpack the archive and name the folder; arrays are mapped")
    name = only_inter(source)
    header = file_header(source, name, TABS)
    time = columns.position or columns.time or (TIME if TIME in header else None)
    layout = Layout(
        user=columns.user or USER,
        item=columns.item or ITEM,
        time=time,
        label=LABEL,
        whole_ids=True,
        first_id=0,
        positional=columns.position is not None,
        dialect=TABS,
    )
    interactions = read_delimited(source, name, layout)
    return RawData(
        interactions=interactions,
        catalogue=_catalogue(source, columns, layout.item),
        notes=tuple(_array_notes(source.path, interactions, source.label(name))),
    )


def find_mmrec_features(place: Path) -> Mapping[str, KeyedFeatures]:
    """The features in a folder of MMRec's, or in the folder of its .inter file, by itemID.

    A modality without its file is none. Raises DataError for arrays that are not sound.
    """
    folder = place if place.is_dir() else place.parent
    found: dict[str, KeyedFeatures] = {}
    for modality, name in ARRAYS.items():
        path = folder / name
        if path.is_file():
            values = open_array(path)
            keys = [str(row) for row in range(len(values))]
            manifest = described(path, {"encoder": IMPORTED})
            found[modality] = keyed_features(modality, values, keys, manifest, (path,))
    return found


def _array_notes(folder: Path, interactions: Interactions, label: str) -> Iterator[str]:
    """What to say of rows without an item. Raises DataError for items without a row."""
    highest = pc.max(interactions.items).as_py()
    for name in ARRAYS.values():
        path = folder / name
        rows = len(open_array(path)) if path.is_file() else highest + 1
        if rows <= highest:
            raise DataError(
                f"{path}: {rows} rows, but {ITEM} goes up to {highest} in {label}; expected "
                f"{highest + 1} or more, row i for item i"
            )
        if rows > highest + 1:
            spare = rows - highest - 1
            yield f"{name}: {spare} of {rows} rows unused, from row {highest + 1}: no such {ITEM}"


def _catalogue(source: Source, columns: Columns, item: str) -> Catalogue:
    """The items of the file that `columns` names, and their publisher's ids."""
    named = read_items(columns.items, item) if columns.items else {}
    listed = _item_names(source, item)
    return {
        **listed,
        **{
            key: replace(entry, further={**listed[key].further, **entry.further})
            if key in listed
            else entry
            for key, entry in named.items()
        },
    }


def _item_names(source: Source, item: str) -> Catalogue:
    name = source.find(ITEM_NAMES)
    if name is None:
        return {}
    # MMRec separates this file by tabs, whatever its suffix says
    dialect = TABS if any("\t" in column for column in file_header(source, name, COMMA)) else COMMA
    records = read_records(source, name, dialect, (item,))
    items = (
        Item(key=row[item], feature_key=row[item], further={k: row[k] for k in row if k != item})
        for row in records
    )
    return catalogue_of(items, source.label(name))
