"""A prepared folder made from another one: what both derivations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedrec.data.atomic import new_folder
from fedrec.data.checksum import digest_file
from fedrec.data.existing import standing_manifest
from fedrec.data.folder import MANIFEST, digests, read_manifest, verify_files
from fedrec.data.prepared import PreparedData
from fedrec.data.sealed import write_sealed
from fedrec.errors import DataError

Content = Mapping[str, Any]


def derive(
    source: Path,
    out: Path,
    settings: Content,
    write: Callable[[PreparedData, Path], Content],
    *,
    files: Mapping[str, str] | None = None,
    force: bool = False,
) -> bool:
    """Write `out` from the prepared folder `source`, whole or not at all; False: it is there.

    settings: all that shapes it beside the files. files: sha256 of further files that are read,
    by name. write: fills a folder and returns what its manifest says otherwise than the source's.
    Raises DataError for a source that is damaged or not a prepared folder, and where `out` is
    something else and may not be replaced.
    """
    if source.resolve() == out.resolve():
        raise DataError(f"{out} is the source itself; choose another --out")
    manifest = read_manifest(source)
    origin = {
        "kind": "prepared",
        "location": source.resolve().name,
        "files": {MANIFEST: digest_file(source / MANIFEST), **(files or {})},
        "features": {},
    }
    if _is_there(out, settings, origin, force=force):
        return False
    data = PreparedData.load(source, verify=True)
    with new_folder(out, replace=force) as folder:
        changed = write(data, folder)
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        described = {
            **manifest,
            **changed,
            "settings": dict(settings),
            "source": origin,
            "derived_from": {key: manifest[key] for key in ("name", "settings", "source")},
            "files": digests(folder, names),
        }
        write_sealed(folder / MANIFEST, described)
    return True


def _is_there(out: Path, settings: Content, origin: Content, *, force: bool) -> bool:
    """Whether `out` is what would be written. Raises DataError where it is something else."""
    manifest = standing_manifest(out, force=force)
    if manifest is None:
        return False
    if (manifest["settings"], manifest["source"]) != (settings, origin):
        raise DataError(
            f"{out} was prepared from other files or with other settings; --force replaces it, or "
            "choose another --out"
        )
    verify_files(out, manifest)
    return True
