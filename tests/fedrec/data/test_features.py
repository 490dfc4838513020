from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fedrec.data.checksum import digest_file
from fedrec.data.features import FeatureTable, FeatureTables, map_tensors, write_features
from fedrec.errors import DataError

VALUES = np.array([[9, 9], [3, 4], [5, 5], [0, 0]], dtype=np.float32)
PRESENT = np.array([True, True, False, True])


def test_rows_are_normalised_and_what_is_missing_is_zero_and_masked(tmp_path) -> None:
    write_features(tmp_path, "text", VALUES, PRESENT, {"encoder": "tiny"})
    table = FeatureTable.open(tmp_path, "text", num_items=3)
    assert table.values.dtype == np.float16 and table.dim == 2
    np.testing.assert_allclose(table.values, [[0, 0], [0.6, 0.8], [0, 0], [0, 0]], atol=1e-3)
    # padding, an absent row and a row of zeros are no features
    assert table.present.tolist() == [False, True, False, False]
    assert table.coverage == pytest.approx(1 / 3)
    assert isinstance(table.values.base, np.memmap) or isinstance(table.values, np.memmap)
    assert not table.values.flags.writeable


def test_the_file_is_plain_safetensors_and_its_manifest_vouches_for_it(tmp_path) -> None:
    write_features(tmp_path, "text", VALUES, PRESENT, {"encoder": "tiny", "weights_sha256": "ab"})
    path = tmp_path / "features" / "text.safetensors"
    assert load_file(path)["present"].tolist() == [0, 1, 0, 0]
    assert json.loads((tmp_path / "features" / "text.json").read_text()) == {
        "modality": "text",
        "encoder": "tiny",
        "weights_sha256": "ab",
        "preprocessing": None,
        "dim": 2,
        "items": 3,
        "present": 1,
        "coverage": 0.333333,
        "sha256": digest_file(path),
    }


def test_further_tensors_go_along_and_do_not_change_what_is_read(tmp_path) -> None:
    content = np.arange(8, dtype=np.uint8).reshape(4, 2)
    write_features(tmp_path, "text", VALUES, PRESENT, {}, extra={"content": content})
    path = tmp_path / "features" / "text.safetensors"
    np.testing.assert_array_equal(load_file(path)["content"], content)
    np.testing.assert_array_equal(map_tensors(path)["content"], content)
    assert FeatureTable.open(tmp_path, "text", num_items=3).dim == 2


@pytest.mark.parametrize(("name", "rows"), [("content", 3), ("present", 4), ("features", 4)])
def test_further_tensors_that_do_not_fit(tmp_path, name, rows) -> None:
    extra = {name: np.zeros((rows, 2), dtype=np.uint8)}
    with pytest.raises(DataError, match=rf"further tensor '{name}' \[{rows}, 2\]"):
        write_features(tmp_path, "text", VALUES, PRESENT, {}, extra=extra)
    assert not (tmp_path / "features").exists()


def test_tables_open_when_asked_for(tmp_path) -> None:
    write_features(tmp_path, "text", VALUES, PRESENT, {})
    write_features(tmp_path, "image", VALUES, PRESENT, {})
    tables = FeatureTables(tmp_path, num_items=3)
    assert list(tables) == ["image", "text"] and len(tables) == 2
    assert tables["text"] is tables["text"]
    with pytest.raises(KeyError):
        tables["sound"]


def test_bad_shapes_and_numbers(tmp_path) -> None:
    with pytest.raises(DataError, match=r"text: features \[4, 2\] with present \[3\]"):
        write_features(tmp_path, "text", VALUES, PRESENT[:3], {})
    bad = VALUES.copy()
    bad[1, 0] = np.nan
    with pytest.raises(DataError, match="the features of item 1 are not finite"):
        write_features(tmp_path, "text", bad, PRESENT, {})
    write_features(tmp_path, "text", bad, PRESENT & [True, False, True, True], {})


def vouch(folder) -> None:
    """Make the description of features vouch for what the file beside it holds now."""
    about = json.loads((folder / "features" / "text.json").read_text())
    digest = digest_file(folder / "features" / "text.safetensors")
    (folder / "features" / "text.json").write_text(json.dumps({**about, "sha256": digest}))


def test_foreign_files(tmp_path) -> None:
    write_features(tmp_path, "text", VALUES, PRESENT, {})
    with pytest.raises(DataError, match=r"float16 \[4, 2\], expected float16 \[6, dim\] for 5"):
        FeatureTable.open(tmp_path, "text", num_items=5)
    path = tmp_path / "features" / "text.safetensors"
    save_file({"features": VALUES}, path)
    with pytest.raises(DataError, match=r"text\.safetensors: sha256 \w+, the manifest says"):
        FeatureTable.open(tmp_path, "text", num_items=3)
    vouch(tmp_path)
    with pytest.raises(DataError, match="expected features and present"):
        FeatureTable.open(tmp_path, "text", num_items=3)
    save_file({"features": VALUES, "present": PRESENT}, path)
    vouch(tmp_path)
    with pytest.raises(DataError, match=r"features are float32 \[4, 2\]"):
        FeatureTable.open(tmp_path, "text", num_items=3)
    save_file({"features": VALUES.astype(np.float16), "present": PRESENT[:2]}, path)
    vouch(tmp_path)
    with pytest.raises(DataError, match=r"present is \[2\], expected \[4\]"):
        FeatureTable.open(tmp_path, "text", num_items=3)
    (tmp_path / "features" / "text.json").write_text("{}")
    save_file({"features": VALUES.astype(np.float16), "present": PRESENT}, path)
    with pytest.raises(DataError, match="it has no sha256"):
        FeatureTable.open(tmp_path, "text", num_items=3)


def test_every_kind_of_tensor_is_mapped_as_it_was_saved(tmp_path) -> None:
    kinds = (np.float16, np.float32, np.float64, np.uint8, np.bool_, np.int64)
    saved = {kind.__name__: np.ones((2, 3), dtype=kind) for kind in kinds}
    save_file(saved, tmp_path / "a.safetensors", metadata={"made": "here"})
    for name, tensor in map_tensors(tmp_path / "a.safetensors").items():
        assert tensor.dtype == saved[name].dtype
        np.testing.assert_array_equal(tensor, saved[name])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (10**9).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"{} ",
        (60).to_bytes(8, "little")
        + b'{"a": {"dtype": "F16", "shape": [9], "data_offsets": [0, 18]}}'[:60],
        (64).to_bytes(8, "little")
        + b'{"a": {"dtype": "F16", "shape": [9], "data_offsets": [0, 18]}}  ',
        (64).to_bytes(8, "little")
        + b'{"a": {"dtype": "F77", "shape": [1], "data_offsets": [0, 2]}}   '
        + b"xx",
    ],
)
def test_damaged_files(tmp_path, content) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    if content.endswith(b"{} "):
        assert map_tensors(path) == {}
        return
    with pytest.raises(DataError, match="not a sound safetensors file"):
        map_tensors(path)
