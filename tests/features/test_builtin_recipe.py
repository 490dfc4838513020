"""The shipped features are what `fedrec extract` gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.encoders import ImageEncoder, TextEncoder
from features.images import decode_image
from fedrec.data import PreparedData, prepare
from fedrec.data.arrow import pq


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    out = tmp_path_factory.mktemp("builtin") / "all"
    return PreparedData.load(prepare("ml-latest-small", out=out, require_image=False))


def test_texts_are_encoded_as_shipped(data: PreparedData, sbert: TextEncoder) -> None:
    chosen = np.random.default_rng(0).choice(np.arange(1, data.num_items + 1), 60, replace=False)
    texts = ["", *pq.read_table(data.path / "items.parquet")["text"].to_pylist()]
    assert sbert.weights_sha256 == data.features["text"].manifest["weights_sha256"]
    rows = sbert.encode([texts[item] for item in chosen])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, data.features["text"].values[chosen], atol=1e-3)


def test_posters_are_encoded_as_shipped_up_to_a_rotation(
    data: PreparedData, shared_data: Path, efficientnet: ImageEncoder
) -> None:
    """The shipped rows are 256 principal axes, so what they keep of two posters is how much they
    resemble each other: nearly all of it, for the axes carry most of the variance."""
    chosen = [item for item in range(1, 200) if data.features["image"].present[item]][:100]
    assert efficientnet.weights_sha256 == data.features["image"].manifest["weights_sha256"]
    keys = data.item_keys()
    posters = [shared_data / "posters" / f"{keys[item]}.jpg" for item in chosen]
    pictures = [efficientnet.prepare(decode_image(path.read_bytes())) for path in posters]
    rows = efficientnet.encode(pictures)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(0)
    shipped = data.features["image"].values[chosen].astype(np.float32)
    shipped -= shipped.mean(0)
    pairs = np.triu_indices(len(chosen), 1)
    own, other = (part @ part.T for part in (rows, shipped))
    assert np.corrcoef(own[pairs], other[pairs])[0, 1] > 0.8
