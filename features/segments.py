"""Files of encoded rows that are only ever added to: batches, each with its checksum.

    magic, header, batch, batch, ..., end

Every part is framed: kind (1 byte), length (u32), CRC-32 (u32), payload. The header is JSON and
tells the width of a row; the end says that the file is finished, and how many batches it has. A
file that is being written has no end, and may have a torn part behind its last whole one.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"fedrec rows 1\n"
DIGEST_BYTES = 16
_FRAME = struct.Struct("<cII")
_SIZES = struct.Struct("<II")
_HEADER, _BATCH, _END = b"H", b"B", b"E"
_UNSOUND = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error
)  # fmt: skip
"""What decoding raises over a part whose checksum is right and whose content is not ours."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of encoding a batch of contents.

    index: its number in the plan. digests: of all its contents, 16 bytes each. kept: positions of
    those that have a row. rows: float16 [kept, dim]. faults: position -> (kind, detail) of the
    others. first_frames: positions of animated pictures, of which the first frame was taken.
    """

    index: int
    digests: Sequence[bytes]
    kept: Sequence[int]
    rows: NDArray[np.float16]
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    first_frames: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """The sound part of a file. end: its length in bytes. finished: whether nothing may follow."""

    header: dict[str, Any]
    batches: list[Batch]
    end: int
    finished: bool


def encode_header(header: Mapping[str, Any]) -> bytes:
    """The beginning of a file; `header` must hold `dim`."""
    return MAGIC + _frame(_HEADER, json.dumps(header, sort_keys=True).encode())


def encode_batch(batch: Batch) -> bytes:
    """One batch as it stands in a file."""
    described = json.dumps(
        {
            "index": batch.index,
            "kept": list(batch.kept),
            "faults": {str(at): list(fault) for at, fault in batch.faults.items()},
            "first_frames": list(batch.first_frames),
        }
    ).encode()
    sizes = _SIZES.pack(len(described), len(batch.digests))
    rows = np.ascontiguousarray(batch.rows, dtype="<f2").tobytes()
    return _frame(_BATCH, b"".join((sizes, described, *batch.digests, rows)))


def encode_end(batches: int) -> bytes:
    """The end of a file of that many batches."""
    return _frame(_END, json.dumps({"batches": batches}).encode())


def read_segment(path: Path) -> Segment | None:
    """All of `path` up to the first thing that is not whole; None where not even its header is.

    The rows are views of the mapped file. Raises OSError.
    """
    content = _mapped(path)
    if bytes(content[: len(MAGIC)]) != MAGIC:
        return None
    header: dict[str, Any] | None = None
    batches: list[Batch] = []
    end = len(MAGIC)
    for kind, payload, after in _frames(content, end):
        try:
            if header is None:
                if kind != _HEADER:
                    return None
                header = _decode_header(payload)
            elif kind == _BATCH:
                batches.append(_decode_batch(payload, header["dim"]))
            else:
                whole = kind == _END and json.loads(bytes(payload)) == {"batches": len(batches)}
                return Segment(header, batches, after if whole else end, whole)
        except _UNSOUND:
            break
        end = after
    return None if header is None else Segment(header, batches, end, finished=False)


def _mapped(path: Path) -> memoryview:
    if path.stat().st_size == 0:
        return memoryview(b"")
    mapped: Any = np.memmap(path, dtype=np.uint8, mode="r")
    return memoryview(mapped)


def _frames(content: memoryview, start: int) -> Iterator[tuple[bytes, memoryview, int]]:
    """Kind, payload and end of every part that is whole, up to the first that is not."""
    while start + _FRAME.size <= len(content):
        kind, length, checksum = _FRAME.unpack_from(content, start)
        begin, start = start + _FRAME.size, start + _FRAME.size + length
        if start > len(content) or _checksum(kind, content[begin:start]) != checksum:
            return
        yield kind, content[begin:start], start


def _decode_header(payload: memoryview) -> dict[str, Any]:
    header = json.loads(bytes(payload))
    if not (isinstance(header["dim"], int) and isinstance(header["versions"], dict)):
        raise ValueError("a header without dim or versions")
    return dict(header)


def _decode_batch(payload: memoryview, dim: int) -> Batch:
    described, count = _SIZES.unpack_from(payload)
    start = _SIZES.size + described
    told = json.loads(bytes(payload[_SIZES.size : start]))
    rows_at = start + count * DIGEST_BYTES
    digests = bytes(payload[start:rows_at])
    rows = np.frombuffer(payload[rows_at:], dtype="<f2").reshape(len(told["kept"]), dim)
    if not all(0 <= at < count for at in (*told["kept"], *told["first_frames"])):
        raise ValueError("a batch that speaks of contents it does not have")
    return Batch(
        index=told["index"],
        digests=[digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)],
        kept=told["kept"],
        rows=rows,
        faults={int(at): (kind, detail) for at, (kind, detail) in told["faults"].items()},
        first_frames=told["first_frames"],
    )


def _frame(kind: bytes, payload: bytes) -> bytes:
    return _FRAME.pack(kind, len(payload), _checksum(kind, payload)) + payload


def _checksum(kind: bytes, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(kind))
