"""A vector of float32 as bytes: exactly, as float16, or as int8.

float16 and int8 share one scheme: the vector is cut into blocks of consecutive values, each block
is divided by a scale of its own, and the quotients are stored in the smaller type. A scale takes
one byte: it is a power of the fourth root of two, so every byte is a scale, and none can be zero,
negative or not a number. Zeros stay zeros exactly. The same bytes give the same floats on every
machine: nothing is computed but products of float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import Unencodable

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_ROOTS = np.array([1.0, 1.1892071, 1.4142135, 1.6817929], dtype=np.float32)
_CODES = np.arange(256)
SCALES = np.ldexp(_ROOTS[_CODES % 4], _CODES // 4 - 44).astype(np.float32)
"""[256]: 2 ** (code / 4 - 44), ascending; from 6e-14 to 9e5."""


class Codec(Protocol):
    """lossless: whether decoding gives back what was encoded."""

    @property
    def lossless(self) -> bool: ...

    def encode(self, values: Floats) -> Bytes:
        """values [n] as bytes. Raises Unencodable for values that are not finite or too large."""

    def decode(self, payload: Bytes, count: int) -> Floats:
        """The `count` values [n] that were encoded, or what they became.

        Raises ValueError unless there are as many bytes as so many values take.
        """


@dataclass(frozen=True)
class Exact:
    """The bytes of the floats themselves, little-endian."""

    lossless: bool = True

    def encode(self, values: Floats) -> Bytes:
        _check_finite(values)
        return values.astype("<f4").view(np.uint8)

    def decode(self, payload: Bytes, count: int) -> Floats:
        _check_length(payload, 4 * count)
        return np.ascontiguousarray(payload).view("<f4").astype(np.float32, copy=False)


@dataclass(frozen=True)
class Scaled:
    """Blocks of `block` values, each with the smallest scale that keeps it within `largest`.

    kind: the stored type, little-endian; int8 quotients are rounded to the nearest, halves to even.
    """

    block: int
    largest: float
    kind: str
    lossless: bool = False

    def encode(self, values: Floats) -> Bytes:
        _check_finite(values)
        blocks = np.zeros((-(-len(values) // self.block), self.block), dtype=np.float32)
        blocks.reshape(-1)[: len(values)] = values
        codes = self._codes(np.abs(blocks).max(axis=1))
        blocks /= SCALES[codes, None]
        if np.dtype(self.kind).kind == "i":
            np.rint(blocks, out=blocks)
        np.clip(blocks, -self.largest, self.largest, out=blocks)
        stored = blocks.reshape(-1)[: len(values)].astype(self.kind)
        return np.concatenate([codes.astype(np.uint8), stored.view(np.uint8)])

    def decode(self, payload: Bytes, count: int) -> Floats:
        scales = -(-count // self.block)
        _check_length(payload, scales + np.dtype(self.kind).itemsize * count)
        stored = np.ascontiguousarray(payload[scales:]).view(self.kind)
        scale = np.repeat(SCALES[payload[:scales]], self.block)[:count]
        with np.errstate(invalid="ignore", over="ignore"):  # what comes out is checked, not this
            return np.multiply(stored.astype(np.float32), scale)

    def _codes(self, most: Floats) -> NDArray[np.int64]:
        """[blocks], each the smallest scale whose `largest`-fold reaches the block's `most`."""
        codes = np.searchsorted(SCALES * np.float32(self.largest), most)
        if (codes == len(SCALES)).any():
            bound = float(SCALES[-1]) * self.largest
            raise Unencodable(f"a value of size {most.max():g}, at most {bound:g} can be encoded")
        return codes


def _check_finite(values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise Unencodable("values that are not finite cannot be encoded")


def _check_length(payload: Bytes, expected: int) -> None:
    if payload.ndim != 1 or payload.dtype != np.uint8 or len(payload) != expected:
        found = f"{payload.dtype} {payload.shape}"
        raise ValueError(f"the payload is {found}, expected uint8 ({expected},)")


CODECS: dict[str, Codec] = {
    "float32": Exact(),
    "float16": Scaled(block=256, largest=32768.0, kind="<f2"),
    "int8": Scaled(block=64, largest=127.0, kind="|i1"),
}
