from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet as pq

from fedrec.data import Columns, PreparedData, prepare, write_features
from fedrec.data.added import add_items
from fedrec.errors import DataError

COLUMNS = Columns(user="who", item="what", time="when")


@pytest.fixture
def shop(small_csv, tmp_path) -> Path:
    """jam, rye and tea; the first two have a text feature."""
    out = prepare(
        "csv", source=small_csv, out=tmp_path / "shop", min_interactions=1, columns=COLUMNS
    )
    numbers = np.arange(4)
    write_features(out, "text", np.eye(4, 3), numbers > 0, {"encoder": "e"}, {"n": numbers})
    return out


def test_new_items_stand_after_the_others(shop, write, feature_arrays, tmp_path) -> None:
    new = write("new.csv", "item,title,genres,price\nnut,Nut,Snack|Dry,3\nfig,Fig,,4\n")
    feature_arrays(tmp_path / "f", "text", {"fig": [0, 3, 4], "tea": [9, 9, 9]})
    assert add_items(shop, tmp_path / "out", new, features=tmp_path / "f")
    before, after = (PreparedData.load(p, verify=True) for p in (shop, tmp_path / "out"))
    assert (after.num_items, after.warm_items, after.cold_targets) == (5, 3, False)
    assert after.item_keys() == ["", "jam", "rye", "tea", "nut", "fig"]
    assert after.item_titles()[4:] == ["Nut", "Fig"]
    table = pq.read_table(tmp_path / "out" / "items.parquet")
    assert table["item"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["price"].to_pylist() == [None] * 3 + ["3", "4"]
    assert table["text"].to_pylist()[3:] == ["Nut. Snack, Dry.", "Fig."]
    text = after.features["text"]
    assert np.array_equal(text.values[:4], before.features["text"].values)
    assert text.values[4:].tolist() == [[0, 0, 0], pytest.approx([0, 0.6, 0.8], abs=1e-3)]
    assert text.present.tolist() == [False, True, True, False, False, True]
    assert (text.manifest["encoder"], text.manifest["items_added"]) == ("e", 2)
    for name in ("interactions.parquet", "histories.safetensors", "split.json", "users.parquet"):
        assert (shop / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_the_fingerprint_stays_as_long_as_the_trained_items_do(shop, write, tmp_path) -> None:
    fingerprint = PreparedData.load(shop).catalogue_fingerprint
    out, again = tmp_path / "out", tmp_path / "again"
    add_items(shop, out, write("new.csv", "item\nnut\n"))
    assert PreparedData.load(out).catalogue_fingerprint == fingerprint
    assert PreparedData.load(shop).new_items_fingerprint == "none"
    new = PreparedData.load(out).new_items_fingerprint
    assert len(new) == 64
    add_items(out, again, write("more.csv", "item\nfig\n"))
    found = PreparedData.load(again, verify=True)
    assert found.catalogue_fingerprint == fingerprint
    assert (found.num_items, found.warm_items) == (5, 3)
    assert found.new_items_fingerprint not in ("none", new)
    new = found.new_items_fingerprint
    rows = np.array(found.features["text"].values, dtype=np.float32)
    rows[5] = [1, 0, 0]  # the new item's own
    write_features(again, "text", rows, rows.any(axis=1), {})
    assert PreparedData.load(again).catalogue_fingerprint == fingerprint
    other = PreparedData.load(again).new_items_fingerprint
    assert other != new
    rows[1] = [1, 0, 0]
    write_features(again, "text", rows, rows.any(axis=1), {})
    assert PreparedData.load(again).catalogue_fingerprint != fingerprint
    assert PreparedData.load(again).new_items_fingerprint == other


def test_the_same_again_changes_nothing(shop, write, tmp_path) -> None:
    new = write("new.csv", "item\nnut\n")
    assert add_items(shop, tmp_path / "out", new)
    assert not add_items(shop, tmp_path / "out", new)
    write("new.csv", "item\nfig\n")
    with pytest.raises(DataError, match="from other files or with other settings"):
        add_items(shop, tmp_path / "out", new)
    assert add_items(shop, tmp_path / "out", new, force=True)
    assert PreparedData.load(tmp_path / "out").item_keys()[-1] == "fig"


def test_errors(shop, write, feature_arrays, tmp_path) -> None:
    with pytest.raises(DataError, match=r"item 'tea' is in .*shop already"):
        add_items(shop, tmp_path / "o", write("new.csv", "item\nnut\ntea\n"))
    with pytest.raises(DataError, match=r"empty\.csv: describes no item"):
        add_items(shop, tmp_path / "o", write("empty.csv", "item\n"))
    with pytest.raises(DataError, match="sku"):
        add_items(shop, tmp_path / "o", write("new.csv", "item\nnut\n"), item_column="sku")
    new = write("new.csv", "item\nnut\n")
    feature_arrays(tmp_path / "wide", "text", {"nut": [1, 0]})
    with pytest.raises(DataError, match=r"text features have 2 dimensions, those of .* have 3"):
        add_items(shop, tmp_path / "o", new, features=tmp_path / "wide")
    feature_arrays(tmp_path / "other", "image", {"nut": [1, 0]})
    with pytest.raises(DataError, match=r"have image features, .*shop has text"):
        add_items(shop, tmp_path / "o", new, features=tmp_path / "other")
    feature_arrays(tmp_path / "old", "text", {"tea": [1, 0, 0]})
    with pytest.raises(DataError, match=r"know none of the 1 items; .* 'tea', the .* 'nut'"):
        add_items(shop, tmp_path / "o", new, features=tmp_path / "old")
    feature_arrays(tmp_path / "made", "text", {"nut": [1, 0, 0]})
    write("made/text.json", '{"encoder": "d"}')
    with pytest.raises(DataError, match=r"are of encoder 'd', those of .*shop of 'e'"):
        add_items(shop, tmp_path / "o", new, features=tmp_path / "made")
    assert not (tmp_path / "o").exists()
    write("made/text.json", '{"encoder": "e"}')
    assert add_items(shop, tmp_path / "o", new, features=tmp_path / "made")
