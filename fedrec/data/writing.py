"""Writing the parts of a prepared folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pq
from fedrec.data.atomic import write_atomically, write_json
from fedrec.data.folder import FORMAT, HISTORIES, INTERACTIONS, MANIFEST, SPLIT, digests
from fedrec.data.ordering import Ordered
from fedrec.data.origin import Origin
from fedrec.data.registry import Dataset
from fedrec.data.sealed import write_sealed
from fedrec.data.settings import Settings
from fedrec.data.split import LABELS, HeldOut, SplitRule, describe_split


def write_table(path: Path, table: Any) -> None:
    """One Parquet file; the same table gives the same bytes."""
    write_atomically(path, lambda stream: pq.write_table(table, stream, compression="zstd"))


def split_content(
    rule: SplitRule, held_out: HeldOut, data: Ordered, source_labels: NDArray[np.uint8] | None
) -> dict[str, Any]:
    """split.json without its checksum: the rule and how many users have targets.

    For a given split also how many interactions of each label there are and were in the source
    (source_labels: uint8 [interactions of the source]), and how many users' labels run against
    their time.
    """
    described = describe_split(rule, held_out)
    if data.labels is None or source_labels is None:
        return described
    return {
        **described,
        "interactions": _by_label(data.labels),
        "interactions_of_source": _by_label(source_labels),
        "reordered_users": data.reordered_users(),
    }


def split_notes(described: Mapping[str, Any]) -> tuple[str, ...]:
    """What people should know of a given split: users reordered, interactions dropped from it."""
    notes = []
    if described.get("reordered_users"):
        notes.append(
            f"{described['reordered_users']} of {described['users']} users have held-out "
            "interactions that are older than ones to train on; theirs are in the order of the "
            "labels"
        )
    for label, count in described.get("interactions", {}).items():
        before = described["interactions_of_source"][label]
        if count < before:
            notes.append(f"the filters dropped {before - count} of {before} labelled {label}")
    return tuple(notes)


def write_split(folder: Path, described: Mapping[str, Any]) -> None:
    """split.json: what it says, and the interactions and histories that it belongs to."""
    belongs_to = digests(folder, [HISTORIES, INTERACTIONS])
    write_json(folder / SPLIT, {**described, "sha256": belongs_to})


def write_manifest(
    folder: Path,
    *,
    name: str,
    dataset: Dataset,
    settings: Settings,
    origin: Origin,
    data: Ordered,
    positional: bool,
    notes: Sequence[str] = (),
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
        **({"notes": list(notes)} if notes else {}),
        "settings": settings.record(),
        "source": origin.record(),
        "files": digests(folder, files),
    }
    write_sealed(folder / MANIFEST, manifest)


def _by_label(labels: NDArray[np.uint8]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(LABELS)).tolist()
    return dict(zip(LABELS, counts, strict=True))
