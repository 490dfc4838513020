"""Writes a safetensors file piece by piece: a state can be as large as the memory that is left.

The format is that of the safetensors library, which reads it, but whose own writer first copies
every tensor twice. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fedrec.data.atomic import write_atomically

_TYPES = {"<f4": "F32", "<f8": "F64", "<i4": "I32"}


def write_tensors(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a safetensors file, whole or not at all, of float32, float64 and int32 arrays."""

    def write(stream: IO[bytes]) -> None:
        header = _header(arrays)
        stream.write(len(header).to_bytes(8, "little") + header)
        for value in arrays.values():
            stream.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    write_atomically(path, write)


def _header(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Name -> type, shape and place of each array, padded so that the arrays begin aligned."""
    entries, end = {}, 0
    for name, value in arrays.items():
        start, end = end, end + value.nbytes
        kind = _TYPES[value.dtype.newbyteorder("<").str]
        entries[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)
