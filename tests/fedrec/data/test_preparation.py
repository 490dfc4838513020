"""Whole runs over small files, and what is left of runs that fail or are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fedrec.data import Columns, PreparedData, prepare
from fedrec.errors import DataError

COLUMNS = Columns(user="who", item="what", time="when")
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "prepared" / "shop"


def prepare_shop(small_csv: Path, out: Path, **options) -> PreparedData:
    options = {"min_interactions": 2, "columns": COLUMNS, **options}
    return PreparedData.load(prepare("csv", source=small_csv, out=out, **options), verify=True)


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_files_of_the_folder(small_csv, out) -> None:
    prepare_shop(small_csv, out)
    interactions = pq.read_table(out / "interactions.parquet")
    assert [str(kind) for kind in interactions.schema.types] == ["int32", "int32", "int64"]
    assert interactions.to_pydict() == {
        "user": [0, 0, 0, 1, 1, 1, 2, 2],
        "item": [1, 2, 3, 1, 3, 2, 3, 1],
        "timestamp": [10, 20, 30, 40, 50, 60, 15, 90],
    }
    items = pq.read_table(out / "items.parquet").to_pydict()
    assert items["item"] == [1, 2, 3] and items["key"] == ["jam", "rye", "tea"]
    assert items["title"] == ["", "", ""] and items["image"] == [None, None, None]
    users = pq.read_table(out / "users.parquet").to_pydict()
    assert users == {"user": [0, 1, 2], "key": ["ann", "bob", "cy"]}


def test_split_and_manifest(small_csv, out) -> None:
    prepare_shop(small_csv, out)
    split = json.loads((out / "split.json").read_text())
    manifest = json.loads((out / "manifest.json").read_text())
    assert split == {
        "rule": "leave-one-out",
        "users": 3,
        "validation_users": 2,
        "test_users": 2,
        "sha256": {
            name: manifest["files"][name]
            for name in ("histories.safetensors", "interactions.parquet")
        },
    }
    assert manifest["name"] == "shop" and manifest["format"] == 1
    assert manifest["counts"] == {"users": 3, "items": 3, "interactions": 8}
    assert set(manifest["files"]) == set(files_of(out)) - {"manifest.json"}
    assert manifest["source"]["kind"] == "local" and manifest["source"]["location"] == "shop.csv"
    assert str(out.parent) not in json.dumps(manifest)


def test_two_runs_write_the_same_bytes(small_csv, out, tmp_path) -> None:
    prepare_shop(small_csv, out)
    prepare_shop(small_csv, tmp_path / "again" / "shop")
    assert files_of(out) == files_of(tmp_path / "again" / "shop")


def test_the_filter_comes_after_repeats_are_collapsed(write, out) -> None:
    rows = "a,x,1\na,x,2\na,y,3\nb,x,1\nb,y,2\nc,x,1\nc,x,2\n"
    path = write("shop.csv", "who,what,when\n" + rows)
    data = prepare_shop(path, out)
    assert data.user_keys() == ["a", "b"] and len(data.items) == 4
    kept = prepare_shop(path, out, repeats="keep", force=True)
    assert kept.user_keys() == ["a", "b", "c"] and len(kept.items) == 7


def test_global_time(small_csv, out) -> None:
    data = prepare_shop(small_csv, out, split="global-time", validation_time=20, test_time=60)
    assert data.train_end.tolist() == [1, 0, 1]
    assert data.validation_position.tolist() == [2, 1, -1]
    assert data.test_position.tolist() == [-1, 2, 1]
    split = json.loads((out / "split.json").read_text())
    assert (split["validation_time"], split["test_time"]) == (20, 60)


def test_global_time_by_quantiles(small_csv, out) -> None:
    # times in order: 10 15 20 30 40 50 60 90; places 4 and 6
    options = {"validation_quantile": 0.5, "test_quantile": 0.75}
    prepare_shop(small_csv, out, split="global-time", **options)
    split = json.loads((out / "split.json").read_text())
    assert (split["validation_time"], split["test_time"]) == (40, 60)


def test_positions_allow_no_global_time(small_csv, out) -> None:
    columns = Columns(user="who", item="what", position="when")
    with pytest.raises(DataError, match="cannot be compared between users"):
        prepare_shop(small_csv, out, columns=columns, split="global-time")
    assert prepare_shop(small_csv, out, columns=columns).manifest["time"] == "position"


def test_items_and_features_are_joined(small_csv, out, write, tmp_path, feature_arrays) -> None:
    items = write("items.csv", "what,title\ntea,Green tea\nrye,Rye bread\nfig,Fig\n")
    feature_arrays(tmp_path / "features", "image", {"tea": [3, 4], "fig": [1, 1]})
    feature_arrays(tmp_path / "features", "text", {"tea": [2], "rye": [5], "jam": [-1]})
    columns = Columns(user="who", item="what", time="when", items=items)
    data = prepare_shop(small_csv, out, columns=columns, features=tmp_path / "features")
    assert data.item_titles() == ["", "", "Rye bread", "Green tea"]
    image, text = data.features["image"], data.features["text"]
    assert image.present.tolist() == [False, False, False, True]
    np.testing.assert_allclose(image.values[3], [0.6, 0.8], atol=1e-3)
    assert text.present.tolist() == [False, True, True, True]
    assert text.values[:, 0].tolist() == [0, -1, 1, 1]


def test_only_items_with_an_image(small_csv, out, tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path / "features", "image", {"tea": [1], "jam": [1]})
    options = {"features": tmp_path / "features", "require_image": True}
    data = prepare_shop(small_csv, out, **options)
    assert data.item_keys() == ["", "jam", "tea"] and len(data.items) == 6
    with pytest.raises(DataError, match="no image features given"):
        prepare_shop(small_csv, out, require_image=True, force=True)


def test_features_that_know_no_item_are_refused(small_csv, out, tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path / "features", "text", {"99": [1]})
    with pytest.raises(DataError, match="know none of the 3 items; their keys are like '99', the"):
        prepare_shop(small_csv, out, features=tmp_path / "features")


def test_ids_of_ml_100k_are_not_taken_for_movie_ids(write, out, tmp_path, feature_arrays) -> None:
    write("ml/u.data", "".join(f"{user}\t{item}\t3\t9\n" for user in (1, 2) for item in (1, 2)))
    feature_arrays(tmp_path / "features", "text", {"1": [1], "2": [1]})
    assert not PreparedData.load(prepare("ml-100k", source=tmp_path / "ml", out=out)).features
    with pytest.raises(DataError, match="know none of the 2 items"):
        folder = tmp_path / "features"
        prepare("ml-100k", source=tmp_path / "ml", out=out, features=folder, force=True)


def test_nothing_left(small_csv, out) -> None:
    with pytest.raises(DataError, match="no interactions are left"):
        prepare_shop(small_csv, out, min_interactions=4)
    assert not out.exists()


def test_impossible_settings(small_csv, out) -> None:
    for options, message in (
        ({"min_interactions": 0}, "min_interactions is 0, expected 1 or more"),
        ({"split": "random"}, "'random'; allowed: leave-one-out, global-time"),
        ({"repeats": "last"}, "'last'; allowed: collapse, first, keep"),
        ({"test_time": 5}, "both validation_time and test_time"),
        ({"columns": Columns(time="a", position="b")}, "not both"),
    ):
        with pytest.raises(DataError, match=message):
            prepare_shop(small_csv, out, **options)
    with pytest.raises(DataError, match="ml-latest-small fixes its own columns"):
        prepare("ml-latest-small", out=out, columns=COLUMNS)
    with pytest.raises(DataError, match="unknown data set 'ml-2m'; known: ml-latest-small,"):
        prepare("ml-2m", out=out)
    with pytest.raises(DataError, match="csv: nothing to download; name the files with --source"):
        prepare("csv", out=out)
    assert not out.parent.exists()


SLOW = """
import sys, time
from pathlib import Path
import fedrec.data.preparation as module
from fedrec.data import Columns
def wait(*args, **kwargs):
    print("writing", flush=True)
    time.sleep(60)
module.write_manifest = wait
columns = Columns(user="who", item="what", time="when")
module.prepare("csv", source=Path(sys.argv[1]), out=Path(sys.argv[2]), min_interactions=2,
               columns=columns)
"""


def test_a_killed_run_leaves_no_folder_and_the_next_run_clears_up(small_csv, out) -> None:
    command = [sys.executable, "-c", SLOW, str(small_csv), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    with pytest.raises(DataError, match="no such folder"):
        PreparedData.load(out)
    prepare_shop(small_csv, out)
    assert [path.name for path in out.parent.iterdir()] == ["shop"]
