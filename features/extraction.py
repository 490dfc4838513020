"""One modality of a prepared folder, from its contents to its feature file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.axes import project
from features.contents import Contents, Fault
from features.encoding import Work, encode_unknown
from features.job import Job, Means
from features.locking import Say, locked
from features.outcome import Outcome, fault_lines, faults_path, write_faults
from features.recipe import CONTENT, is_current, recipe_digest
from features.store import Store, open_store, store_folder
from fedrec.data.features import read_feature_manifest, write_features
from fedrec.data.folder import FEATURES
from fedrec.errors import DataError


def extract(job: Job, contents: Contents, means: Means) -> Outcome:
    """Encode what the store does not know, then write the features, unless nothing has changed.

    Whenever it is killed, the same call goes on, and ends in the same bytes.
    Raises DataError where nothing at all can be encoded, where files change meanwhile or cannot be
    written, and where the weights are not those that made the rows in the store or in the folder.
    """
    _require_some(job, contents.faults, contents.sources)
    with open_store(store_folder(job.spec, job.weights_sha256), means.say) as store:
        if _is_current(job, contents, store):
            return _outcome(job, contents, store, Work(), current=True)
        work = encode_unknown(job, contents, store, means)
        store.finish()
        _write(job, contents, store, means.say)
        return _outcome(job, contents, store, work, current=False)


def _require_some(job: Job, faults: Sequence[Fault], found: object) -> None:
    if not found:
        reasons = "\n  ".join(fault_lines(faults)) if faults else "it has no items"
        raise DataError(f"{job.folder}: no item can have {job.spec.modality} features; {reasons}")


def _is_current(job: Job, contents: Contents, store: Store) -> bool:
    faults = _all_faults(contents, store)
    name = job.feature_name()
    content = contents.tensor(without=store.fault)
    current = is_current(job.folder, name, job.recipe, content, _by_kind(faults))
    if current:
        write_faults(faults_path(job.folder, name), faults)
    return current


def _write(job: Job, contents: Contents, store: Store, say: Say) -> None:
    """Put features, manifest and the list of faults into the folder, in a free or its own name."""
    faults = _all_faults(contents, store)
    content = contents.tensor(without=store.fault)
    present = np.asarray(content.any(axis=1))
    _require_some(job, faults, present.any())
    digests = _usable(contents, store)
    values, told = _values(store.rows(digests), present, job.recipe.get("axes"))
    manifest = {**_manifest(job, store, digests), **told, "faults": _by_kind(faults)}
    with locked(job.folder, say):
        name = job.feature_name()
        job.require_weights(store.identity["weights_sha256"])
        try:
            _remove_abandoned(job.folder / FEATURES, name)
            write_features(job.folder, name, values, present, manifest, extra={CONTENT: content})
            write_faults(faults_path(job.folder, name), faults)
        except OSError as error:
            raise DataError(
                f"{job.folder}: the features {name!r} cannot be written ({error}); what was "
                "encoded is kept: run the same command again to go on"
            ) from error


def _manifest(job: Job, store: Store, digests: Sequence[bytes]) -> dict[str, Any]:
    """No times, no absolute paths, nothing of this run: the same contents have the same."""
    return {
        "encoder": job.spec.name,
        "weights_sha256": store.identity["weights_sha256"],
        "preprocessing": store.identity["preprocessing"],
        "recipe": dict(job.recipe),
        "recipe_sha256": recipe_digest(job.recipe),
        "versions": store.versions(digests),
        "contents": len(set(digests)),
        "first_frames": sum(map(store.is_first_frame, digests)),
    }


def _values(
    rows: NDArray[np.float16], present: NDArray[np.bool_], axes: int | None
) -> tuple[NDArray[np.floating[Any]], dict[str, float]]:
    """float [items + 1, dim or axes], and what the manifest tells of it."""
    chosen: NDArray[np.floating[Any]] = rows
    told = {}
    if axes is not None:
        projection = project(rows, axes)
        chosen = projection.values
        told["explained_variance"] = round(projection.explained_variance, 6)
    values = np.zeros((len(present), chosen.shape[1]), dtype=chosen.dtype)
    values[present] = chosen
    return values, told


def _remove_abandoned(features: Path, name: str) -> None:
    """What a killed process left half-written; nobody else writes here now."""
    for leftover in features.glob(f".{name}.*.part-*"):
        leftover.unlink(missing_ok=True)


def _usable(contents: Contents, store: Store) -> list[bytes]:
    """The digests of the items that have a feature, in their order."""
    return [digest for digest in contents.digests if digest and not store.fault(digest)]


def _all_faults(contents: Contents, store: Store) -> list[Fault]:
    """Items without a content, and items whose content the encoder could not use; by item."""
    found = list(contents.faults)
    for item, digest in enumerate(contents.digests):
        fault = store.fault(digest) if digest else None
        if fault is not None:
            key, path = contents.keys[item], contents.paths[item]
            found.append(Fault(item=item, key=key, path=path, kind=fault[0], detail=fault[1]))
    return sorted(found, key=lambda fault: fault.item)


def _by_kind(faults: Sequence[Fault]) -> dict[str, int]:
    return dict(sorted(Counter(fault.kind for fault in faults).items()))


def _outcome(job: Job, contents: Contents, store: Store, work: Work, *, current: bool) -> Outcome:
    name, usable = job.feature_name(), _usable(contents, store)
    manifest = read_feature_manifest(job.folder, name)
    encoded = sum(digest in work.digests for digest in usable)
    return Outcome(
        folder=job.folder,
        modality=job.spec.modality,
        name=name,
        dim=manifest["dim"],
        items=len(contents.keys) - 1,
        encoded=encoded,
        reused=len(usable) - encoded,
        contents=len(work.digests),
        seconds=work.seconds,
        first_frames=manifest["first_frames"],
        faults=_all_faults(contents, store),
        current=current,
    )
