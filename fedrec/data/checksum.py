"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from fedrec.data.plain_files import check_plain

_BLOCK_BYTES = 1 << 20
_known: dict[tuple[int, int, int, int], str] = {}
"""(device, inode, size, time of change in ns) -> sha256, of the files this process has read."""


def digest_stream(stream: BinaryIO, algorithm: str = "sha256") -> str:
    """Hex digest of what is left of `stream`."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a plain file, read in blocks. Raises OSError."""
    check_plain(path)
    with path.open("rb") as stream:
        return digest_stream(stream, algorithm)


def digest_once(path: Path) -> str:
    """sha256 of a plain file; read once a process as long as it stays as it is. Raises OSError."""
    found = path.stat()
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if identity not in _known:
        _known[identity] = digest_file(path)
    return _known[identity]
