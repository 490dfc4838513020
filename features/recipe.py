"""What made a feature file, and under which name it lies in a prepared folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.specs import EncoderSpec
from fedrec.data.checksum import digest_file
from fedrec.data.features import map_tensors, read_feature_manifest
from fedrec.data.folder import FEATURES, digests, read_manifest
from fedrec.errors import ConfigError

CONTENT = "content"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SLUG_LENGTH = 24


def recipe_of(
    spec: EncoderSpec, weights_sha256: str | None, *, template: str | None, axes: int | None
) -> dict[str, Any]:
    """What features depend on besides the contents; the same on every machine."""
    recipe: dict[str, Any] = {"encoder": spec.name, "weights_sha256": weights_sha256}
    if template is not None:
        recipe["template"] = template
    if axes is not None:
        recipe["axes"] = axes
    return recipe


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """sha256 of a recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def feature_name(
    folder: Path, spec: EncoderSpec, recipe: Mapping[str, Any], chosen: str | None
) -> str:
    """The name for the features of `recipe`: the modality's, unless other features have that.

    chosen: the name that was asked for. Raises ConfigError where it is none, or taken by the
    features of another recipe: those are never replaced.
    """
    if chosen is not None and not _NAME.fullmatch(chosen):
        raise ConfigError(
            f"--{spec.modality}-name {chosen!r}: expected letters, digits, - and _, and first a "
            "letter or digit"
        )
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", spec.slug)[:_SLUG_LENGTH].strip("-")
    own = f"{spec.modality}-{slug}-{recipe_digest(recipe)[:6]}"
    candidates = [chosen] if chosen is not None else [spec.modality, own]
    for name in candidates:
        if _is_free(folder, name, recipe):
            return name
    manifest = read_feature_manifest(folder, candidates[-1])
    raise ConfigError(
        f"{folder / FEATURES / candidates[-1]}.safetensors was made otherwise (encoder "
        f"{manifest.get('encoder')}); choose another --{spec.modality}-name"
    )


def _is_free(folder: Path, name: str, recipe: Mapping[str, Any]) -> bool:
    """Whether nothing has the name, or what `recipe` made before."""
    if not (folder / FEATURES / f"{name}.json").exists():
        return True
    made_by = read_feature_manifest(folder, name).get("recipe_sha256")
    return bool(made_by == recipe_digest(recipe))


def recorded_weights(folder: Path, name: str) -> str | None:
    """The hash of the weights that made the features which have the name, if there are any."""
    if not (folder / FEATURES / f"{name}.json").exists():
        return None
    recorded = read_feature_manifest(folder, name).get("weights_sha256")
    return recorded if isinstance(recorded, str) else None


def is_current(
    folder: Path,
    name: str,
    recipe: Mapping[str, Any],
    content: NDArray[np.uint8],
    faults: Mapping[str, int],
) -> bool:
    """Whether the features are there, whole, and made by `recipe` from just these contents.

    content: uint8 [items + 1, 16]. faults: how many items lack a feature, by kind.
    """
    stem = folder / FEATURES / name
    files = [f"{FEATURES}/{name}.safetensors", f"{FEATURES}/{name}.json"]
    if not all((folder / file).exists() for file in files):
        return False
    manifest = read_feature_manifest(folder, name)
    recorded = read_manifest(folder)["files"]
    return (
        manifest.get("recipe_sha256") == recipe_digest(recipe)
        and manifest.get("faults") == dict(faults)
        and manifest["sha256"] == digest_file(stem.with_suffix(".safetensors"))
        and digests(folder, files) == {file: recorded.get(file) for file in files}
        and np.array_equal(map_tensors(stem.with_suffix(".safetensors")).get(CONTENT, ()), content)
    )
