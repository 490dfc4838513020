"""Compressed content that must not become out of all proportion to what is stored."""

from __future__ import annotations

import io
from typing import BinaryIO

HARMLESS_BYTES = 256 << 20
"""So much is always read."""
MOST_TIMES = 100
"""How many times its stored size a content may have beyond that. Text packs 3 to 20 times."""


class Bounded(io.RawIOBase):
    """The bytes of `content`; reading more than the bound raises OSError.

    stored_bytes: what the content takes where it is kept. A few kB of zeros can stand for as many
    terabytes.
    """

    def __init__(self, content: BinaryIO, stored_bytes: int) -> None:
        self._content = content
        self._stored_bytes = stored_bytes
        self._left = max(HARMLESS_BYTES, MOST_TIMES * stored_bytes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._content.read(len(buffer))
        self._left -= len(part)
        if self._left < 0:
            raise OSError(
                f"{self._stored_bytes} bytes stand for more than {MOST_TIMES} times as much"
            )
        buffer[: len(part)] = part
        return len(part)
