"""The data sets that `fedrec prepare` knows by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.builtin import ML_LATEST_SMALL
from fedrec.data.joining import KeyedFeatures
from fedrec.data.mmrec import find_mmrec_features, read_mmrec
from fedrec.data.movielens import read_ml_1m, read_ml_100k, read_ml_csv
from fedrec.data.raw import Reader
from fedrec.data.recbole import read_recbole
from fedrec.data.split import SPLITS
from fedrec.data.table import read_table
from fedrec.errors import DataError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
MOVIELENS_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM TiiS 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)
MOVIELENS_LICENCE = (
    "GroupLens MovieLens terms: research, not commercial, no redistribution without permission"
)
MOVIELENS_SHARED_LICENCE = (
    "GroupLens MovieLens terms: not commercial, redistribution under the same terms"
)
OWN_LICENCE = "as given by the publisher of the source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """How a data set is had and read, and what is usual for it.

    url: the publisher's archive, None where a source must be named. md5: of the archive, None
    where the publisher keeps it beside the archive. builtin: folder of the copy that is shipped.
    require_image: keep only items with an image feature. movie_ids: its items can be looked up
    in feature files by MovieLens's movieId. split: the usual one. own_features: finds the features
    that come with the source, None where none do.
    """

    reader: Reader
    url: str | None = None
    md5: str | None = None
    builtin: Path | None = None
    min_interactions: int = 5
    require_image: bool = False
    movie_ids: bool = False
    split: str = SPLITS[0]
    own_features: Callable[[Path], Mapping[str, KeyedFeatures]] | None = None
    licence: str = OWN_LICENCE
    citation: str | None = None

    @property
    def is_format(self) -> bool:
        """Whether the name stands for a file format, so that the data has a name of its own."""
        return self.url is None and self.builtin is None


def _movielens_csv(name: str) -> Dataset:
    return Dataset(
        reader=read_ml_csv,
        url=f"{GROUPLENS}/{name}.zip",
        movie_ids=True,
        licence=MOVIELENS_SHARED_LICENCE,
        citation=MOVIELENS_CITATION,
    )


DATASETS: dict[str, Dataset] = {
    "ml-latest-small": Dataset(
        reader=read_ml_csv,
        builtin=ML_LATEST_SMALL,
        require_image=True,
        movie_ids=True,
        licence=MOVIELENS_SHARED_LICENCE,
        citation=MOVIELENS_CITATION,
    ),
    "ml-100k": Dataset(
        reader=read_ml_100k,
        url=f"{GROUPLENS}/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        min_interactions=1,
        movie_ids=True,
        licence=MOVIELENS_LICENCE,
        citation=MOVIELENS_CITATION,
    ),
    "ml-1m": Dataset(
        reader=read_ml_1m,
        url=f"{GROUPLENS}/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        movie_ids=True,
        licence=MOVIELENS_LICENCE,
        citation=MOVIELENS_CITATION,
    ),
    "ml-20m": _movielens_csv("ml-20m"),
    "ml-25m": _movielens_csv("ml-25m"),
    "ml-32m": _movielens_csv("ml-32m"),
    "recbole": Dataset(reader=read_recbole),
    "mmrec": Dataset(
        reader=read_mmrec,
        min_interactions=1,
        split="given",
        own_features=find_mmrec_features,
    ),
    "csv": Dataset(reader=read_table),
    "parquet": Dataset(reader=read_table),
}


def dataset_named(name: str) -> Dataset:
    """Raises DataError with the names there are."""
    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]
