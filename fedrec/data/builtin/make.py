"""Makes the built-in data set: GroupLens's tables, and the features of its films.

    python -m fedrec.data.builtin.make tables MOVIELENS_FOLDER
    python -m fedrec.data.builtin.make features PREPARED_FOLDER text=NAME image=NAME

MOVIELENS_FOLDER holds the unpacked ml-latest-small. PREPARED_FOLDER was made from it with
`fedrec prepare ml-latest-small --no-require-image`, so that it has the 3,650 films that the
default run can need, and `fedrec extract` has put features into it; they are copied, keyed by
`movieId`. `make features` does both.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.builtin import ML_LATEST_SMALL
from fedrec.data.features import FeatureTable
from fedrec.data.prepared import PreparedData

TABLES = ("ratings.csv", "movies.csv", "tags.csv", "links.csv")
ENCODERS = {
    "text": "all-MiniLM-L6-v2",
    "image": "EfficientNet-Lite0, ImageNet weights (not CLIP)",
}
LICENCES = {
    "text": "GroupLens MovieLens terms, as the data set",
    "image": "GroupLens MovieLens terms, as the data set; made from posters that are not shipped",
}
# What is said of shipped features: nothing that belongs to the folder they were made in.
DESCRIBED = ("weights_sha256", "preprocessing", "template", "recipe", "versions")


def make_tables(movielens: Path, out: Path = ML_LATEST_SMALL) -> None:
    """Write GroupLens's files, unchanged but for gzip without a time stamp."""
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "README.txt", (movielens / "README.txt").read_bytes())
    for name in TABLES:
        zipped = gzip.compress((movielens / name).read_bytes(), compresslevel=9, mtime=0)
        _write(out / f"{name}.gz", zipped)


def make_features(prepared: Path, names: Mapping[str, str], out: Path = ML_LATEST_SMALL) -> None:
    """Write the features `names` (modality -> name in the prepared folder) keyed by film."""
    data = PreparedData.load(prepared, verify=True)
    (out / "features").mkdir(parents=True, exist_ok=True)
    for modality, name in names.items():
        _write_keyed(out / "features", modality, data.features[name], data.item_keys())


def _write_keyed(folder: Path, modality: str, table: FeatureTable, keys: list[str]) -> None:
    ids = np.array([0, *map(int, keys[1:])], dtype=np.int64)
    rows = np.asarray(table.values)[table.present]
    path = folder / f"{modality}.safetensors"
    _write(path, save({"features": rows, "ids": ids[table.present]}))
    described = {
        "modality": modality,
        "encoder": ENCODERS[modality],
        **{key: table.manifest[key] for key in DESCRIBED if key in table.manifest},
        "encoder_licence": "Apache-2.0",
        "licence": LICENCES[modality],
        "rows": len(rows),
    }
    write_json(path.with_suffix(".json"), described)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda stream: stream.write(content))


if __name__ == "__main__":
    what, folder, *named = sys.argv[1:]
    if what == "tables":
        make_tables(Path(folder))
    else:
        make_features(Path(folder), dict(pair.split("=") for pair in named))
