"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedrec.errors import DataError

Say = Callable[[str], object]
"""Takes a message for people."""


@contextmanager
def locked(folder: Path, say: Say) -> Iterator[None]:
    """Nobody else who asks is in `folder` until the body has ended; waiting is announced.

    The operating system holds the lock, so a process that is killed leaves none behind.
    Raises DataError where the folder cannot be made or opened.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{folder}: cannot be opened ({error})") from error
    try:
        _acquire(descriptor, folder, say)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path, say: Say) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting: another process is writing to {folder}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
