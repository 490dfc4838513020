"""The files of a prepared folder, and the manifest that vouches for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fedrec.data.arrow import pa, pq
from fedrec.data.checksum import digest_file, digest_once
from fedrec.data.json_files import read_json_value
from fedrec.data.plain_files import check_plain
from fedrec.data.sealed import read_sealed, write_sealed
from fedrec.errors import DataError

FORMAT = 1
INTERACTIONS = "interactions.parquet"
ITEMS = "items.parquet"
USERS = "users.parquet"
HISTORIES = "histories.safetensors"
SPLIT = "split.json"
MANIFEST = "manifest.json"
FEATURES = "features"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises DataError where it is missing or is something else."""
    return _object(path, read_json_value)


def _object(path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    try:
        content = read(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file is missing; is this a prepared folder?") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected an object")
    return content


def read_column(path: Path, column: str) -> Any:
    """One column of a Parquet file, as pyarrow has it. Raises DataError where it is not there."""
    try:
        check_plain(path)
        found = pq.read_table(path, columns=[column], partitioning=None)[column]
        found.validate(full=True)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises DataError where there is none, where it is damaged, names files elsewhere, or has another
    format version than this program's.
    """
    path = folder / MANIFEST
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; `fedrec prepare` makes one")
    manifest = _object(path, read_sealed)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path}: format {manifest.get('format')!r}, this program reads {FORMAT}; "
            "prepare the data again (--force)"
        )
    missing = {"name", "counts", "files", "settings", "source"} - manifest.keys()
    if missing:
        raise DataError(f"{path}: lacks {', '.join(sorted(missing))}")
    _check_counts(path, manifest["counts"])
    _check_names(path, manifest["files"])
    return manifest


def _check_counts(path: Path, counts: object) -> None:
    found = counts.values() if isinstance(counts, dict) else [None]
    if not all(type(count) is int and 0 <= count < 2**62 for count in found):
        raise DataError(f"{path}: counts is {counts!r:.100}, expected numbers by name")


def _check_names(path: Path, files: object) -> None:
    """Files are copied under the names that are given here: none may lead out of the folder."""
    if not isinstance(files, dict):
        raise DataError(f"{path}: files is {files!r:.100}, expected checksums by name")
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
            raise DataError(f"{path}: names a file outside the folder, {name!r:.100}")


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of files of the folder by name."""
    return {name: digest_file(folder / name) for name in names}


def record_files(folder: Path, names: Iterable[str]) -> None:
    """Bring the manifest's checksums of files up to date, where there is a manifest already."""
    if not (folder / MANIFEST).exists():
        return
    manifest = read_manifest(folder)
    files = {**manifest["files"], **digests(folder, names)}
    write_sealed(folder / MANIFEST, {**manifest, "files": dict(sorted(files.items()))})


def verify_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises DataError that names the first file that is missing or not as it was prepared."""
    for name, expected in manifest["files"].items():
        _verify(folder / name, expected, digest_file)


def verify_once(folder: Path, name: str, files: Mapping[str, str]) -> None:
    """Raises DataError where a file that is going to be read is not as it was prepared.

    files: sha256 by name; what they do not name is not looked at. A file that this process has
    looked at is not read again while its size and its time stay the same.
    """
    if name in files:
        _verify(folder / name, files[name], digest_once)


def _verify(path: Path, expected: str, digest: Callable[[Path], str]) -> None:
    try:
        found = digest(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if found != expected:
        raise DataError(
            f"{path}: sha256 {found}, the manifest says {expected}; the file was changed or "
            "damaged: prepare the data again (--force)"
        )
