"""A stage checkpoint: the whole model at a stage's best round, and where it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedrec.checkpoints.tensors import (
    Arrays,
    fingerprint,
    group_fingerprints,
    read_tensors,
    write_tensors,
)
from fedrec.data.sealed import read_sealed, write_sealed
from fedrec.errors import CheckpointError

# 2: `catalogue` is a fingerprint of the keys and features of trained items alone.
# 3: the configuration has the dropout of every stage.
# 4: the item table's rows have transitions.
FORMAT = 4

_KINDS: tuple[tuple[str, type, str], ...] = (
    *((key, dict, "a table") for key in ("groups", "initial", "feature_dims", "config", "metrics")),
    *((key, list, "a list") for key in ("trained", "skipped")),
    *((key, str, "a text") for key in ("stage", "fingerprint", "catalogue")),
    *((key, int, "a number") for key in ("round", "num_items")),
)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint says of itself.

    stage, round: which training it ends, and the round it was best at. trained: the groups that
    the stage trained. groups: fingerprint of every group; initial: the same of the untrained model
    that the run began with. catalogue: fingerprint of the items and features it was trained for.
    config: all settings. metrics: validation at its best. parent: fingerprint of the checkpoint
    it started from, None for the first stage. skipped: stages that should have come between the
    two and were left out by force.
    """

    stage: str
    round: int
    trained: list[str]
    groups: dict[str, str]
    initial: dict[str, str]
    fingerprint: str
    catalogue: str
    num_items: int
    feature_dims: dict[str, int]
    config: dict[str, Any]
    metrics: dict[str, Any]
    parent: str | None
    skipped: list[str] = field(default_factory=list)
    format: int = FORMAT


@dataclass(frozen=True)
class Checkpoint:
    """A manifest and the arrays it speaks of, verified against each other."""

    manifest: Manifest
    arrays: Arrays
    path: Path


def save_checkpoint(folder: Path, arrays: Arrays, **about: Any) -> Checkpoint:
    """Write `folder/<stage>.safetensors`, then its manifest, each whole or not at all.

    about: the fields of Manifest that do not follow from the arrays.
    """
    manifest = Manifest(groups=group_fingerprints(arrays), fingerprint=fingerprint(arrays), **about)
    path = folder / f"{manifest.stage}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(path, arrays)
    write_sealed(path.with_suffix(".json"), asdict(manifest))
    return Checkpoint(manifest, arrays, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint by its .safetensors path.

    Raises CheckpointError where a file is missing, damaged, of a foreign format, or where a group
    is not the one that the manifest was written for; the message names the group.
    """
    manifest = _read_manifest(path.with_suffix(".json"))
    arrays = _floats(path)
    found = group_fingerprints(arrays)
    for group in sorted(manifest.groups.keys() | found.keys()):
        if found.get(group) != manifest.groups.get(group):
            raise CheckpointError(
                f"{path}: group {group!r} is {_short(found.get(group))}, "
                f"its manifest says {_short(manifest.groups.get(group))}"
            )
    if fingerprint(arrays) != manifest.fingerprint:
        raise CheckpointError(f"{path}: its manifest was written for another checkpoint")
    return Checkpoint(manifest, arrays, path)


def _floats(path: Path) -> Arrays:
    tensors = read_tensors(path)
    for name, value in tensors.items():
        if value.dtype != np.float32:
            raise CheckpointError(f"{path} is damaged: {name} is {value.dtype}, expected float32")
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def _read_manifest(path: Path) -> Manifest:
    try:
        content = read_sealed(path)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint manifest {path}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise CheckpointError(f"{path}: format {found!r}, this version reads {FORMAT}")
    try:
        manifest = Manifest(**content)
    except TypeError as error:
        raise CheckpointError(f"{path}: not a checkpoint manifest: {error}") from error
    for key, kind, expected in _KINDS:
        if not isinstance(getattr(manifest, key), kind):
            raise CheckpointError(
                f"{path}: {key} is {getattr(manifest, key)!r:.100}, expected {expected}"
            )
    return manifest


def _short(digest: str | None) -> str:
    return "missing" if digest is None else digest[:12]
