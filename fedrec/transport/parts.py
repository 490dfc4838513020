"""What travels of a model: its groups, each as one vector, so that headers weigh nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedrec.transport.codecs import Bytes, Codec, Floats

Parts = Mapping[str, Mapping[str, Floats]]
"""Group -> name -> array."""
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Group -> name -> shape."""


def shapes_of(parts: Parts) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of the arrays."""
    return {
        group: {name: value.shape for name, value in part.items()} for group, part in parts.items()
    }


def encode_parts(parts: Parts, codec: Codec) -> dict[str, Bytes]:
    """Group -> its arrays behind each other, in the order of their names, encoded.

    Raises Unencodable, see `Codec.encode`.
    """
    return {
        group: codec.encode(np.concatenate([part[name].reshape(-1) for name in sorted(part)]))
        for group, part in parts.items()
    }


def decode_parts(payloads: Mapping[str, Bytes], shapes: Shapes, codec: Codec) -> dict[str, Floats]:
    """The arrays by name, in the order of `shapes`.

    Raises ValueError where a group is missing, is too many, or has not as many bytes as its arrays
    take; the message names the group.
    """
    if payloads.keys() != shapes.keys():
        differing = sorted(payloads.keys() ^ shapes.keys())
        raise ValueError(f"groups differ from those expected: {differing[:3]}")
    found: dict[str, Floats] = {}
    for group, expected in shapes.items():
        try:
            found |= _split(payloads[group], expected, codec)
        except ValueError as error:
            raise ValueError(f"group {group!r}: {error}") from None
    return {name: found[name] for expected in shapes.values() for name in expected}


def _split(
    payload: Bytes, shapes: Mapping[str, tuple[int, ...]], codec: Codec
) -> dict[str, Floats]:
    sizes = {name: int(np.prod(shapes[name], dtype=np.int64)) for name in sorted(shapes)}
    values = codec.decode(payload, sum(sizes.values()))
    ends = np.cumsum(list(sizes.values()))[:-1]
    pieces = zip(sizes, np.split(values, ends), strict=True)
    return {name: piece.reshape(shapes[name]) for name, piece in pieces}
