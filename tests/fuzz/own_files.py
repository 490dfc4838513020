"""Readers of files that the program writes for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from features.segments import Batch, encode_batch, encode_end, encode_header
from features.store import open_store
from fedrec.checkpoints import load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import read_tensors
from fedrec.config import Config, load_config, to_toml
from fedrec.data import PreparedData, prepare, write_features
from fedrec.data.folder import read_manifest
from fedrec.evaluation.rank_file import read_rank_file, write_rank_file
from fedrec.evaluation.ranks import Ranks
from fedrec.report.metrics_file import MetricsFile
from tests.broken import PREPARED
from tests.fuzz.data_files import COLUMNS, TENSORS
from tests.fuzz.target import FOLDER, Target


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
