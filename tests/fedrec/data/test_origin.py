from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from fedrec.data import PreparedData, prepare
from fedrec.data.origin import find_keyed
from fedrec.data.registry import DATASETS

RATINGS = "".join(f"{user}::{item}::5::{item}\n" for user in range(1, 6) for item in range(1, 6))


def test_a_download_is_read_in_place(tmp_path, monkeypatch, website) -> None:
    folder, url = website
    archive = folder / "ml-1m.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("ml-1m/ratings.dat", RATINGS)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    dataset = replace(DATASETS["ml-1m"], url=f"{url}/ml-1m.zip", md5=md5)
    monkeypatch.setitem(DATASETS, "ml-1m", dataset)
    options = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    data = PreparedData.load(prepare("ml-1m", **options))
    assert (data.num_users, data.num_items) == (5, 5)
    source = data.manifest["source"]
    assert source["kind"] == "download" and source["location"] == f"{url}/ml-1m.zip"
    assert list(source["files"]) == ["ml-1m.zip"]
    (tmp_path / "cache" / "ml-1m.zip").unlink()
    prepare("ml-1m", **options)  # the same again needs no network


def test_features_beside_a_movielens_source(tmp_path, feature_arrays) -> None:
    (tmp_path / "ml-1m").mkdir()
    assert find_keyed(DATASETS["ml-1m"], tmp_path / "ml-1m", None) == {}
    feature_arrays(tmp_path / "features", "text", {"1": [1]})
    assert list(find_keyed(DATASETS["ml-1m"], tmp_path / "ml-1m", None)) == ["text"]
    # the ids of other data sets mean nothing to these files
    assert find_keyed(DATASETS["csv"], tmp_path / "ml-1m", None) == {}
    feature_arrays(tmp_path / "named", "image", {"1": [1]})
    found = find_keyed(DATASETS["ml-1m"], tmp_path / "ml-1m", tmp_path / "named")
    assert list(found) == ["image"]


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_says_its_terms_and_how_it_is_had(name) -> None:
    dataset = DATASETS[name]
    assert dataset.licence and dataset.min_interactions >= 1
    if name.startswith("ml-"):
        assert dataset.citation and (dataset.url or dataset.builtin)
        assert dataset.url is None or dataset.url.endswith(f"/{name}.zip")
