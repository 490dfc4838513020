"""Files and folders that exist whole or not at all, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fedrec.errors import DataError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary sibling, flush it to disk, then give it the name `path`."""
    temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` atomically, readable and in the order given."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


def copy_file(source: Path, target: Path) -> None:
    """Write a file's content under another name, whole or not at all."""

    def copy(stream: BinaryIO) -> None:
        with source.open("rb") as content:
            shutil.copyfileobj(content, stream)

    write_atomically(target, copy)


@contextmanager
def new_folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """A sibling of `out` to fill; it takes the name `out` only after the body has finished.

    On an error or an interrupt it is removed. What a killed process left is removed by the next
    call for the same `out`. With `replace`, a folder that has the name is removed at the end.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out)
    partial = _sibling(out, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _sync_folder(partial)
        _move_into_place(partial, out, replace)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_into_place(partial: Path, out: Path, replace: bool) -> None:
    replaced = _sibling(out, "replaced")
    if out.exists():
        if not replace and any(out.iterdir()):
            raise DataError(f"{out} appeared while it was being prepared; nothing was replaced")
        os.replace(out, replaced)
    os.replace(partial, out)
    _sync_folder(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sibling(out: Path, purpose: str) -> Path:
    return out.with_name(f".{out.name}.{purpose}-{os.getpid()}")


def _remove_abandoned(out: Path) -> None:
    for leftover in out.parent.glob(f".{out.name}.*-*"):
        purpose, _, pid = leftover.name.removeprefix(f".{out.name}.").partition("-")
        # a `replaced` folder is the only copy as long as nothing has taken its place
        removable = purpose == "partial" or (purpose == "replaced" and out.exists())
        if removable and pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask elsewhere, so nothing is removed
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
