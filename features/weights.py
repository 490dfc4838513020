"""Weights from a local file, and the checksum of weights that were loaded."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedrec.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_UNREADABLE = (
    OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError,
    AttributeError, LookupError, TypeError,
)  # fmt: skip
_WRAPPERS = ("state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name.

    A pickle may hold tensors and plain containers, nothing that runs (torch's weights_only).
    Raises DataError where the file is damaged or holds anything else.
    """
    try:
        found = _load(path)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a readable file of weights ({reason})") from error
    return _only_tensors(path, found)


def _load(path: Path) -> object:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _only_tensors(path: Path, found: object) -> dict[str, Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not found:
        raise DataError(f"{path}: holds a {type(found).__name__}, expected tensors by name")
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            raise DataError(f"{path}: {name} is a {type(tensor).__name__}, expected a tensor")
    return {str(name): tensor for name, tensor in found.items()}


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """sha256 over name, type, shape and bytes of every tensor, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
