"""Makes the built-in data set from GroupLens's files and keyed feature files.

    python -m fedrec.data.builtin.make MOVIELENS_FOLDER FEATURE_FOLDER

MOVIELENS_FOLDER holds the unpacked ml-latest-small; FEATURE_FOLDER what
`fedrec.data.joining.find_features` reads. Features are shipped for the films that have five
interactions or more, repeatedly filtered with users of five or more: whatever else the default
run needs is a subset of these.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from fedrec.data.archive import Source
from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.builtin import ML_LATEST_SMALL
from fedrec.data.delimited import read_delimited
from fedrec.data.features import normalised
from fedrec.data.filtering import k_core
from fedrec.data.joining import KeyedFeatures, find_features
from fedrec.data.movielens import RATINGS_CSV
from fedrec.data.ordering import order

TABLES = ("ratings.csv", "movies.csv", "tags.csv", "links.csv")
LICENCES = {
    "text": "GroupLens MovieLens terms, as the data set; made with plots that are not shipped",
    "image": "GroupLens MovieLens terms, as the data set; made from posters that are not shipped",
}
MIN_INTERACTIONS = 5


def make(movielens: Path, features: Path, out: Path = ML_LATEST_SMALL) -> None:
    """Write GroupLens's files, unchanged but for gzip without a time stamp, and the features."""
    (out / "features").mkdir(parents=True, exist_ok=True)
    _write(out / "README.txt", (movielens / "README.txt").read_bytes())
    for name in TABLES:
        zipped = gzip.compress((movielens / name).read_bytes(), compresslevel=9, mtime=0)
        _write(out / f"{name}.gz", zipped)
    keys = _core_films(movielens)
    for keyed in find_features(features).values():
        _write_keyed(out / "features", keyed, keys)


def _core_films(movielens: Path) -> list[str]:
    data = order(read_delimited(Source(movielens), "ratings.csv", RATINGS_CSV))
    return data.select(k_core(data.users, data.items, MIN_INTERACTIONS)).item_keys


def _write_keyed(folder: Path, keyed: KeyedFeatures, keys: list[str]) -> None:
    rows, present = normalised(keyed.modality, *keyed.join(keys))
    ids = np.array([0, *map(int, keys)], dtype=np.int64)
    path = folder / f"{keyed.modality}.safetensors"
    _write(path, save({"features": rows[present], "ids": ids[present]}))
    described = {
        "modality": keyed.modality,
        "weights_sha256": None,
        **keyed.manifest,
        "licence": LICENCES[keyed.modality],
        "rows": int(present.sum()),
    }
    write_json(path.with_suffix(".json"), described)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda stream: stream.write(content))


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
