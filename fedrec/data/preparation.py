"""From a publisher's files to a prepared folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from fedrec.data.arrow import pa
from fedrec.data.atomic import new_folder
from fedrec.data.catalogue import Catalogue, items_table
from fedrec.data.existing import already_prepared
from fedrec.data.features import write_features
from fedrec.data.filtering import k_core
from fedrec.data.folder import INTERACTIONS, ITEMS, USERS
from fedrec.data.histories import Histories, offsets_of, write_histories
from fedrec.data.joining import KeyedFeatures
from fedrec.data.ordering import REPEATS, Ordered, kept_repeats, order
from fedrec.data.origin import Origin, find_origin
from fedrec.data.raw import NO_COLUMNS, Columns, RawData
from fedrec.data.registry import Dataset, dataset_named
from fedrec.data.settings import Settings
from fedrec.data.split import (
    TEST_QUANTILE,
    VALIDATION_QUANTILE,
    SplitRule,
    hold_out,
    quantile_times,
)
from fedrec.data.writing import (
    split_content,
    split_notes,
    write_manifest,
    write_split,
    write_table,
)
from fedrec.errors import DataError


def prepare(
    name: str,
    *,
    source: Path | None = None,
    out: Path,
    min_interactions: int | None = None,
    split: str | None = None,
    validation_quantile: float = VALIDATION_QUANTILE,
    test_quantile: float = TEST_QUANTILE,
    validation_time: int | None = None,
    test_time: int | None = None,
    features: Path | None = None,
    require_image: bool | None = None,
    repeats: str = REPEATS[0],
    columns: Columns = NO_COLUMNS,
    cache: Path | None = None,
    force: bool = False,
    progress: bool = False,
) -> Path:
    """Write the prepared folder `out` of the data set `name`, whole or not at all.

    source: the publisher's archive or folder, or a file; None: the built-in copy or a download
    into `cache`. features: a folder of keyed feature files. Where min_interactions, split or
    require_image is None the data set's own default holds. For the rest see `Settings`.
    Does nothing where `out` was made from the same files with the same settings; replaces another
    prepared folder only with `force`. Returns `out`. Raises DataError.
    """
    dataset = dataset_named(name)
    if columns != NO_COLUMNS and not dataset.is_format:
        raise DataError(f"{name} fixes its own columns and items; name none")
    settings = Settings(
        dataset=name,
        min_interactions=(
            dataset.min_interactions if min_interactions is None else min_interactions
        ),
        split=dataset.split if split is None else split,
        validation_quantile=validation_quantile,
        test_quantile=test_quantile,
        validation_time=validation_time,
        test_time=test_time,
        require_image=dataset.require_image if require_image is None else require_image,
        repeats=repeats,
        columns=columns,
    )
    if already_prepared(out, settings, dataset, source=source, features=features, force=force):
        if progress:
            typer.echo(f"{out} was made from the same files with the same settings; nothing to do")
        return out
    origin = find_origin(
        dataset, name, source=source, features=features, cache=cache, progress=progress
    )
    _build(out, dataset, settings, origin, overwrite=force)
    return out


def _build(
    out: Path, dataset: Dataset, settings: Settings, origin: Origin, *, overwrite: bool
) -> None:
    raw = dataset.reader(origin.source, settings.columns)
    data = select_interactions(raw, settings, origin.features)
    rule = _split_rule(data, settings, raw.interactions.positional)
    offsets = offsets_of(data.users, len(data.user_keys))
    held_out = hold_out(rule, offsets, data.times, data.labels)
    with new_folder(out, replace=overwrite) as folder:
        write_table(folder / INTERACTIONS, _interactions_table(data))
        write_table(folder / ITEMS, items_table(data.item_keys, _pictured(raw, dataset, origin)))
        write_table(folder / USERS, _users_table(data))
        write_histories(folder, Histories(offsets, data.items + np.int32(1), held_out))
        described = split_content(rule, held_out, data, raw.interactions.labels)
        write_split(folder, described)
        _write_joined(folder, origin, raw.feature_keys(data.item_keys))
        write_manifest(
            folder,
            name=out.resolve().name if dataset.is_format else settings.dataset,
            dataset=dataset,
            settings=settings,
            origin=origin,
            data=data,
            positional=raw.interactions.positional,
            notes=(*raw.notes, *split_notes(described)),
        )


def _write_joined(folder: Path, origin: Origin, keys: list[str | None]) -> None:
    for keyed in origin.features.values():
        values, present = keyed.join(keys)
        if present.any():
            write_features(folder, keyed.modality, values, present, keyed.manifest)
        elif origin.features_named:
            raise keyed.stranger(keys)


def _pictured(raw: RawData, dataset: Dataset, origin: Origin) -> Catalogue:
    """The catalogue with a path for every poster that a MovieLens source does not name itself."""
    if not dataset.movie_ids or "image" not in origin.features:
        return raw.catalogue
    known = origin.features["image"].row_of
    return {
        key: replace(item, image=f"posters/{item.feature_key}.jpg")
        if item.image is None and item.feature_key in known
        else item
        for key, item in raw.catalogue.items()
    }


def select_interactions(
    raw: RawData, settings: Settings, features: Mapping[str, KeyedFeatures]
) -> Ordered:
    """Sort, drop repeats, drop items without an image where asked, then the k-core.

    Raises DataError where nothing is left.
    """
    data = order(raw.interactions, labelled=settings.split == "given")
    data = data.select(kept_repeats(data, settings.repeats))
    if settings.require_image:
        if "image" not in features:
            raise DataError("items without an image are to be dropped, but no image features given")
        known = features["image"].row_of
        keys = raw.feature_keys(data.item_keys)
        pictured = np.array([key in known for key in keys], dtype=np.bool_)
        data = data.select(pictured[data.items])
    data = data.select(k_core(data.users, data.items, settings.min_interactions))
    if not len(data.users):
        raise DataError(
            f"no interactions are left: no users and items have {settings.min_interactions} of "
            "each other; choose a smaller min_interactions"
        )
    return data


def _split_rule(data: Ordered, settings: Settings, positional: bool) -> SplitRule:
    if settings.split != "global-time":
        return SplitRule(rule=settings.split)
    if positional:
        raise DataError(
            "a global-time split needs times; this source has positions, which cannot be compared "
            "between users"
        )
    if settings.validation_time is not None and settings.test_time is not None:
        times = settings.validation_time, settings.test_time
    else:
        times = quantile_times(data.times, settings.validation_quantile, settings.test_quantile)
    return SplitRule(rule=settings.split, validation_time=times[0], test_time=times[1])


def _interactions_table(data: Ordered) -> Any:
    columns = {
        "user": data.users,
        "item": data.items + np.int32(1),
        "timestamp": data.times,
    }
    return pa.table(columns if data.labels is None else {**columns, "label": data.labels})


def _users_table(data: Ordered) -> Any:
    numbers = np.arange(len(data.user_keys), dtype=np.int32)
    return pa.table({"user": numbers, "key": pa.array(data.user_keys, pa.string())})
