"""Every reader of strangers' bytes, as one function each, with sound inputs to begin from.

A target takes bytes, lets the reader have them, and returns; what it may raise is only what the
program raises on purpose, and where there is a file, the message names it. Everything else, and a
reader that does not end, is a finding. `run.py` looks for findings for as long as it is let,
`test_targets.py` for a moment, always in the same places.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from features.segments import Batch, encode_batch, encode_end, encode_header
from features.store import open_store
from fedrec.checkpoints import load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import read_tensors
from fedrec.config import Config, load_config, to_toml
from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.data.archive import Source
from fedrec.data.arrays import described, open_array, read_index
from fedrec.data.catalogue import items_table
from fedrec.data.features import map_tensors
from fedrec.data.folder import read_manifest
from fedrec.data.joining import find_features
from fedrec.data.ordering import order
from fedrec.data.raw import NO_COLUMNS, RawData
from fedrec.data.registry import DATASETS
from fedrec.data.table import read_items
from fedrec.errors import FedrecError
from fedrec.evaluation.rank_file import read_rank_file, write_rank_file
from fedrec.evaluation.ranks import Ranks
from fedrec.report.metrics_file import MetricsFile
from fedrec.transport import CODECS, decode_parts
from tests.broken import PREPARED

COLUMNS = Columns(user="user", item="item", time="time")
FOLDER = Path(tempfile.mkdtemp(prefix="fedrec-fuzz-"))
"""Where targets put their bytes; whoever imports this file removes it."""


class Finding(AssertionError):
    """A reader raised something that is not ours, or did not say which file is bad."""


@dataclass(frozen=True)
class Target:
    """read: what is tried. seeds: sound inputs. names_file: whether errors must name the file."""

    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    file: str
    names_file: bool = True

    def __call__(self, content: bytes) -> bool:
        """Whether the reader took the bytes. Raises Finding."""
        path = FOLDER / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            self.read(path)
        except FedrecError as error:
            if self.names_file and path.stem not in str(error):
                raise Finding(f"{error} does not name {path.name}") from error
            return False
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {error}") from error
        return True


# ------------------------------------------------------------------------------------- data files


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

# ------------------------------------------------------------------------------------ what we write


def _shop() -> Path:
    folder = FOLDER / "shop-source"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"u{user},i{(user + step) % 5},{step}" for user in range(4) for step in range(4)]
    (folder / "s.csv").write_text("\n".join(["user,item,time", *rows]))
    out = prepare(
        "csv", source=folder / "s.csv", out=FOLDER / "shop", min_interactions=1, columns=COLUMNS
    )
    values = np.random.default_rng(0).normal(size=(6, 3))
    write_features(out, "text", values, np.ones(6, np.bool_), {"encoder": "x"})
    return out


def _checkpoint() -> Path:
    arrays = {"gate": np.ones(1, np.float32), "backbone.a": np.ones((2, 2), np.float32)}
    about: dict[str, Any] = {
        "stage": "backbone", "round": 1, "trained": ["backbone"], "initial": {}, "catalogue": "c",
        "num_items": 5, "feature_dims": {"semantic": 3}, "config": {}, "metrics": {},
        "parent": None,
    }  # fmt: skip
    return save_checkpoint(FOLDER / "checkpoints", arrays, **about).path


def _ranks() -> bytes:
    ranks = Ranks(
        split="test",
        users=np.arange(2),
        target=np.ones(2, np.int32),
        rank={"full": np.ones(2, np.int32)},
        candidates={"full": np.full(2, 5, np.int32)},
        segment=None,
    )
    write_rank_file(FOLDER / "ranks.parquet", {"backbone": [ranks]}, metadata={"seed": "0"})
    return (FOLDER / "ranks.parquet").read_bytes()


SHOP, CHECKPOINT = _shop(), _checkpoint()


def whole(folder: Path) -> None:
    """All that is read of a prepared folder."""
    data = PreparedData.load(folder)
    assert data.item_titles() and data.user_keys() and data.catalogue_fingerprint
    assert len(data.timestamps) == len(data.items) and len(data.history(0))


def of_shop(name: str) -> Target:
    """A file of a prepared folder that is otherwise sound."""
    sound = (SHOP / name).read_bytes()

    def read(path: Path) -> None:
        try:
            whole(SHOP)
        finally:
            path.write_bytes(sound)

    return Target(read, (sound,), f"shop/{name}")


SEGMENT = b"".join(
    (
        encode_header({"dim": 2, "plan": "p", "versions": {"torch": "2"}}),
        encode_batch(
            Batch(index=0, digests=[b"a" * 16], kept=[0], rows=np.ones((1, 2), np.float16))
        ),
        encode_end(1),
    )
)


def _store(path: Path) -> None:
    (path.parent / "encoder.json").write_text('{"dim": 2}')
    with open_store(path.parent, lambda message: None) as store:
        store.rows([digest for digest in (b"a" * 16,) if store.knows(digest)])
    for leftover in path.parent.glob("*.damaged"):
        leftover.unlink()


def _tensors_of_checkpoint(path: Path) -> None:
    path.with_suffix(".json").write_bytes(CHECKPOINT.with_suffix(".json").read_bytes())
    load_checkpoint(path)


def _manifest_of_checkpoint(path: Path) -> None:
    path.with_suffix(".safetensors").write_bytes(CHECKPOINT.read_bytes())
    load_checkpoint(path.with_suffix(".safetensors"))


def unsealed(path: Path) -> bytes:
    """A description as it was before it vouched for itself: changes reach what is behind."""
    content = json.loads(path.read_bytes())
    content.pop("checksum", None)
    return json.dumps(content).encode()


def _overrides(path: Path) -> None:
    load_config(None, path.read_bytes().decode("utf-8", "replace").splitlines())


OWN = {
    "config": Target(load_config, (to_toml(Config()).encode(), b"[run]\nseed = 3\n"), "c.toml"),
    "overrides": Target(
        _overrides,
        (b"model.dim=8\ndata=a b\nstages.routing.rounds=3", b"seed=1_0\nrun.threads=0x1"),
        "overrides",
        names_file=False,
    ),
    **{f"shop {name}": of_shop(name) for name in PREPARED},
    "manifest": Target(
        lambda path: read_manifest(path.parent),
        (unsealed(SHOP / "manifest.json"),),
        "m/manifest.json",
    ),
    "checkpoint": Target(_tensors_of_checkpoint, (CHECKPOINT.read_bytes(),), "k/t.safetensors"),
    "checkpoint's manifest": Target(
        _manifest_of_checkpoint,
        (
            CHECKPOINT.with_suffix(".json").read_bytes(),
            unsealed(CHECKPOINT.with_suffix(".json")),
        ),
        "l/m.json",
    ),
    "state's tensors": Target(read_tensors, (TENSORS,), "state.safetensors"),
    "rows": Target(_store, (SEGMENT, SEGMENT[:-20]), "rows/rows-000001.bin", names_file=False),
    "journal": Target(_store, (SEGMENT, SEGMENT[:-20]), "journal/rows.journal", names_file=False),
    "ranks": Target(read_rank_file, (_ranks(),), "ranks.parquet"),
    "metrics": Target(
        lambda path: _metrics(path), (b'{"stage": "backbone", "round": 1}\n',), "metrics.jsonl"
    ),
}


def _metrics(path: Path) -> None:
    file = MetricsFile(path.with_name("none"))
    file._path = path
    file.new_records()


# ----------------------------------------------------------------------------------------- messages

SHAPES = {"backbone": {"backbone.a": (3, 5), "backbone.b": (7,)}}


def _decoding(name: str) -> Target:
    codec = CODECS[name]

    def decode(path: Path) -> None:
        payload = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        try:
            found = decode_parts({"backbone": payload}, SHAPES, codec)
        except ValueError as error:  # which the server refuses, see `server.refusal`
            raise FedrecError(str(error)) from error
        assert {name: value.shape for name, value in found.items()} == SHAPES["backbone"]

    sound = codec.encode(np.arange(22, dtype=np.float32)).tobytes()
    return Target(decode, (sound,), f"{name}.payload", names_file=False)


MESSAGES = {f"codec {name}": _decoding(name) for name in CODECS}

TARGETS: dict[str, Target] = {**DATA, **FEATURES, **OWN, **MESSAGES}
