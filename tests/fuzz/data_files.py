"""Readers of data sets, features and descriptions that somebody brings."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from fedrec.data import Columns
from fedrec.data.archive import Source
from fedrec.data.arrays import described, open_array, read_index
from fedrec.data.catalogue import items_table
from fedrec.data.features import map_tensors
from fedrec.data.joining import find_features
from fedrec.data.ordering import order
from fedrec.data.raw import NO_COLUMNS, RawData
from fedrec.data.registry import DATASETS
from fedrec.data.table import read_items
from tests.fuzz.target import Target

COLUMNS = Columns(user="user", item="item", time="time")


def numbered(raw: RawData) -> None:
    """What `prepare` does with what a reader hands over, before it writes."""
    data = order(raw.interactions)
    items_table(data.item_keys, raw.catalogue)


def reading(dataset: str, columns: Columns = NO_COLUMNS) -> Callable[[Path], None]:
    """Read the file itself, as a data set of this name."""
    return lambda path: numbered(DATASETS[dataset].reader(Source(path), columns))


def reading_folder(dataset: str, **others: str) -> Callable[[Path], None]:
    """Read the folder that the file lies in, beside these others."""

    def read(path: Path) -> None:
        for name, content in others.items():
            (path.parent / name.replace("__", ".")).write_text(content)
        numbered(DATASETS[dataset].reader(Source(path.parent), NO_COLUMNS))

    return read


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def zipped(kind: int, **files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr("top/" + name.replace("__", "."), content)
    return out.getvalue()


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


CSV = b'user,item,time\nann,tea,2021-05-06 07:08\nbob,"jam, red",2020-01-01\n'
TIMES = b"user,item,time\nann,tea,30\nbob,jam,40\nann,jam,1.5\n"
RATINGS = b"userId,movieId,rating,timestamp\n1,2,3.5,100\n1,3,4,101\n"
MOVIES = b'movieId,title,genres\n2,"Toy, A",Drama|Crime\n3,Eye,(no genres listed)\n'
RATINGS_DAT = b"1::2::5::100\n1::3::4::101\n"
U_DATA = b"1\t2\t5\t100\n1\t3\t4\t101\n"
INTER = b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n1\t3\t4.5\n"
MMREC = b"userID\titemID\ttimestamp\tx_label\n0\t1\t5\t0\n0\t0\t6\t2\n"
JSONL = (
    json.dumps({"movieId": 2, "title": "Toy", "genres": ["Drama"], "plot": "p", "tags": ["A"]})
    + "\n"
    + json.dumps({"movieId": 3, "title": "\ud83c\udf55", "poster": "posters/3.jpg"})
).encode()
INTERACTIONS = parquet(
    user=["ann", "bob", "ann"], item=[1, 2, 3], time=pa.array([1.5, 2, 3]).cast(pa.float32())
)
DATES = parquet(
    user=[1, 2],
    item=pa.array(["a", "b"]).dictionary_encode(),
    time=pa.array([1, 2], pa.timestamp("ms", "UTC")),
)
ITEMS = parquet(
    item=["a", "b"], title=["x", None], when=pa.array([1, 2], pa.timestamp("ns")), more=[[1], []]
)

DATA = {
    "csv": Target(reading("csv", COLUMNS), (CSV, TIMES), "a.csv"),
    "csv.gz": Target(reading("csv", COLUMNS), (gzip.compress(TIMES, mtime=0),), "a.csv.gz"),
    "parquet": Target(reading("parquet", COLUMNS), (INTERACTIONS, DATES), "a.parquet"),
    "items.csv": Target(lambda p: _catalogue(p, "movieId"), (MOVIES,), "i.csv"),
    "items.parquet": Target(lambda p: _catalogue(p, "item"), (ITEMS,), "i.parquet"),
    "ratings.csv": Target(reading_folder("ml-20m"), (RATINGS,), "ml/ratings.csv"),
    "movies.csv": Target(
        reading_folder("ml-20m", ratings__csv=RATINGS.decode()), (MOVIES,), "ml-m/movies.csv"
    ),
    "tags.csv": Target(
        reading_folder("ml-20m", ratings__csv=RATINGS.decode(), movies__csv=MOVIES.decode()),
        (b"userId,movieId,tag,timestamp\n1,2,Fun,5\n1,2,fun,6\n",),
        "ml-t/tags.csv",
    ),
    "ratings.dat": Target(reading_folder("ml-1m"), (RATINGS_DAT,), "ml-1/ratings.dat"),
    "movies.dat": Target(
        reading_folder("ml-1m", ratings__dat=RATINGS_DAT.decode()),
        (b"2::Toy (1995)::Drama|Crime\n3::Eye\xe9::Horror\n",),
        "ml-1m/movies.dat",
    ),
    "items.jsonl": Target(
        reading_folder("ml-1m", ratings__dat=RATINGS_DAT.decode()), (JSONL,), "ml-1j/items.jsonl"
    ),
    "u.data": Target(reading_folder("ml-100k"), (U_DATA,), "ml-100/u.data"),
    "u.item": Target(
        reading_folder("ml-100k", u__data=U_DATA.decode()),
        (b"2|Toy (1995)|01-Jan-1995||http://x|" + b"|".join([b"0"] * 18 + [b"1"]) + b"\n",),
        "ml-100i/u.item",
    ),
    "recbole.inter": Target(reading("recbole"), (INTER,), "r.inter"),
    "recbole.item": Target(
        reading_folder("recbole", s__inter=INTER.decode()),
        (b"item_id:token\ttitle:token_seq\tyear:float\tclass:token_seq\n2\tToy\t1995\tA B\n",),
        "recbole/s.item",
    ),
    "mmrec.inter": Target(reading_folder("mmrec"), (MMREC,), "mmrec/m.inter"),
    "mmrec.npy": Target(
        reading_folder("mmrec", m__inter=MMREC.decode()),
        (npy(np.ones((3, 2), np.float32)),),
        "mmrec-f/image_feat.npy",
    ),
    "zip": Target(
        reading("ml-20m"),
        (
            zipped(zipfile.ZIP_STORED, ratings__csv=RATINGS, movies__csv=MOVIES),
            zipped(zipfile.ZIP_DEFLATED, ratings__csv__gz=gzip.compress(RATINGS, mtime=0)),
            zipped(zipfile.ZIP_LZMA, ratings__csv=RATINGS),
            zipped(zipfile.ZIP_BZIP2, ratings__csv=RATINGS),
        ),
        "a.zip",
    ),
}


def _catalogue(path: Path, key: str) -> None:
    catalogue = read_items(path, key)
    items_table(list(catalogue), catalogue)


# ---------------------------------------------------------------------- features and descriptions

TENSORS = save(
    {"features": np.ones((3, 2), np.float16), "ids": np.arange(3), "present": np.ones(3, np.uint8)}
)
FEATURES = {
    "array.npy": Target(
        open_array, (npy(np.ones((3, 2), np.float32)), npy(np.ones((3, 2), ">f8"))), "f.npy"
    ),
    "index.csv": Target(
        lambda path: read_index(path, 3, ("item", "key")), (b"row,item\n0,a\n2,b\n1,c\n",), "x.csv"
    ),
    "tensors": Target(map_tensors, (TENSORS,), "f.safetensors"),
    "keyed": Target(lambda path: find_features(path.parent), (TENSORS,), "keyed/text.safetensors"),
    "described": Target(
        lambda path: described(path, {}), (b'{"encoder": "x", "n": [1, {"a": null}]}',), "d.json"
    ),
}
