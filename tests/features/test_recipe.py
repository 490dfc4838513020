from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.recipe import (
    CONTENT,
    feature_name,
    is_current,
    recipe_digest,
    recipe_of,
    recorded_weights,
)
from features.specs import EncoderSpec
from fedrec.data import write_features
from fedrec.data.atomic import write_json
from fedrec.data.folder import FORMAT
from fedrec.errors import ConfigError

SPEC = EncoderSpec(modality="image", kind="timm", model="net_v1.5", weights=None, path=None)
RECIPE = recipe_of(SPEC, "ab", template=None, axes=None)
CONTENTS = np.array([[0] * 16, [1] * 16, [0] * 16], dtype=np.uint8)
FAULTS = {"missing": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a prepared folder needs for its checksums to be kept."""
    keys = ("name", "counts", "files", "settings", "source")
    write_json(tmp_path / "manifest.json", {"format": FORMAT, **{key: {} for key in keys}})
    return tmp_path


@pytest.fixture
def put(folder: Path) -> Callable[..., None]:
    """Write features of CONTENTS with a manifest."""

    def write(name: str, manifest: dict[str, Any]) -> None:
        values = np.array([[0, 0], [3, 4], [0, 0]], dtype=np.float32)
        present = CONTENTS.any(axis=1)
        write_features(folder, name, values, present, manifest, extra={CONTENT: CONTENTS})

    return write


def manifest_of(recipe: dict[str, Any]) -> dict[str, Any]:
    return {"recipe_sha256": recipe_digest(recipe), "faults": FAULTS, "weights_sha256": "cd"}


def test_every_part_of_a_recipe_counts() -> None:
    other = EncoderSpec(modality="image", kind="timm", model="other", weights=None, path=None)
    recipes = [
        RECIPE,
        recipe_of(other, "ab", template=None, axes=None),
        recipe_of(SPEC, "cd", template=None, axes=None),
        recipe_of(SPEC, None, template=None, axes=None),
        recipe_of(SPEC, "ab", template="{title}", axes=None),
        recipe_of(SPEC, "ab", template="{text}", axes=None),
        recipe_of(SPEC, "ab", template=None, axes=8),
    ]
    assert len({recipe_digest(recipe) for recipe in recipes}) == len(recipes)


def test_the_plain_name_unless_other_features_have_it(folder, put) -> None:
    assert feature_name(folder, SPEC, RECIPE, None) == "image"
    put("image", manifest_of(RECIPE))
    assert feature_name(folder, SPEC, RECIPE, None) == "image"
    put("image", {})  # made elsewhere: by `fedrec prepare`
    name = feature_name(folder, SPEC, RECIPE, None)
    assert name == f"image-net_v1-5-{recipe_digest(RECIPE)[:6]}"
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name)  # what model.further allows
    put(name, manifest_of(RECIPE))
    assert feature_name(folder, SPEC, RECIPE, None) == name


def test_a_chosen_name_never_replaces_other_features(folder, put) -> None:
    assert feature_name(folder, SPEC, RECIPE, "mine") == "mine"
    put("mine", manifest_of(RECIPE))
    assert feature_name(folder, SPEC, RECIPE, "mine") == "mine"
    put("mine", {"encoder": "other"})
    with pytest.raises(ConfigError, match=r"mine.safetensors was made otherwise \(encoder other"):
        feature_name(folder, SPEC, RECIPE, "mine")
    for bad in ("", "../mine", "a.b", "-a"):
        with pytest.raises(ConfigError, match="--image-name"):
            feature_name(folder, SPEC, RECIPE, bad)


def test_features_are_current_until_anything_differs(folder, put) -> None:
    assert not is_current(folder, "image", RECIPE, CONTENTS, FAULTS)
    put("image", manifest_of(RECIPE))
    assert is_current(folder, "image", RECIPE, CONTENTS, FAULTS)
    assert recorded_weights(folder, "image") == "cd" and recorded_weights(folder, "x") is None
    assert not is_current(folder, "image", RECIPE | {"axes": 2}, CONTENTS, FAULTS)
    assert not is_current(folder, "image", RECIPE, CONTENTS, {"empty": 1})
    assert not is_current(folder, "image", RECIPE, CONTENTS[::-1] ^ CONTENTS[1], FAULTS)


@pytest.mark.parametrize("name", ["manifest.json", "features/image.safetensors"])
def test_a_write_that_was_killed_in_the_middle_is_not_current(folder, put, name) -> None:
    put("image", manifest_of(RECIPE))
    old = (folder / name).read_bytes()
    put("image", {**manifest_of(RECIPE), "later": 1})
    changed = old if name == "manifest.json" else old[:-1] + bytes([old[-1] ^ 1])
    (folder / name).write_bytes(changed)
    assert not is_current(folder, "image", RECIPE, CONTENTS, FAULTS)
