from __future__ import annotations

import json
from shutil import copytree

import numpy as np
import pytest

from fedrec.checkpoints import save_checkpoint
from fedrec.checkpoints.tensors import model_arrays
from fedrec.config import to_flat
from fedrec.data import PreparedData, write_features
from fedrec.data.added import add_items
from fedrec.data.sealed import read_sealed
from fedrec.errors import CheckpointError
from fedrec.evaluation.checkpoint import rank_checkpoint


@pytest.fixture
def checkpoint(toy_config, toy_model, toy_data, toy_node, tmp_path):
    config = toy_config(f"run.data={toy_data.path}")
    return save_checkpoint(
        tmp_path / "checkpoints",
        model_arrays(toy_model(config)),
        stage="routing",
        round=1,
        trained=[],
        initial={},
        catalogue=toy_data.catalogue_fingerprint,
        num_items=40,
        feature_dims={"visual": 12, "semantic": 10},
        config=to_flat(config),
        metrics={},
        parent=None,
    )


@pytest.fixture
def extended(toy_data, tmp_path) -> PreparedData:
    (tmp_path / "new.csv").write_text("item\nx\ny\n")
    add_items(toy_data.path, tmp_path / "extended", tmp_path / "new.csv")
    return PreparedData.load(tmp_path / "extended")


def test_new_items_are_candidates_of_the_test_alone(checkpoint, toy_data, extended) -> None:
    for split, more in (("validation", 0), ("test", 2)):
        before, after = (rank_checkpoint(checkpoint, d, split) for d in (toy_data, extended))
        assert set(after.rank) == {"full", "sampled100"}
        assert (after.candidates["full"] == before.candidates["full"] + more).all()
        assert np.array_equal(after.rank["full"], before.rank["full"])  # masked, so never better


def test_other_items_are_refused(checkpoint, toy_data, extended, tmp_path) -> None:
    folder = copytree(extended.path, tmp_path / "other")
    text = extended.features["text"]
    rows = np.array(text.values, dtype=np.float32)
    rows[41] = 1
    present = rows.any(axis=1)
    write_features(folder, "text", rows, present, {})
    rank_checkpoint(checkpoint, PreparedData.load(folder), "test")
    rows[3] = 1
    write_features(folder, "text", rows, present, {})
    with pytest.raises(CheckpointError, match=r"keys or the features of its items 1 to 40 are oth"):
        rank_checkpoint(checkpoint, PreparedData.load(folder), "test")


def test_another_number_of_trained_items_is_refused(checkpoint, extended) -> None:
    path = extended.path / "manifest.json"
    path.write_text(json.dumps({**read_sealed(path), "warm_items": 42}))
    message = "was trained for 40 items, .* has 42 to train on and 0 new ones; new items must be"
    with pytest.raises(CheckpointError, match=message):
        rank_checkpoint(checkpoint, PreparedData.load(extended.path), "test")
