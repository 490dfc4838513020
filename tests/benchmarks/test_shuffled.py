"""The control: features that say nothing of the items they stand at."""

from __future__ import annotations

import numpy as np

from fedrec.data import PreparedData
from shuffled import shuffled_copy


def test_every_item_gets_all_the_features_of_another(shop, tmp_path) -> None:
    before = PreparedData.load(shop)
    after = PreparedData.load(shuffled_copy(shop, tmp_path / "copy", seed=3), verify=True)
    text, image = (after.features[name] for name in ("text", "image"))
    was, now = (t.values.astype(np.float64) for t in (before.features["text"], text))
    source = (now @ was.T).argmax(1)  # unit rows: the most similar one is the row itself
    assert source[0] == 0 and sorted(source) == list(range(before.num_items + 1))
    assert (source != np.arange(len(source))).sum() > len(source) / 2
    for copied, original in ((text, "text"), (image, "image")):
        values = before.features[original].values[source]
        np.testing.assert_allclose(copied.values, values, atol=1e-3)  # normalised once more
    np.testing.assert_array_equal(image.present, before.features["image"].present[source])
    assert not image.present.all()


def test_nothing_else_changes(shop, tmp_path) -> None:
    copy = shuffled_copy(shop, tmp_path / "copy", seed=3)
    before, after = PreparedData.load(shop), PreparedData.load(copy)
    np.testing.assert_array_equal(before.items, after.items)
    np.testing.assert_array_equal(before.test_position, after.test_position)
    assert before.catalogue_fingerprint != after.catalogue_fingerprint
    assert after.features["text"].manifest["shuffled_by_seed"] == 3
    PreparedData.load(shop, verify=True)


def test_the_order_follows_from_the_seed(shop, tmp_path) -> None:
    prints = [
        PreparedData.load(shuffled_copy(shop, tmp_path / name, seed=seed)).catalogue_fingerprint
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert prints[0] != prints[2]
    one, other = (PreparedData.load(tmp_path / name).features["text"].values for name in "ab")
    np.testing.assert_array_equal(one, other)


def test_a_copy_that_is_there_stays(shop, tmp_path) -> None:
    copy = shuffled_copy(shop, tmp_path / "copy", seed=3)
    written = (copy / "manifest.json").stat().st_mtime_ns
    assert shuffled_copy(shop, copy, seed=4) == copy
    assert (copy / "manifest.json").stat().st_mtime_ns == written
