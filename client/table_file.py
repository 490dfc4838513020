"""A large array that a node keeps in a file instead of its Flower state, which Flower copies.

The file is mapped into memory and is the model's weight as it stands. Beside it lies a note of the
version it holds; the note goes before the file is written to and comes back when that is done, so a
file that was left half-written holds no version.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

from fedrec.data.download import default_cache

LARGE_BYTES = 32 * 2**20
"""Arrays of more bytes are kept in files."""
_FORGOTTEN_S = 3600.0


def node_folder(context: Context) -> Path:
    """Where a node keeps what is large in a run: below $FEDREC_CACHE, else ~/.cache/fedrec."""
    return default_cache() / "nodes" / f"{context.run_id}-{context.node_id}"


class TableFile:
    """One array, float32, in `folder/name`; the folder is made when something is written.

    A new folder removes those that nobody has read or written for an hour. To remove a file does
    not hurt a process that has it mapped.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path, self._note = folder / f"{name}.npy", folder / f"{name}.version"

    def read(self, version: str) -> NDArray[Any] | None:
        """The array, mapped for writing; None unless the file holds this version."""
        try:
            if self._note.read_text(encoding="utf-8") != version:
                return None
            os.utime(self._folder)  # in use: a run that begins must not remove it
            return np.load(self._path, mmap_mode="r+")  # type: ignore[no-any-return]
        except (FileNotFoundError, EOFError, ValueError):
            return None

    def write(self, values: NDArray[np.float32], version: str) -> None:
        """Replace the array. A process that has the former one mapped keeps it."""
        self._prepare_folder()
        self._note.unlink(missing_ok=True)
        part = self._path.with_suffix(f".part-{os.getpid()}")
        with part.open("wb") as stream:
            np.save(stream, values)
        part.replace(self._path)
        self._write_note(version)

    def change(
        self, rows: NDArray[np.int32], values: NDArray[np.float32], base: str, version: str
    ) -> None:
        """Put values [rows, ...] in place of these rows; base: the version that is held."""
        table = self.read(base)
        if table is None:
            raise FileNotFoundError(f"{self._path} does not hold version {base}")
        self._note.unlink()
        table[rows] = values
        self._write_note(version)

    def _write_note(self, version: str) -> None:
        part = self._note.with_suffix(f".part-{os.getpid()}")
        part.write_text(version, encoding="utf-8")
        part.replace(self._note)

    def _prepare_folder(self) -> None:
        if self._folder.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for other in self._folder.parent.iterdir():
            if _age_s(other) > _FORGOTTEN_S:
                shutil.rmtree(other, ignore_errors=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
