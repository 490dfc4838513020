"""Writing the parts of a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fedrec.data.arrow import pq
from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.folder import FORMAT, INTERACTIONS, MANIFEST, SPLIT, digests
from fedrec.data.ordering import Ordered
from fedrec.data.origin import Origin
from fedrec.data.registry import Dataset
from fedrec.data.settings import Settings
from fedrec.data.split import SplitRule, describe_split, hold_out


def write_table(path: Path, table: Any) -> None:
    """One Parquet file; the same table gives the same bytes."""
    write_atomically(path, lambda stream: pq.write_table(table, stream, compression="zstd"))


def write_split(folder: Path, rule: SplitRule, data: Ordered) -> None:
    """split.json: the rule, how many users have targets, and the interactions it belongs to."""
    lengths = np.bincount(data.users, minlength=len(data.user_keys))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    described = describe_split(rule, hold_out(rule, offsets, data.times))
    write_json(folder / SPLIT, {**described, "sha256": digests(folder, [INTERACTIONS])})


def write_manifest(
    folder: Path,
    *,
    name: str,
    dataset: Dataset,
    settings: Settings,
    origin: Origin,
    data: Ordered,
    positional: bool,
) -> None:
    """manifest.json, the last file: it vouches for all others."""
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    manifest = {
        "format": FORMAT,
        "name": name,
        "counts": {
            "users": len(data.user_keys),
            "items": len(data.item_keys),
            "interactions": len(data.users),
        },
        "min_interactions": settings.min_interactions,
        "time": "position" if positional else "timestamp",
        "licence": dataset.licence,
        "citation": dataset.citation,
        "settings": settings.record(),
        "source": origin.record(),
        "files": digests(folder, files),
    }
    write_json(folder / MANIFEST, manifest)
