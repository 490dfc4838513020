"""Named arrays: their file, their fingerprints, and their way in and out of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from fedrec.data.atomic import write_atomically
from fedrec.data.plain_files import check_plain
from fedrec.errors import CheckpointError
from fedrec.model.feddmmr import group_of

Arrays = dict[str, NDArray[np.float32]]


def model_arrays(model: nn.Module, names: Iterable[str] | None = None) -> Arrays:
    """Copies of a model's parameters by name, all of them unless `names` says which."""
    parameters = dict(model.named_parameters())
    wanted = parameters if names is None else names
    return {name: parameters[name].detach().cpu().numpy().copy() for name in wanted}


def put_arrays(model: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Overwrite a model's parameters in place.

    Raises CheckpointError for a name the model does not have or a shape that differs.
    """
    parameters = dict(model.named_parameters())
    for name, value in arrays.items():
        if name not in parameters:
            raise CheckpointError(f"the model has no parameter {name!r}")
        if tuple(value.shape) != tuple(parameters[name].shape):
            expected = tuple(parameters[name].shape)
            raise CheckpointError(f"{name} has shape {value.shape}, the model {expected}")
        with torch.no_grad():
            parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))


def fingerprint(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 over names, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def by_group(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, Arrays]:
    """The same arrays, split by the group each belongs to."""
    parts: dict[str, Arrays] = {}
    for name, value in arrays.items():
        parts.setdefault(group_of(name), {})[name] = value
    return parts


def group_fingerprints(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Group -> fingerprint of its arrays."""
    return {group: fingerprint(part) for group, part in by_group(arrays).items()}


def write_tensors(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a safetensors file, whole or not at all."""
    contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    write_atomically(path, lambda stream: stream.write(save(contiguous)))


def read_tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read a safetensors file. Raises CheckpointError where it is missing or damaged."""
    try:
        check_plain(path)
        return dict(load(path.read_bytes()))
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint {path}") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
