"""Files that nobody but their owner may read, at no moment of their being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedrec.data.atomic import new_folder
from fedrec.errors import ConfigError

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def write_private(path: Path, content: str | bytes, *, mode: int = FILE_MODE) -> None:
    """Write `path` whole or not at all, with `mode` from its first byte on."""
    temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)  # whatever the umask
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_private_folder(path: Path) -> Path:
    """A new folder that its owner alone may enter."""
    path.mkdir(mode=FOLDER_MODE)
    path.chmod(FOLDER_MODE)
    return path


@contextmanager
def new_private_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `path` when all is in it.

    Raises ConfigError where something has the name already: keys are never overwritten.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} exists; keys are not overwritten: choose another name")
    with new_folder(path) as folder:
        folder.chmod(FOLDER_MODE)
        yield folder


def require_private(path: Path) -> None:
    """Raise ConfigError where others than the owner may read or change `path`."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        expected = FOLDER_MODE if path.is_dir() else FILE_MODE
        raise ConfigError(
            f"{path}: mode {mode:04o} lets others in, expected {expected:04o}; "
            f"chmod {expected:o} {path}"
        )
