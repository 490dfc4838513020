"""The files of a prepared folder, and the manifest that vouches for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import write_json
from fedrec.data.checksum import digest_file
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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
        return pq.read_table(path, columns=[column])[column]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises DataError where there is none or it has another format version than this program's.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; `fedrec prepare` makes one")
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{folder / MANIFEST}: format {manifest.get('format')!r}, this program reads {FORMAT}; "
            "prepare the data again (--force)"
        )
    missing = {"name", "counts", "files", "settings", "source"} - manifest.keys()
    if missing:
        raise DataError(f"{folder / MANIFEST}: lacks {', '.join(sorted(missing))}")
    return manifest


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of files of the folder by name."""
    return {name: digest_file(folder / name) for name in names}


def record_files(folder: Path, names: Iterable[str]) -> None:
    """Bring the manifest's checksums of files up to date, where there is a manifest already."""
    if not (folder / MANIFEST).exists():
        return
    manifest = read_manifest(folder)
    files = {**manifest["files"], **digests(folder, names)}
    write_json(folder / MANIFEST, {**manifest, "files": dict(sorted(files.items()))})


def verify_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises DataError that names the first file that is missing or not as it was prepared."""
    for name, expected in manifest["files"].items():
        try:
            found = digest_file(folder / name)
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be read ({error})") from error
        if found != expected:
            raise DataError(
                f"{folder / name}: sha256 {found}, the manifest says {expected}; the file was "
                "changed or damaged: prepare the data again (--force)"
            )
