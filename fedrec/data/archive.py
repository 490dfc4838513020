"""The publisher's files, read in place from a folder or a zip archive; nothing is extracted."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from fedrec.data.bounded import Bounded
from fedrec.data.checksum import digest_file
from fedrec.data.plain_files import check_plain
from fedrec.errors import DataError

_IGNORED_TOP = "__MACOSX"
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
# What the library of zip archives raises besides, over one that is not sound.
_NO_ARCHIVE = (
    *_DAMAGED, ValueError, NotImplementedError, RuntimeError, struct.error, OverflowError,
    IndexError,
)  # fmt: skip


class Source:
    """The files of a data set by name; a name also finds its gzipped form, `NAME.gz`.

    path: a folder; or a zip archive, whose single top folder is not part of the names; or a file,
    which stands for its folder and is kept in `chosen`.
    Raises DataError where nothing is there, or the archive is damaged or holds unsafe paths.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chosen: str | None = None
        self._members: dict[str, zipfile.ZipInfo] | None = None
        self._asked: set[str] = set()
        if os.path.isfile(path) and (path.suffix == ".zip" or _is_archive(path)):
            self._members = _members_of(path)
        elif os.path.isfile(path):
            self.path, self.chosen = path.parent, path.name
            self._asked.add(path.name)
        elif not os.path.isdir(path):
            raise DataError(f"{path}: no such file or folder")

    def find(self, *names: str) -> str | None:
        """The first of `names` that is there, plain or gzipped."""
        for name in names:
            for form in (name, f"{name}.gz"):
                self._asked.add(form)
                if self._has(form):
                    return form
        return None

    def names(self, suffix: str) -> list[str]:
        """Top-level files that end with `suffix` or `suffix`.gz, sorted."""
        endings = (suffix, f"{suffix}.gz")
        return sorted(name for name in self._listing() if name.endswith(endings))

    def require(self, *names: str) -> str:
        """Like `find`; raises DataError that says what was looked for and what is there."""
        found = self.find(*names)
        if found is None:
            wanted = " or ".join(names)
            there = ", ".join(sorted(self._listing())[:8]) or "nothing"
            raise DataError(f"{self.path}: no {wanted} in it; it holds {there}")
        return found

    def label(self, name: str) -> str:
        """How messages call a file: path/name, or archive.zip:name."""
        return str(self.path / name) if self._members is None else f"{self.path}:{name}"

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file's bytes, decompressed where the name ends in .gz; damage raises DataError."""
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(self._open_raw(name))
            except _NO_ARCHIVE as error:
                raise DataError(f"{self.label(name)}: cannot be opened ({error})") from error
            try:
                yield self._bounded(name, raw, stack)
            except _DAMAGED as error:
                raise DataError(f"{self.label(name)}: the file is damaged ({error})") from error

    def fingerprints(self) -> dict[str, str | None]:
        """sha256 of every file that was asked for so far (None: absent), or of the archive."""
        if self._members is not None:
            return {self.path.name: digest_file(self.path)}
        return {name: self.fingerprint(name) for name in sorted(self._asked)}

    def fingerprint(self, name: str) -> str | None:
        """sha256 of one file of a folder, or of the archive itself by its own name; else None."""
        if self._members is not None:
            return digest_file(self.path) if name == self.path.name else None
        return digest_file(self.path / name) if self._has(name) else None

    def _bounded(self, name: str, raw: BinaryIO, stack: ExitStack) -> BinaryIO:
        """The content, decompressed, which may not be out of all proportion to what is stored."""
        zipped = name.endswith(".gz")
        if self._members is None and not zipped:
            return raw
        content = _decompressed(raw, stack) if zipped else raw
        return cast(BinaryIO, io.BufferedReader(Bounded(content, self._stored_bytes(name))))

    def _stored_bytes(self, name: str) -> int:
        if self._members is None:
            return (self.path / name).stat().st_size
        return self._members[name].compress_size

    def _has(self, name: str) -> bool:
        if self._members is not None:
            return name in self._members
        return os.path.isfile(self.path / name)

    def _listing(self) -> list[str]:
        if self._members is not None:
            return [name for name in self._members if "/" not in name]
        return [entry.name for entry in self.path.iterdir() if os.path.isfile(entry)]

    def _open_raw(self, name: str) -> BinaryIO:
        if self._members is None:
            check_plain(self.path / name)
            return (self.path / name).open("rb")
        # the member keeps its own reference to the archive's file and closes it
        with zipfile.ZipFile(self.path) as archive:
            return cast(BinaryIO, archive.open(self._members[name]))


def _decompressed(raw: BinaryIO, stack: ExitStack) -> BinaryIO:
    return cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb")))


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except _NO_ARCHIVE:
        return False


def _members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
    except _NO_ARCHIVE as error:
        raise DataError(f"{path}: not a sound zip archive ({error})") from error
    paths = [(_safe_path(path, info), info) for info in entries]
    paths = [(inside, info) for inside, info in paths if inside.parts[0] != _IGNORED_TOP]
    tops = {inside.parts[0] for inside, _ in paths}
    skip = 1 if len(tops) == 1 and all(len(inside.parts) > 1 for inside, _ in paths) else 0
    members: dict[str, zipfile.ZipInfo] = {}
    for inside, info in paths:
        name = "/".join(inside.parts[skip:])
        if name in members:
            raise DataError(f"{path}: the archive holds {name} twice")
        members[name] = info
    return members


def _safe_path(archive: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    inside = PurePosixPath(info.filename)
    unsafe = inside.is_absolute() or ".." in inside.parts or not inside.parts
    if unsafe or "\\" in info.filename or ":" in inside.parts[0]:
        raise DataError(f"{archive}: the archive holds an unsafe path, {info.filename!r}")
    return inside
