from __future__ import annotations

import json
from shutil import copytree

import numpy as np
import pytest

from fedrec.data import PreparedData, write_features
from fedrec.data.cold_folder import prepare_cold
from fedrec.data.features import map_tensors
from fedrec.data.folder import record_files
from fedrec.data.sealed import read_sealed
from fedrec.errors import DataError
from fedrec.evaluation.segments import training_counts


@pytest.fixture(scope="module")
def cold(toy_data, tmp_path_factory) -> PreparedData:
    out = tmp_path_factory.mktemp("cold") / "out"
    assert prepare_cold(toy_data.path, out, share=0.2, seed=4)
    return PreparedData.load(out, verify=True)


def test_cold_items_are_numbered_last_and_never_train(cold, toy_data) -> None:
    assert (cold.num_items, cold.warm_items, cold.num_users) == (40, 32, toy_data.num_users)
    assert cold.cold_targets and not toy_data.cold_targets and toy_data.warm_items == 40
    counts = training_counts(cold)
    assert counts[:33].sum() == cold.train_end.sum() > 0 and not counts[33:].any()
    validated = np.flatnonzero(cold.validation_position >= 0)
    tested = np.flatnonzero(cold.test_position >= 0)
    assert len(validated) > 80 and len(tested) > 50
    assert all(cold.history(user)[cold.validation_position[user]] <= 32 for user in validated)
    assert all(cold.history(user)[cold.test_position[user]] > 32 for user in tested)


def test_items_keep_their_keys_and_features(cold, toy_data) -> None:
    before = toy_data.item_keys()
    number = np.array([before.index(key) for key in cold.item_keys()])
    assert sorted(number.tolist()) == list(range(41))
    assert (np.diff(number[1:33]) > 0).all() and (np.diff(number[33:]) > 0).all()
    for name, table in cold.features.items():
        assert np.array_equal(table.values, toy_data.features[name].values[number]), name
        assert np.array_equal(table.present, toy_data.features[name].present[number]), name
    kept = {
        user: [before[item] for item in toy_data.history(user)] for user in range(cold.num_users)
    }
    for user, keys in kept.items():
        mine = [cold.item_keys()[item] for item in cold.train_items(user)]
        assert mine == [key for key in keys if key in set(mine)]
    assert cold.user_keys() == toy_data.user_keys()


def test_what_was_left_out_is_said(cold, toy_data) -> None:
    (note,) = cold.manifest["notes"]
    dropped = len(toy_data.items) - len(cold.items)
    assert note.startswith(f"{dropped:,} of {len(toy_data.items):,} interactions are left out")
    split = json.loads((cold.path / "split.json").read_text())
    assert split["rule"] == "given" and split["test_targets"] == "cold"
    assert split["items"] == {"cold": 8}
    assert cold.manifest["settings"] == {"dataset": "cold", "share": 0.2, "seed": 4}
    assert cold.manifest["derived_from"]["settings"]["dataset"] == "csv"


def test_the_same_source_and_settings_give_the_same_bytes(cold, toy_data, tmp_path) -> None:
    prepare_cold(toy_data.path, tmp_path / "again", share=0.2, seed=4)
    names = sorted(path.name for path in cold.path.rglob("*") if path.is_file())
    assert names == sorted(p.name for p in (tmp_path / "again").rglob("*") if p.is_file())
    for name in cold.manifest["files"]:
        assert (cold.path / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    assert not prepare_cold(toy_data.path, tmp_path / "again", share=0.2, seed=4)
    with pytest.raises(DataError, match="other files or with other settings; --force replaces"):
        prepare_cold(toy_data.path, tmp_path / "again", share=0.2, seed=5)
    assert prepare_cold(toy_data.path, tmp_path / "again", share=0.2, seed=5, force=True)


def test_further_tensors_of_a_feature_file_move_along(toy_data, tmp_path) -> None:
    source = copytree(toy_data.path, tmp_path / "source")
    numbers = np.arange(41, dtype=np.int64)
    write_features(source, "text", np.eye(41), numbers > 0, {"encoder": "e"}, {"number": numbers})
    prepare_cold(source, tmp_path / "out")
    tensors = map_tensors(tmp_path / "out" / "features" / "text.safetensors")
    assert np.array_equal(np.argmax(tensors["features"], axis=1), tensors["number"])
    data = PreparedData.load(tmp_path / "out", verify=True)
    assert data.features["text"].manifest["encoder"] == "e"


def test_an_older_reader_finds_the_same_split(cold, tmp_path, older) -> None:
    folder = older(copytree(cold.path, tmp_path / "older"))
    read = PreparedData.load(folder)
    for name in ("items", "offsets", "train_end", "validation_position", "test_position"):
        assert np.array_equal(getattr(read, name), getattr(cold, name)), name


def test_errors(cold, toy_data, tmp_path) -> None:
    for share in (0, 1, -1):
        with pytest.raises(DataError, match=f"--share {share}: expected a share of the items"):
            prepare_cold(toy_data.path, tmp_path / "o", share=share)
    with pytest.raises(DataError, match="has items that nobody trains on already"):
        prepare_cold(cold.path, tmp_path / "o")
    with pytest.raises(DataError, match="is the source itself"):
        prepare_cold(toy_data.path, toy_data.path)
    with pytest.raises(DataError, match="no such folder"):
        prepare_cold(tmp_path / "none", tmp_path / "o")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine").touch()
    with pytest.raises(DataError, match="is not a prepared folder"):
        prepare_cold(toy_data.path, tmp_path / "o", force=True)


def test_a_manifest_that_lies_about_warm_items(cold, tmp_path) -> None:
    folder = copytree(cold.path, tmp_path / "lying")
    record_files(folder, [])
    for found in (0, 41, "32"):
        manifest = read_sealed(folder / "manifest.json")
        manifest["warm_items"] = found
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(DataError, match=f"warm_items is {found!r}, expected 1 to 40"):
            PreparedData.load(folder)
