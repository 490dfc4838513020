"""Only plain files are read: a folder fails late, and a pipe that nobody fills waits for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def check_plain(path: Path) -> None:
    """Raises OSError unless `path` is a file of bytes, or a link to one.

    Its text says what was found: nothing, a link that leads round in a circle, a folder, a pipe, a
    device, or a name that no file can have.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a null byte in the name
        raise OSError(f"no file can be called so ({error})") from error
    if not stat.S_ISREG(mode):
        raise OSError(f"{_kind(mode)}, expected a file")


def read_plain(path: Path, most_bytes: int) -> bytes:
    """The content of a plain file of at most `most_bytes`. Raises OSError for any other."""
    check_plain(path)
    with path.open("rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(f"larger than {most_bytes:,} bytes, which is too large for what it should be")
    return content


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket or a device"
