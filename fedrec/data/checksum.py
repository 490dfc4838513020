"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 20


def digest_stream(stream: BinaryIO, algorithm: str = "sha256") -> str:
    """Hex digest of what is left of `stream`."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file, read in blocks. Raises OSError."""
    with path.open("rb") as stream:
        return digest_stream(stream, algorithm)
