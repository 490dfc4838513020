"""Many arrays as one, for a transport that spends more on each than on its bytes.

A packed vector is the length of a header in 8 bytes, the header, and the arrays' bytes behind each
other. The header is JSON: a list of [name, dtype, shape, bytes].
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

_LENGTH = 8


@dataclass(frozen=True)
class Packed:
    """One array as it travels. data: its bytes as whoever packs them serialised them."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def pack(arrays: Iterable[Packed]) -> bytes:
    """All arrays in their order."""
    parts = list(arrays)
    about = [[part.name, part.dtype, list(part.shape), len(part.data)] for part in parts]
    header = json.dumps(about).encode()
    length = len(header).to_bytes(_LENGTH, "little")
    return b"".join([length, header, *(part.data for part in parts)])


def unpack(payload: bytes) -> list[Packed]:
    """What was packed. Raises ValueError for bytes that `pack` does not make."""
    start = _LENGTH + int.from_bytes(payload[:_LENGTH], "little")
    if not _LENGTH < start <= len(payload):
        raise ValueError(f"a header of {start - _LENGTH} bytes in a payload of {len(payload)}")
    found, end = [], start
    for name, dtype, shape, size in _header(payload[_LENGTH:start]):
        found.append(Packed(name, dtype, tuple(shape), payload[end : end + size]))
        end += size
    if end != len(payload) or len({part.name for part in found}) < len(found):
        raise ValueError(
            f"{len(found)} arrays of {end - start} bytes in {len(payload) - start}, "
            f"expected as many bytes, and every name once"
        )
    return found


def _header(text: bytes) -> list[tuple[str, str, list[int], int]]:
    try:
        entries = json.loads(text)
        for entry in entries:
            name, dtype, shape, size = entry
            sizes = [size, *shape]
            if not (isinstance(name, str) and isinstance(dtype, str)):
                raise ValueError(f"{entry}: name and dtype must be text")
            if not all(type(value) is int and value >= 0 for value in sizes):
                raise ValueError(f"{entry}: sizes must be whole numbers from 0 on")
    except (TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"a header that cannot be read: {error}") from None
    return [tuple(entry) for entry in entries]
