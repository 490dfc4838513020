"""What is shipped, and the counts that measurements with it are reported for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fedrec.data import PreparedData, prepare
from fedrec.data.builtin import ML_LATEST_SMALL
from fedrec.data.builtin.make import make_features, make_tables


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> PreparedData:
    out = tmp_path_factory.mktemp("builtin") / "ml-latest-small"
    return PreparedData.load(prepare("ml-latest-small", out=out), verify=True)


def test_counts(data) -> None:
    assert (data.num_users, data.num_items, len(data.items)) == (610, 3629, 90094)
    assert (data.test_position >= 0).all() and (data.validation_position >= 0).all()
    assert np.bincount(data.items).min() == 0 and np.bincount(data.items)[1:].min() >= 5


def test_both_modalities_cover_the_catalogue(data) -> None:
    text, image = data.features["text"], data.features["image"]
    assert (text.dim, image.dim) == (384, 256)
    assert text.coverage == image.coverage == 1.0
    for table in (text, image):
        norms = np.linalg.norm(table.values.astype(np.float32), axis=1)
        assert norms[0] == 0 and np.allclose(norms[1:], 1, atol=2e-3)
    assert "not CLIP" in image.manifest["encoder"]


def test_the_first_user_in_order(data) -> None:
    # of ratings.csv: two films in one second, then three in another, each in the file's order
    keys, titles = data.item_keys(), data.item_titles()
    first = [keys[item] for item in data.history(0)[:6]]
    assert first == ["804", "1210", "2018", "2628", "2826", "3578"]
    assert titles[keys.index("1")] == "Toy Story (1995)"


def test_films_without_a_poster_are_masked(tmp_path) -> None:
    out = prepare("ml-latest-small", out=tmp_path / "all", require_image=False)
    data = PreparedData.load(out)
    assert (data.num_users, data.num_items, len(data.items)) == (610, 3650, 90274)
    image = data.features["image"]
    assert image.present.sum() == 3629 and not image.present[0]
    assert not image.values[~image.present].any()
    assert data.features["text"].present.sum() == 3650


def test_the_licence_is_beside_the_data_and_nothing_else_is_shipped() -> None:
    assert "Harper and Joseph A. Konstan" in (ML_LATEST_SMALL / "README.txt").read_text()
    names = {p.relative_to(ML_LATEST_SMALL).as_posix() for p in ML_LATEST_SMALL.rglob("*.*")}
    assert names == {
        "README.txt",
        "ratings.csv.gz",
        "movies.csv.gz",
        "tags.csv.gz",
        "links.csv.gz",
        "features/text.safetensors",
        "features/text.json",
        "features/image.safetensors",
        "features/image.json",
    }
    assert sum(path.stat().st_size for path in ML_LATEST_SMALL.rglob("*.*")) < 6_000_000
    for path in (ML_LATEST_SMALL / "features").glob("*.json"):
        described = json.loads(path.read_text())
        assert {"encoder", "weights_sha256", "preprocessing", "licence"} <= described.keys()


def test_the_tables_are_grouplenss(shared_data: Path, tmp_path: Path) -> None:
    make_tables(shared_data / "ml-latest-small", tmp_path)
    for path in ML_LATEST_SMALL.glob("*.*"):
        again = tmp_path / path.name
        if path.suffix == ".gz":  # the compressed bytes depend on zlib's version
            assert gzip.decompress(again.read_bytes()) == gzip.decompress(path.read_bytes())
        else:
            assert again.read_bytes() == path.read_bytes(), path


def test_what_is_shipped_is_what_make_copies_from_a_prepared_folder(tmp_path: Path) -> None:
    out = prepare("ml-latest-small", out=tmp_path / "all", require_image=False)
    make_features(out, {"text": "text", "image": "image"}, tmp_path / "again")
    for name in ("text", "image"):
        file = f"features/{name}.safetensors"
        assert (tmp_path / "again" / file).read_bytes() == (ML_LATEST_SMALL / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "counts", "posters"),
    [
        ("ml-100k", (943, 1682, 100_000), 1584),
        ("ml-1m", (6040, 3416, 999_611), 3321),
        ("ml-latest-small", (610, 3629, 90_094), 3629),
    ],
)
def test_local_copies(shared_data: Path, tmp_path: Path, name, counts, posters) -> None:
    out = prepare(name, source=shared_data / name, out=tmp_path / name)
    data = PreparedData.load(out, verify=True)
    assert (data.num_users, data.num_items, len(data.items)) == counts
    assert data.features["image"].present.sum() == posters
    assert data.item_titles()[1] == "Toy Story (1995)"
