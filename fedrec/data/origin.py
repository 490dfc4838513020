"""Where a data set comes from: the built-in copy, a local copy, or the publisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.data.archive import Source
from fedrec.data.download import default_cache, fetch
from fedrec.data.joining import KeyedFeatures, find_features, holds_features
from fedrec.data.registry import Dataset
from fedrec.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The files to read.

    kind: built-in, local or download. features_named: the caller named the feature folder, so it
    must know some of the items.
    """

    kind: str
    location: str
    source: Source
    features: Mapping[str, KeyedFeatures]
    features_named: bool = False

    def record(self) -> dict[str, Any]:
        """As JSON for the manifest, after the source was read."""
        return {
            "kind": self.kind,
            "location": self.location,
            "files": self.source.fingerprints(),
            "features": feature_files(self.features),
        }


def find_origin(
    dataset: Dataset,
    name: str,
    *,
    source: Path | None,
    features: Path | None,
    cache: Path | None,
    progress: bool,
) -> Origin:
    """Open the source and the features. Downloads only where nothing else is given.

    Raises DataError where there is nothing to read.
    """
    opened, location = _open(dataset, name, source=source, cache=cache, progress=progress)
    return Origin(
        kind=kind_of(dataset, source),
        location=location,
        source=opened,
        features=find_keyed(dataset, source, features),
        features_named=features is not None,
    )


def kind_of(dataset: Dataset, source: Path | None) -> str:
    """built-in, local or download."""
    if source is not None:
        return "local"
    return "built-in" if dataset.builtin else "download"


def find_keyed(
    dataset: Dataset, source: Path | None, features: Path | None
) -> Mapping[str, KeyedFeatures]:
    """Features from the folder named; else those that come with the source; else, for MovieLens,
    from a folder `features` beside the source; else the built-in ones; else none."""
    if features is not None:
        return find_features(features)
    if source is not None and dataset.own_features is not None:
        return dataset.own_features(source)
    if source is not None and dataset.movie_ids:
        folder = source if source.is_dir() else source.parent
        beside = folder.resolve().parent / "features"
        if holds_features(beside):
            return find_features(beside)
    return find_features(dataset.builtin / "features") if dataset.builtin else {}


def feature_files(features: Mapping[str, KeyedFeatures]) -> dict[str, str]:
    """sha256 of the feature files by name."""
    files = [pair for keyed in features.values() for pair in keyed.files.items()]
    return dict(sorted(files))


def _open(
    dataset: Dataset, name: str, *, source: Path | None, cache: Path | None, progress: bool
) -> tuple[Source, str]:
    if source is not None:
        return Source(source), source.resolve().name
    if dataset.builtin is not None:
        return Source(dataset.builtin), dataset.builtin.name
    if dataset.url is None:
        raise DataError(f"{name}: nothing to download; name the files with --source")
    archive = fetch(dataset.url, cache or default_cache(), md5=dataset.md5, progress=progress)
    return Source(archive), dataset.url
