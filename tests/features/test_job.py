from __future__ import annotations

import numpy as np
import pytest

from features.job import Job
from features.recipe import recipe_digest, recipe_of
from features.specs import EncoderSpec
from fedrec.data import write_features
from fedrec.errors import DataError

HUB = EncoderSpec(modality="text", kind="sbert", model="some-model", weights=None, path=None)


def test_weights_that_a_hub_changed_do_not_follow_under_the_same_name(tmp_path) -> None:
    recipe = recipe_of(HUB, None, template="{text}", axes=None)
    job = Job(folder=tmp_path, spec=HUB, weights_sha256=None, recipe=recipe)
    job.require_weights("ab")  # there are no features yet
    manifest = {"recipe_sha256": recipe_digest(recipe), "weights_sha256": "ab"}
    write_features(tmp_path, "text", np.ones((3, 2)), np.ones(3, dtype=np.bool_), manifest)
    job.require_weights("ab")
    with pytest.raises(DataError, match=r"made with weights of sha256 ab, .* now has cd; nothing"):
        job.require_weights("cd")
    other = Job(folder=tmp_path, spec=HUB, weights_sha256=None, recipe=recipe, name="other")
    other.require_weights("cd")
