from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedrec.checkpoints import load_checkpoint
from fedrec.data.sealed import read_sealed
from fedrec.errors import CheckpointError

SMALL = {
    "gate": np.array([0.25], dtype=np.float32),
    "backbone.a": np.array([[1.5, -2.0]], dtype=np.float32),
    "backbone.b": np.array([3.0], dtype=np.float32),
}


def test_what_is_saved_is_read_back(save, trained) -> None:
    arrays = trained("alignment")
    saved = save("alignment", arrays, parent="p" * 64)
    read = load_checkpoint(saved.path)
    assert read.manifest == saved.manifest and read.path == saved.path
    assert read.manifest.stage == "alignment" and read.manifest.round == 7
    assert read.manifest.metrics == {"full": {"ndcg@10": 0.25, "users": 99}}
    assert read.arrays.keys() == arrays.keys()
    for name, value in arrays.items():
        assert read.arrays[name].dtype == np.float32
        assert np.array_equal(read.arrays[name], value)


def test_the_files_of_a_checkpoint(save) -> None:
    saved = save("backbone", SMALL)
    assert sorted(path.name for path in saved.path.parent.iterdir()) == [
        "backbone.json", "backbone.safetensors",
    ]  # fmt: skip
    manifest = json.loads(saved.path.with_suffix(".json").read_text())
    assert manifest["groups"].keys() == {"backbone", "gate"} and manifest["format"] == 4


def test_every_flipped_byte_of_the_tensors_is_found(save) -> None:
    path = save("backbone", SMALL).path
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(CheckpointError, match=path.name):
            load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_found(save, share) -> None:
    path = save("backbone", SMALL).path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("group", ["backbone", "gate"])
def test_the_group_at_fault_is_named(save, group) -> None:
    path = save("backbone", SMALL).path
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith(group))
    save_file({**tensors, name: tensors[name] + 1}, path)
    with pytest.raises(CheckpointError, match=f"group '{group}' is .*, its manifest says"):
        load_checkpoint(path)
    save_file({name: value for name, value in tensors.items() if group not in name}, path)
    with pytest.raises(CheckpointError, match=f"group '{group}' is missing, its manifest says"):
        load_checkpoint(path)


def test_a_group_that_the_manifest_does_not_know(save) -> None:
    path = save("backbone", SMALL).path
    save_file({**load_file(path), "router.x": np.zeros(1, dtype=np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"group 'router' is .*, its manifest says missing"):
        load_checkpoint(path)


def test_a_manifest_of_another_checkpoint(save) -> None:
    saved = save("backbone", SMALL)
    path = saved.path.with_suffix(".json")
    content = read_sealed(path)
    path.write_text(json.dumps({**content, "format": 4, "fingerprint": "0" * 64}))
    with pytest.raises(CheckpointError, match="written for another checkpoint"):
        load_checkpoint(saved.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("\x00\x80", "is damaged"),
        ("[]", "format None, this version reads 4"),
        ('{"format": 2}', "format 2, this version reads 4"),
        ('{"format": 4}', "not a checkpoint manifest: .*missing"),
    ],
)
def test_a_manifest_that_is_none(save, content, message) -> None:
    path = save("backbone", SMALL).path
    path.with_suffix(".json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["groups", "initial", "config", "feature_dims", "metrics"])
def test_a_manifest_with_a_table_missing(save, key) -> None:
    path = save("backbone", SMALL).path
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps({**read_sealed(manifest), key: None}))
    with pytest.raises(CheckpointError, match=f"{key} is None, expected a table"):
        load_checkpoint(path)


def test_a_manifest_with_a_foreign_key(save) -> None:
    path = save("backbone", SMALL).path
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps({**read_sealed(manifest), "extra": 1}))
    with pytest.raises(CheckpointError, match=r"not a checkpoint manifest: .*'extra'"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_named(save, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint manifest .*routing\.json"):
        load_checkpoint(tmp_path / "routing.safetensors")
    path = save("backbone", SMALL).path
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint .*backbone\.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_folder_in_place_of_a_file(save, suffix) -> None:
    path = save("backbone", SMALL).path
    path.with_suffix(suffix).unlink()
    path.with_suffix(suffix).mkdir()
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a checkpoint was unpickled",)


def test_a_pickle_is_refused_and_never_run(save) -> None:
    path = save("backbone", SMALL).path
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_a_checkpoint_replaces_an_older_one(save) -> None:
    save("backbone", SMALL)
    newer = save("backbone", {**SMALL, "gate": np.array([9.0], dtype=np.float32)})
    assert float(load_checkpoint(newer.path).arrays["gate"][0]) == 9.0
