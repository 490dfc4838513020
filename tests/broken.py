"""Files to break, and ways to break a file, by name. Each is undone at the end."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

PREPARED = (
    "manifest.json",
    "split.json",
    "items.parquet",
    "users.parquet",
    "interactions.parquet",
    "histories.safetensors",
    "features/text.json",
    "features/text.safetensors",
)
"""What a prepared folder with one text modality holds."""

Content = Callable[[bytes], bytes]
CONTENTS: dict[str, Content] = {
    "empty": lambda sound: b"",
    "cut in half": lambda sound: sound[: len(sound) // 2],
    "the last byte missing": lambda sound: sound[:-1],
    "the first byte missing": lambda sound: sound[1:],
    "one byte more": lambda sound: sound + b" ",
    "twice behind each other": lambda sound: sound + sound,
    "zeros of the same length": lambda sound: bytes(len(sound)),
    "random bytes": lambda sound: Random(0).randbytes(len(sound)),
    "a bit flipped at the beginning": lambda sound: _flipped(sound, 0),
    "a bit flipped in the middle": lambda sound: _flipped(sound, len(sound) // 2),
    "a bit flipped at the end": lambda sound: _flipped(sound, len(sound) - 2),
    "a block of zeros": lambda sound: sound[:9] + bytes(16) + sound[25:],
    "two bytes swapped": lambda sound: _swapped(sound),
    "wrong magic": lambda sound: b"PK\x03\x04\xff\xff\xff\xff" + sound[8:],
    "a header of 2**63 bytes": lambda sound: b"\xff" * 7 + b"\x7f" + sound[8:],
    "a web page": lambda sound: b"<!DOCTYPE html><title>404 Not Found</title>\n",
    "another encoding": lambda sound: sound.decode("latin-1").encode("utf-16"),
    "not UTF-8": lambda sound: sound[:20] + b"\xc3\x28" + sound[20:],
    "a byte order mark": lambda sound: b"\xef\xbb\xbf" + sound,
    "JSON nested 100,000 deep": lambda sound: b"[" * 100_000 + b"]" * 100_000,
    "JSON with NaN": lambda sound: b'{"format": NaN}',
    "a number of 10,000 digits": lambda sound: b'{"format": ' + b"9" * 10_000 + b"}",
    "the wrong type": lambda sound: b'["format"]',
    "another version": lambda sound: b'{"format": 99}',
    "half a character": lambda sound: b'{"format": "\\ud800"}',
    "a pickle": lambda sound: pickle.dumps({"weights": [1.0]}),
    "gzipped": lambda sound: gzip.compress(sound),
}  # fmt: skip


def _swapped(content: bytes) -> bytes:
    """The first two neighbours from the middle on that differ change places."""
    at = next(at for at in range(len(content) // 2, len(content)) if content[at] != content[at - 1])
    return content[: at - 1] + content[at : at + 1] + content[at - 1 : at] + content[at + 1 :]


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def _swap(path: Path) -> None:
    """Another sound file of the same folder in its place."""
    others = (other for other in sorted(path.parent.iterdir()) if other.is_file())
    shutil.copyfile(next(other for other in others if other.name != path.name), path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _linked(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _forbid(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    path.chmod(0)


PLACES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "a folder": _folder,
    "a link in a circle": lambda path: _linked(path, path.name),
    "a link to nothing": lambda path: _linked(path, "nowhere"),
    "a link to a device": lambda path: _linked(path, "/dev/zero"),
    "a pipe that nobody fills": _pipe,
    "another file of the folder": _swap,
    "not allowed to be read": _forbid,
}
KINDS = (*CONTENTS, *PLACES)


@contextmanager
def break_file(path: Path, kind: str) -> Iterator[None]:
    """Break a sound file; afterwards it is as it was."""
    sound = path.read_bytes()
    try:
        if kind in CONTENTS:
            path.write_bytes(CONTENTS[kind](sound))
        else:
            PLACES[kind](path)
        yield
    finally:
        _remove(path)
        path.write_bytes(sound)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
