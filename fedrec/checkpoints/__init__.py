"""Checkpoints: tensors as safetensors, everything else as a JSON manifest, verified on reading."""

from fedrec.checkpoints.fitness import check_parent
from fedrec.checkpoints.store import Checkpoint, load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import Arrays, fingerprint, group_fingerprints

__all__ = [
    "Arrays",
    "Checkpoint",
    "check_parent",
    "fingerprint",
    "group_fingerprints",
    "load_checkpoint",
    "save_checkpoint",
]
