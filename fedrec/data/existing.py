"""What to do about an output folder that is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedrec.data.archive import Source
from fedrec.data.folder import MANIFEST, read_manifest, verify_files
from fedrec.data.origin import feature_files, find_keyed, kind_of
from fedrec.data.registry import Dataset
from fedrec.data.settings import Settings
from fedrec.errors import DataError


def already_prepared(
    out: Path,
    settings: Settings,
    dataset: Dataset,
    *,
    source: Path | None,
    features: Path | None,
    force: bool,
) -> bool:
    """Whether `out` is what would be prepared, from the same files with the same settings.

    False where it is free, or may be replaced because of `force`. Raises DataError where it is
    something else, or where it is damaged; a folder that is not a prepared one is never replaced.
    """
    manifest = standing_manifest(out, force=force)
    if manifest is None:
        return False
    difference = _changed_setting(manifest["settings"], settings.record()) or _changed_file(
        manifest["source"], dataset, source, features
    )
    if difference:
        raise DataError(
            f"{out} was prepared otherwise ({difference}); --force replaces it, or choose another "
            "--out"
        )
    verify_files(out, manifest)
    return True


def standing_manifest(out: Path, *, force: bool) -> dict[str, Any] | None:
    """What the prepared folder in `out` says of itself; None where it is free, or `force` may
    replace it. Raises DataError for a folder that is not a prepared one, force or not."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise DataError(f"{out} exists and is not a prepared folder; choose another --out")
    return None if force else read_manifest(out)


def _changed_setting(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    for name in new:
        if old.get(name) != new[name]:
            return f"{name}: {old.get(name)!r} then, {new[name]!r} now"
    return None


def _changed_file(
    recorded: dict[str, Any], dataset: Dataset, source: Path | None, features: Path | None
) -> str | None:
    kind = kind_of(dataset, source)
    if recorded["kind"] != kind:
        return f"source: {recorded['kind']} then, {kind} now"
    place = source or dataset.builtin
    if place is not None:  # a download is the same as long as its settings are
        opened = Source(place)
        for name, digest in recorded["files"].items():
            if opened.fingerprint(name) != digest:
                return f"{opened.label(name)} is not the file it was"
    if recorded["features"] != feature_files(find_keyed(dataset, source, features)):
        return "the feature files are not the ones they were"
    return None
