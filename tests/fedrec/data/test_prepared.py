from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.data.folder import record_files
from fedrec.errors import DataError

COLUMNS = Columns(user="who", item="what", time="when")


@pytest.fixture
def folder(small_csv, tmp_path, feature_arrays):
    feature_arrays(tmp_path / "f", "text", {"tea": [3, 4], "jam": [1, 0]})
    return prepare(
        "csv",
        source=small_csv,
        out=tmp_path / "shop",
        min_interactions=2,
        columns=COLUMNS,
        features=tmp_path / "f",
    )


def edit(path, **changes) -> None:
    """Change a description as somebody would who knows that it vouches for itself."""
    content = {**json.loads(path.read_text()), **changes}
    content.pop("checksum", None)
    path.write_text(json.dumps(content))


def test_arrays(folder) -> None:
    data = PreparedData.load(folder, verify=True)
    assert (data.name, data.num_users, data.num_items, data.path) == ("shop", 3, 3, folder)
    assert data.offsets.dtype == np.int64 and data.offsets.tolist() == [0, 3, 6, 8]
    assert data.items.dtype == np.int32 and data.items.tolist() == [1, 2, 3, 1, 3, 2, 3, 1]
    assert data.timestamps.dtype == np.int64
    assert data.timestamps.tolist() == [10, 20, 30, 40, 50, 60, 15, 90]
    for array, expected in (
        (data.train_end, [1, 1, 2]),
        (data.validation_position, [1, 1, -1]),
        (data.test_position, [2, 2, -1]),
    ):
        assert array.dtype == np.int64 and array.tolist() == expected


def test_histories_are_views(folder) -> None:
    data = PreparedData.load(str(folder))
    assert data.history(1).tolist() == [1, 3, 2] and data.train_items(1).tolist() == [1]
    assert data.history(1).base is not None and np.shares_memory(data.history(1), data.items)
    with pytest.raises(ValueError, match="read-only"):
        data.history(1)[0] = 9
    for user in (-1, 3):
        with pytest.raises(DataError, match=f"user {user} does not exist; users are 0..2"):
            data.history(user)


def test_names(folder) -> None:
    data = PreparedData.load(folder)
    assert data.item_keys() == ["", "jam", "rye", "tea"] and data.item_titles() == [""] * 4
    assert data.user_keys() == ["ann", "bob", "cy"]
    assert list(data.features) == ["text"]
    assert data.features["text"].coverage == pytest.approx(2 / 3)


def test_the_fingerprint_is_of_the_catalogue_alone(folder, small_csv, tmp_path) -> None:
    fingerprint = PreparedData.load(folder).catalogue_fingerprint
    rows = small_csv.read_text().splitlines(keepends=True)
    other = tmp_path / "other.csv"
    other.write_text("".join([rows[0], *rows[4:], "dot,rye,5\ndot,jam,6\n"]))
    node = prepare(
        "csv",
        source=other,
        out=tmp_path / "node",
        min_interactions=1,
        columns=COLUMNS,
        features=tmp_path / "f",
    )
    assert PreparedData.load(node).num_users == 3
    assert PreparedData.load(node).catalogue_fingerprint == fingerprint
    write_features(node, "text", np.ones((4, 2)), np.ones(4, dtype=np.bool_), {})
    assert PreparedData.load(node, verify=True).catalogue_fingerprint != fingerprint


def test_features_may_be_added_later(folder) -> None:
    write_features(folder, "image", np.eye(4), np.ones(4, dtype=np.bool_), {"encoder": "tiny"})
    data = PreparedData.load(folder, verify=True)
    assert list(data.features) == ["image", "text"] and data.features["image"].dim == 4


@pytest.mark.parametrize(
    "name",
    [
        "interactions.parquet",
        "histories.safetensors",
        "items.parquet",
        "users.parquet",
        "split.json",
        "features/text.safetensors",
        "features/text.json",
    ],
)
def test_a_flipped_bit_is_found_in_every_file(folder, name) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: sha256 \w+, the manifest says \w+"):
        PreparedData.load(folder, verify=True)


def test_missing_folder_and_files(folder, tmp_path, older) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder; `fedrec prepare` makes one"):
        PreparedData.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"manifest\.json: the file is missing; is this a prepared"):
        PreparedData.load(tmp_path)
    (folder / "interactions.parquet").unlink()
    with pytest.raises(DataError, match=r"interactions\.parquet: cannot be read"):
        PreparedData.load(folder, verify=True)
    with pytest.raises(DataError, match=r"interactions\.parquet: cannot be read"):
        PreparedData.load(older(folder))


def test_a_foreign_version(folder) -> None:
    edit(folder / "manifest.json", format=99)
    with pytest.raises(DataError, match="format 99, this program reads 1"):
        PreparedData.load(folder)


def test_malformed_descriptions(folder) -> None:
    manifest = (folder / "manifest.json").read_text()
    for content, message in (
        ("{", "cannot be read"),
        ("[]", "holds a list, expected an object"),
        ('{"format": 1}', "lacks counts, files, name, settings, source"),
    ):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(DataError, match=message):
            PreparedData.load(folder)
    (folder / "manifest.json").write_text(manifest)
    manifest_files = json.loads(manifest)["files"]
    edit(folder / "manifest.json", files={**manifest_files, "split.json": "0"})
    with pytest.raises(DataError, match=r"split\.json: sha256 \w+, the manifest says 0"):
        PreparedData.load(folder)
    (folder / "manifest.json").write_text(manifest)
    for name in ("interactions.parquet", "histories.safetensors"):
        edit(folder / "split.json", sha256={**manifest_files, name: "0"})
        record_files(folder, ["split.json"])
        with pytest.raises(DataError, match=f"made for other interactions than {name}"):
            PreparedData.load(folder)


def test_interactions_of_another_catalogue_in_an_older_folder(folder, older, vouch) -> None:
    path = older(folder) / "interactions.parquet"
    table = pq.read_table(path)
    orders = (("item", [9] * 8), ("user", [2, 1, 0, 0, 0, 0, 0, 0]), ("item", [0] * 8))
    for column, values in orders:
        at = table.schema.get_field_index(column)
        pq.write_table(table.set_column(at, column, pa.array(values, pa.int32())), path)
        vouch(folder)
        with pytest.raises(DataError, match="not 8 interactions in order of 3 users and items"):
            PreparedData.load(folder)
