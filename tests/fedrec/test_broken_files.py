"""Files broken in every way we could think of: each is refused by name, and nothing comes of it.

Every kind is tried on every file that the program writes for itself: those of a prepared folder,
and the two of a checkpoint. Files of a run's state are tried in tests/server/test_broken_state.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fedrec.checkpoints import load_checkpoint, save_checkpoint
from fedrec.data import PreparedData, checksum
from fedrec.data.folder import MANIFEST
from fedrec.errors import CheckpointError, DataError
from tests.broken import KINDS, PREPARED, break_file

ARRAYS = {
    "gate": np.array([0.25], dtype=np.float32),
    "backbone.a": np.array([[1.5, -2.0]], dtype=np.float32),
}


@pytest.fixture
def prepared(toy_data: PreparedData, tmp_path: Path) -> Path:
    return shutil.copytree(toy_data.path, tmp_path / "prepared")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    about = {key: {} for key in ("initial", "config", "metrics")}
    return save_checkpoint(
        tmp_path / "run",
        ARRAYS,
        stage="backbone",
        round=3,
        trained=["backbone"],
        catalogue="c" * 64,
        num_items=40,
        feature_dims={"semantic": 10},
        parent=None,
        **about,
    ).path


def read_all(folder: Path) -> None:
    """Everything of a prepared folder, as a process does that has not looked at it before."""
    checksum._known.clear()
    data = PreparedData.load(folder)
    assert data.item_titles() and data.user_keys() and data.catalogue_fingerprint
    assert len(data.timestamps) == len(data.items)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_folder_with_a_broken_file(prepared: Path, kind: str) -> None:
    read_all(prepared)
    for name in PREPARED:
        path = prepared / name
        with break_file(path, kind), pytest.raises(DataError) as raised:
            read_all(prepared)
        assert path.name in str(raised.value), (name, str(raised.value))
    read_all(prepared)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_checkpoint(checkpoint: Path, kind: str) -> None:
    for path in (checkpoint, checkpoint.with_suffix(".json")):
        with break_file(path, kind), pytest.raises(CheckpointError, match=r"backbone\."):
            load_checkpoint(checkpoint)
    np.testing.assert_array_equal(load_checkpoint(checkpoint).arrays["gate"], ARRAYS["gate"])


@pytest.mark.parametrize("name", PREPARED)
def test_any_byte_of_a_prepared_folder_that_differs_is_found(prepared: Path, name: str) -> None:
    path, random = prepared / name, Random(1)
    sound = path.read_bytes()
    places = range(len(sound)) if len(sound) < 400 else random.sample(range(len(sound)), 60)
    for at in [*places, *range(len(sound) - 90, len(sound))]:
        changed = bytearray(sound)
        changed[at] ^= random.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(DataError, match=path.name):
            read_all(prepared)


def test_any_bit_of_a_checkpoint_that_differs_is_found(checkpoint: Path) -> None:
    for path in (checkpoint, checkpoint.with_suffix(".json")):
        sound = path.read_bytes()
        for at in range(len(sound)):
            changed = bytearray(sound)
            changed[at] ^= 1 << (at % 8)
            path.write_bytes(changed)
            with pytest.raises(CheckpointError, match=r"backbone\."):
                load_checkpoint(checkpoint)
        path.write_bytes(sound)
    load_checkpoint(checkpoint)


def test_a_manifest_of_another_folder(prepared: Path, tmp_path: Path) -> None:
    other = shutil.copytree(prepared, tmp_path / "other")
    manifest = json.loads((other / MANIFEST).read_text())
    del manifest["checksum"]
    manifest["files"]["items.parquet"] = "0" * 64
    (prepared / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"items\.parquet: sha256 \w+, the manifest says 0000"):
        read_all(prepared)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "", "a\0b"])
def test_a_manifest_that_names_files_elsewhere(prepared: Path, name: str) -> None:
    manifest = json.loads((prepared / MANIFEST).read_text())
    del manifest["checksum"]
    manifest["files"][name] = "0" * 64
    (prepared / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest\.json: names a file outside the folder"):
        PreparedData.load(prepared)


@pytest.mark.parametrize("counts", [None, [], {"users": "3"}, {"users": -1}, {"users": 2**70}, {}])
def test_a_manifest_with_counts_that_are_none(prepared: Path, counts: object) -> None:
    manifest = json.loads((prepared / MANIFEST).read_text())
    del manifest["checksum"]
    (prepared / MANIFEST).write_text(json.dumps({**manifest, "counts": counts}))
    with pytest.raises(DataError, match=r"manifest\.json: counts "):
        PreparedData.load(prepared)


def test_a_folder_from_before_manifests_vouched_for_themselves_is_read(prepared: Path) -> None:
    manifest = json.loads((prepared / MANIFEST).read_text())
    del manifest["checksum"]
    (prepared / MANIFEST).write_text(json.dumps(manifest))
    read_all(prepared)
