from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedrec.data.joining import find_features, holds_features
from fedrec.errors import DataError


def test_rows_go_to_the_items_of_their_keys(tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path, "text", {"tea": [1, 0], "jam": [0, 2]})
    values, present = find_features(tmp_path)["text"].join(["jam", None, "rye", "tea"])
    assert values.tolist() == [[0, 0], [0, 2], [0, 0], [0, 0], [1, 0]]
    assert present.tolist() == [False, True, False, False, True]


def test_tensors_with_ids_come_before_arrays(tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path, "text", {"7": [1, 0]})
    feature_arrays(tmp_path, "image", {"7": [1, 0]})
    rows = np.array([[5, 5, 5]], dtype=np.float16)
    save_file({"features": rows, "ids": np.array([7])}, tmp_path / "text.safetensors")
    (tmp_path / "text.json").write_text(json.dumps({"encoder": "tiny"}))
    found = find_features(tmp_path)
    assert sorted(found) == ["image", "text"]
    assert found["text"].join(["7"])[0].tolist() == [[0, 0, 0], [5, 5, 5]]
    assert found["text"].manifest == {"encoder": "tiny"}
    assert sorted(found["image"].files) == ["image.npy", "image_index.csv"]


def test_nothing_there(tmp_path) -> None:
    assert not holds_features(tmp_path)
    with pytest.raises(DataError, match=r"no features in it; expected \*\.safetensors, text\.npy"):
        find_features(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_features(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("row,key\n0,a\n5,b\n", r"text_index\.csv:3: '5,b', expected a row below 2"),
        ("row,key\n0,a\nx,b\n", r"text_index\.csv:3: 'x,b'"),
        ("row,key\n0,a\n1\n", r"text_index\.csv:3: '1'"),
        ("row,key\n0,a\n", "keys for 1 of 2 rows"),
        ("row,key\n0,a\n1,a\n", r"text_index\.csv:3: key 'a' was in line 2"),
    ],
)
def test_bad_index(tmp_path, feature_arrays, index, message) -> None:
    feature_arrays(tmp_path, "text", {"a": [1], "b": [2]})
    (tmp_path / "text_index.csv").write_text(index)
    with pytest.raises(DataError, match=message):
        find_features(tmp_path)


def test_bad_values(tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path, "text", {"a": [1]})
    (tmp_path / "text.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="not an array file"):
        find_features(tmp_path)
    np.save(tmp_path / "text.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an array file"):
        find_features(tmp_path)


def test_bad_tensors(tmp_path) -> None:
    save_file({"features": np.ones((1, 1), np.float32)}, tmp_path / "text.safetensors")
    with pytest.raises(DataError, match="expected features and ids"):
        find_features(tmp_path)
