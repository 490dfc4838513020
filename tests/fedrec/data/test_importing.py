"""Features that somebody else computed reach the right items, or are refused by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.data import Columns, PreparedData, importing, prepare
from fedrec.data.importing import feature_file, import_features
from fedrec.data.sealed import read_sealed
from fedrec.errors import ConfigError, DataError

ROWS = {"tea": [3.0, 4.0], "fig": [1.0, 1.0], "jam": [0.0, 2.0]}


@pytest.fixture
def folder(small_csv, tmp_path):
    """Items 1 jam, 2 rye, 3 tea."""
    columns = Columns(user="who", item="what", time="when")
    return prepare(
        "csv", source=small_csv, out=tmp_path / "shop", columns=columns, min_interactions=1
    )


@pytest.fixture
def keyed(tmp_path):
    """Writes rows by key as clip.npy and clip.csv; returns both paths."""

    def make(rows=ROWS, kind="float32"):
        values, index = tmp_path / "clip.npy", tmp_path / "clip.csv"
        np.save(values, np.array(list(rows.values()), dtype=kind))
        lines = [f"{row},{key}" for row, key in enumerate(rows)]
        index.write_text("\n".join(["row,item", *lines]) + "\n")
        return values, index

    return make


@pytest.fixture
def ordered(tmp_path):
    """Writes rows without keys as plain.npy; returns its path."""

    def make(rows, kind="float64"):
        np.save(tmp_path / "plain.npy", np.array(rows, dtype=kind))
        return tmp_path / "plain.npy"

    return make


def manifest_of(folder, name):
    return json.loads((folder / "features" / f"{name}.json").read_text())


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_rows_reach_the_items_of_their_keys(folder, keyed, kind) -> None:
    report = import_features(folder, "audio", *keyed(kind=kind))
    table = PreparedData.load(folder, verify=True).features["audio"]
    expected = [[0, 0], [0, 1], [0, 0], [0.6, 0.8]]
    np.testing.assert_allclose(table.values, expected, atol=1e-3)
    assert table.present.tolist() == [False, True, False, True]
    assert (report.name, report.rows, report.dim, report.items, report.present) == (
        "audio", 3, 2, 3, 2,
    )  # fmt: skip
    assert (report.unmatched.count, report.unmatched.first) == (1, ("row 1 of 'fig'",))
    assert (report.missing.count, report.missing.first) == (1, ("'rye'",))
    assert report.lines() == [
        "audio: 2 of 3 items have features",
        "audio: imported: clip.npy [3, 2], keyed by clip.csv",
        "audio: rows that match no item, left out: 1 (row 1 of 'fig')",
        "audio: items without a row, masked: 1 ('rye')",
    ]


def test_the_names_of_the_experts_are_those_of_their_files(folder, keyed) -> None:
    assert import_features(folder, "visual", *keyed()).name == "image"
    assert import_features(folder, "semantic", *keyed()).name == "text"
    assert list(PreparedData.load(folder).features) == ["image", "text"]


@pytest.mark.parametrize(
    "name", ["", "../a", "a/b", ".a", "-a", "a b", "ä", "a.b", "a" * 65, "a\n"]
)
def test_other_names_are_refused(folder, keyed, name) -> None:
    with pytest.raises(ConfigError, match="allowed: letters, digits, - and _"):
        import_features(folder, name, *keyed())
    assert not (folder / "features").exists()
    assert feature_file("CLIP_L-14") == "CLIP_L-14"


def test_rows_without_an_index_are_the_items_in_order(folder, ordered) -> None:
    report = import_features(folder, "audio", ordered([[1, 0], [0, 1], [3, 4]]))
    assert report.keyed_by == "rows are items 1 to 3 in order" and report.present == 3
    values = PreparedData.load(folder).features["audio"].values
    np.testing.assert_allclose(values, [[0, 0], [1, 0], [0, 1], [0.6, 0.8]], atol=1e-3)


def test_a_row_of_padding_may_come_first(folder, ordered) -> None:
    path = ordered([[0, 0], [1, 0], [0, 1], [3, 4]])
    report = import_features(folder, "audio", path)
    assert report.keyed_by == "row 0 is padding, the others are items 1 to 3 in order"
    assert report.rows == 4 and report.present == 3 and not report.troubles()
    values = PreparedData.load(folder).features["audio"].values
    np.testing.assert_allclose(values, [[0, 0], [1, 0], [0, 1], [0.6, 0.8]], atol=1e-3)


def test_a_wrong_number_of_rows_is_refused(folder, ordered) -> None:
    for count in (1, 2, 5):
        with pytest.raises(DataError, match=rf"plain\.npy: {count} rows for 3 items; without an"):
            import_features(folder, "audio", ordered(np.ones((count, 2))))
    with pytest.raises(DataError, match="row 0 should be padding, but it is not all zeros"):
        import_features(folder, "audio", ordered(np.ones((4, 2))))
    assert not (folder / "features").exists()


def test_rows_that_are_no_features_are_masked_and_named(folder, keyed) -> None:
    rows = {"rye": [0.0, 0.0], "tea": [np.nan, 1.0], "jam": [1.0, 0.0], "fig": [np.inf, 1.0]}
    report = import_features(folder, "audio", *keyed(rows))
    assert (report.not_finite.count, report.not_finite.first) == (1, ("row 1 of item 'tea'",))
    assert (report.zero.count, report.zero.first) == (1, ("row 0 of item 'rye'",))
    assert report.unmatched.first == ("row 3 of 'fig'",) and report.missing.count == 0
    assert "audio: rows that are not finite, masked: 1 (row 1 of item 'tea')" in report.lines()
    assert "audio: rows of zeros, masked: 1 (row 0 of item 'rye')" in report.lines()
    table = PreparedData.load(folder).features["audio"]
    assert table.present.tolist() == [False, True, False, False]
    assert table.values.tolist() == [[0, 0], [1, 0], [0, 0], [0, 0]]


def test_only_the_first_few_are_named(folder, keyed) -> None:
    report = import_features(
        folder, "audio", *keyed({"jam": [1.0], **{f"x{n}": [1.0] for n in range(9)}})
    )
    assert report.unmatched.count == 9 and len(report.unmatched.first) == 5
    assert report.lines()[2].endswith("row 5 of 'x4', ...)")


def test_features_that_reach_no_item_are_refused(folder, keyed) -> None:
    with pytest.raises(DataError, match="the audio features know none of the 3 items; their keys"):
        import_features(folder, "audio", *keyed({"99": [1.0]}))
    with pytest.raises(DataError, match=r"clip\.npy: no item gets features; .*of item 'jam'"):
        import_features(folder, "audio", *keyed({"jam": [np.nan]}))
    assert not (folder / "features").exists()


def test_very_large_and_very_small_numbers_keep_their_direction(folder, ordered) -> None:
    rows = [[3e300, 4e300], [3e-300, 4e-300], [3e-42, 4e-42]]
    report = import_features(folder, "audio", ordered(rows))
    values = PreparedData.load(folder).features["audio"].values
    assert report.present == 3
    np.testing.assert_allclose(values[1:], [[0.6, 0.8]] * 3, atol=1e-3)


def test_the_manifest_says_where_they_came_from_and_no_path(folder, keyed, tmp_path) -> None:
    values, index = keyed()
    import_features(folder, "audio", values, index)
    manifest = manifest_of(folder, "audio")
    assert manifest["encoder"] == "imported" and manifest["coverage"] == 0.666667
    assert sorted(manifest["imported"]["files"]) == ["clip.csv", "clip.npy"]
    assert manifest["imported"]["report"]["unmatched"] == {"count": 1, "first": ["row 1 of 'fig'"]}
    assert str(tmp_path) not in json.dumps(manifest)


def test_what_is_told_beside_the_file_is_kept(folder, keyed, tmp_path) -> None:
    told = {"encoder": "CLIP ViT-B/32", "weights_sha256": "ab", "imported": "no", "sha256": "no"}
    (tmp_path / "clip.json").write_text(json.dumps(told))
    import_features(folder, "audio", *keyed())
    manifest = manifest_of(folder, "audio")
    assert manifest["encoder"] == "CLIP ViT-B/32" and manifest["weights_sha256"] == "ab"
    assert sorted(manifest["imported"]["files"]) == ["clip.csv", "clip.json", "clip.npy"]
    PreparedData.load(folder, verify=True)
    assert len(manifest["sha256"]) == 64


def files_of(folder):
    return {path: (path.stat().st_ino, path.read_bytes()) for path in folder.rglob("*.*")}


def test_the_same_import_again_does_nothing(folder, keyed) -> None:
    first = import_features(folder, "audio", *keyed())
    before = files_of(folder)
    again = import_features(folder, "audio", *keyed())
    assert files_of(folder) == before and again.unchanged
    assert again.lines()[0] == first.lines()[0] and again.lines()[2:] == first.lines()[2:]
    assert "nothing to do" in again.lines()[1]


def test_features_of_another_origin_are_never_overwritten(folder, keyed, feature_arrays) -> None:
    paths = keyed()
    import_features(folder, "visual", *paths)
    keyed({"tea": [1.0, 0.0]})
    before = files_of(folder)
    message = (
        r"image\.safetensors holds features of another origin \(clip\.csv, clip\.npy as it was|"
        r"--import image-2=FILE\.npy, and train with model\.visual=image-2"
    )
    for name in ("visual", "image"):
        with pytest.raises(DataError, match=message):
            import_features(folder, name, *paths)
    assert files_of(folder) == before
    assert import_features(folder, "image-2", *paths).present == 1
    with pytest.raises(DataError, match=r"model\.further=image-2-2"):
        import_features(folder, "image-2", *keyed())
    keyed({"tea": [1.0, 0.0]})
    with pytest.raises(DataError, match=r"model\.visual=image-3"):
        import_features(folder, "visual", *paths)


def test_features_made_otherwise_are_not_overwritten(small_csv, tmp_path, keyed, feature_arrays):
    feature_arrays(tmp_path / "f", "text", {"tea": [1, 0]})
    (tmp_path / "f" / "text.json").write_text('{"encoder": "SBERT"}')
    columns = Columns(user="who", item="what", time="when")
    folder = prepare(
        "csv", source=small_csv, out=tmp_path / "shop", columns=columns, features=tmp_path / "f",
        min_interactions=1,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"origin \(SBERT\).*model\.semantic=text-2"):
        import_features(folder, "semantic", *keyed())


@pytest.mark.parametrize("lost", ["text.json", "manifest entry", "features cut"])
def test_an_import_that_was_killed_is_finished_by_the_next(folder, keyed, lost) -> None:
    before = read_sealed(folder / "manifest.json")
    import_features(folder, "semantic", *keyed())
    whole = {path: content for path, (_, content) in files_of(folder).items()}
    if lost == "text.json":  # killed after the features, before their description
        (folder / "features" / lost).unlink()
    if lost == "features cut":  # damaged later
        path = folder / "features" / "text.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    else:
        (folder / "manifest.json").write_text(json.dumps(before))
    assert not import_features(folder, "semantic", *keyed()).unchanged
    assert {path: content for path, (_, content) in files_of(folder).items()} == whole
    PreparedData.load(folder, verify=True)


def test_a_folder_that_is_damaged(folder, keyed) -> None:
    import_features(folder, "audio", *keyed())
    (folder / "features" / "audio.json").unlink()
    with pytest.raises(
        DataError, match=r"audio\.json: the file is missing; prepare the data again"
    ):
        import_features(folder, "audio", *keyed())


def test_no_prepared_folder(tmp_path, keyed) -> None:
    with pytest.raises(DataError, match="no such folder; `fedrec prepare` makes one"):
        import_features(tmp_path / "nowhere", "audio", *keyed())


def without_features(folder) -> None:
    shutil.rmtree(folder / "features", ignore_errors=True)
    manifest = read_sealed(folder / "manifest.json")
    files = {name: sha for name, sha in manifest["files"].items() if "/" not in name}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.permutations(["jam", "rye", "tea", "fig", "bun"]), st.integers(1, 3), st.data())
def test_any_index_equals_a_plain_loop(folder, keyed, monkeypatch, keys, dim, data) -> None:
    cells = st.sampled_from([0.0, 1.0, -2.5, np.nan, np.inf])
    rows = {key: data.draw(st.lists(cells, min_size=dim, max_size=dim)) for key in keys[:4]}
    paths = keyed(rows)
    monkeypatch.setattr(importing, "_BLOCK_BYTES", 8 * dim)  # one row a block
    without_features(folder)
    sound = {
        key: np.array(row) for key, row in rows.items() if np.isfinite(row).all() and np.any(row)
    }
    try:
        report = import_features(folder, "audio", *paths)
    except DataError:
        assert not sound.keys() & {"jam", "rye", "tea"}
        return
    table = PreparedData.load(folder).features[report.name]
    for item, key in enumerate(["jam", "rye", "tea"], start=1):
        assert table.present[item] == (key in sound)
        unit = sound[key] / np.linalg.norm(sound[key]) if key in sound else np.zeros(dim)
        np.testing.assert_allclose(table.values[item], unit, atol=1e-3)
    counts = (report.present, report.missing.count, report.not_finite.count, report.zero.count)
    assert sum(counts) == 3
    assert report.unmatched.count == len(rows.keys() - {"jam", "rye", "tea"})


def test_movielens_ids_are_not_taken_for_the_numbers_of_ml_100k(write, keyed, tmp_path) -> None:
    """Both count from 1, so the rows of other films would come in without a word."""
    rows = "".join(f"{user}\t{item}\t{item}\n" for user in (1, 2) for item in (1, 2, 3))
    write("100k/ml-100k.inter", f"user_id:token\titem_id:token\ttimestamp:float\n{rows}")
    write("100k/ml-100k.item", "item_id:token\tmovie_title:token_seq\n1\tToy\n2\tEye\n3\tRooms\n")
    out = prepare("ml-100k", source=tmp_path / "100k", out=tmp_path / "out", min_interactions=1)
    values, index = keyed({"1": [1.0, 0.0], "2": [0.0, 1.0]})
    index.write_text(index.read_text().replace("item", "movieId"))
    with pytest.raises(
        DataError, match="the columns are row, movieId, expected row and item or key"
    ):
        import_features(out, "clip", values, index)


def test_what_a_file_says_of_itself_does_not_make_it_an_extraction(folder, keyed) -> None:
    values, index = keyed()
    told = {"encoder": "mine", "recipe_sha256": "ab", "faults": {}, "imported": {"files": {}}}
    values.with_suffix(".json").write_text(json.dumps(told))
    import_features(folder, "audio", values, index)
    manifest = manifest_of(folder, "audio")
    assert manifest["encoder"] == "mine" and manifest["imported"]["files"]
    assert not {"recipe_sha256", "faults"} & manifest.keys()
