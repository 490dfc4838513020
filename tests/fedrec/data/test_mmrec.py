"""MMRec's folders: its items, its features, its split."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.data import Columns, PreparedData, prepare
from fedrec.data.archive import Source
from fedrec.data.command import summary
from fedrec.data.mmrec import read_mmrec
from fedrec.errors import DataError

HEADER = "userID\titemID\trating\ttimestamp\tx_label\n"
# user 0: in order of time; user 1: its test item is older than what it trains on; user 2: training
ROWS = [
    (0, 3, 30, 1), (0, 0, 10, 0), (0, 1, 20, 0), (0, 2, 40, 2), (0, 5, 35, 1),
    (1, 0, 50, 0), (1, 2, 10, 2), (1, 1, 20, 1), (1, 3, 40, 0),
    (2, 0, 5, 0), (2, 5, 6, 0),
]  # fmt: skip
HISTORIES = [[0, 1, 3, 5, 2], [3, 0, 1, 2], [0, 5]]
MAPPING = "asin\titemID\n" + "".join(f"B{item}\t{item}\n" for item in range(7))


@pytest.fixture
def folder(write, tmp_path):
    """A data set called baby; item 4 has no interactions, and the text features have a row more."""
    lines = [f"{user}\t{item}\t5.0\t{time}\t{label}\n" for user, item, time, label in ROWS]
    write("baby/baby.inter", HEADER + "".join(lines))
    np.save(tmp_path / "baby" / "image_feat.npy", np.eye(6, dtype=np.float32) * 2)
    np.save(tmp_path / "baby" / "text_feat.npy", np.arange(1, 8, dtype=np.float64)[:, None])
    return tmp_path / "baby"


def prepared(folder, tmp_path, **options) -> PreparedData:
    out = prepare("mmrec", source=folder, out=tmp_path / "out", **options)
    return PreparedData.load(out, verify=True)


def histories(data: PreparedData) -> list[list[int]]:
    keys = data.item_keys()
    return [[int(keys[item]) for item in data.history(user)] for user in range(data.num_users)]


def split_of(data: PreparedData):
    return json.loads((data.path / "split.json").read_text())


def test_the_labels_are_the_split(folder, tmp_path) -> None:
    data = prepared(folder, tmp_path)
    assert histories(data) == HISTORIES
    assert data.train_end.tolist() == [2, 2, 2]
    assert data.validation_position.tolist() == [3, 2, -1]  # the last of two
    assert data.test_position.tolist() == [4, 3, -1]
    split = split_of(data)
    assert split["rule"] == "given" and split["reordered_users"] == 1
    assert (split["users"], split["validation_users"], split["test_users"]) == (3, 2, 2)
    assert split["interactions"] == {"training": 6, "validation": 3, "test": 2}
    assert split["interactions_of_source"] == split["interactions"]


def test_the_labels_stand_beside_the_interactions(folder, tmp_path) -> None:
    data = prepared(folder, tmp_path)
    table = pq.read_table(data.path / "interactions.parquet")
    assert table.column_names == ["user", "item", "timestamp", "label"]
    assert table["label"].to_pylist() == [0, 0, 1, 1, 2, 0, 0, 1, 2, 0, 0]
    assert data.timestamps.tolist() == [10, 20, 30, 35, 40, 40, 50, 20, 10, 5, 6]
    assert data.manifest["format"] == 1


def test_features_go_to_the_items_of_their_row(folder, tmp_path) -> None:
    data = prepared(folder, tmp_path)
    assert data.item_keys() == ["", "0", "1", "2", "3", "5"]  # 4 has no interactions
    image = data.features["image"]
    np.testing.assert_allclose(image.values[1:], np.eye(6)[[0, 1, 2, 3, 5]], atol=1e-3)
    assert data.features["text"].present.tolist() == [False] + [True] * 5
    assert image.manifest["encoder"] == "imported"
    (folder / "image_feat.json").write_text('{"encoder": "VGG"}')
    again = prepared(folder, tmp_path, force=True)
    assert again.features["image"].manifest["encoder"] == "VGG"


def test_people_are_told_what_is_odd(folder, tmp_path) -> None:
    data = prepared(folder, tmp_path)
    notes = data.manifest["notes"]
    assert notes[0] == "text_feat.npy: 1 of 7 rows unused, from row 6: no such itemID"
    assert notes[1].startswith("1 of 3 users have held-out interactions that are older")
    assert len(notes) == 2 and all(note in summary(data) for note in notes)


def test_what_the_filters_take_from_the_split_is_told(folder, tmp_path) -> None:
    with (folder / "baby.inter").open("a") as stream:
        stream.write("2\t5\t5.0\t7\t1\n2\t9\t5.0\t8\t2\n")
    for name in ("image_feat.npy", "text_feat.npy"):
        (folder / name).unlink()
    data = prepared(folder, tmp_path)  # item 5 again, right after item 5
    assert split_of(data)["interactions"] == {"training": 6, "validation": 3, "test": 3}
    assert split_of(data)["interactions_of_source"]["validation"] == 4
    assert "the filters dropped 1 of 4 labelled validation" in summary(data)
    data = prepared(folder, tmp_path, min_interactions=2, repeats="keep", force=True)
    assert data.manifest["notes"][1:] == ["the filters dropped 1 of 3 labelled test"]
    data = prepared(folder, tmp_path, repeats="keep", force=True)
    assert len(data.manifest["notes"]) == 1


def test_a_missing_array_is_no_modality(folder, tmp_path) -> None:
    (folder / "image_feat.npy").unlink()
    assert list(prepared(folder, tmp_path).features) == ["text"]
    (folder / "text_feat.npy").unlink()
    assert list(prepared(folder, tmp_path, force=True).features) == []


def test_an_array_that_is_too_short_is_refused(folder, tmp_path) -> None:
    np.save(folder / "image_feat.npy", np.ones((5, 2)))
    message = r"image_feat\.npy: 5 rows, but itemID goes up to 5 in .*baby\.inter; expected 6 or"
    with pytest.raises(DataError, match=message):
        prepared(folder, tmp_path)
    np.save(folder / "image_feat.npy", np.ones((6, 2), dtype=np.int32))
    with pytest.raises(DataError, match=r"image_feat\.npy: holds int32"):
        prepared(folder, tmp_path)
    np.save(folder / "image_feat.npy", np.full((6, 2), np.nan))
    with pytest.raises(DataError, match="image: the features of item 1 are not finite"):
        prepared(folder, tmp_path)
    assert not (tmp_path / "out").exists()


def test_items_keep_their_publishers_ids_and_descriptions(folder, tmp_path, write) -> None:
    write("baby/i_id_mapping.csv", MAPPING)
    table = pq.read_table(prepared(folder, tmp_path).path / "items.parquet").to_pydict()
    assert table["key"] == ["0", "1", "2", "3", "5"]
    assert table["asin"] == ["B0", "B1", "B2", "B3", "B5"]
    items = write("items.csv", "itemID,title,price\n1,Cot,9\n6,Bib,1\n7,None,2\n")
    data = prepared(folder, tmp_path, columns=Columns(items=items), force=True)
    assert data.item_titles() == ["", "", "Cot", "", "", ""]
    table = pq.read_table(data.path / "items.parquet").to_pydict()
    assert table["asin"][1] == "B1" and table["price"] == [None, "9", None, None, None]
    write("baby/i_id_mapping.csv", MAPPING.replace("\t", ","))
    assert len(read_mmrec(Source(folder), Columns()).catalogue) == 7
    write("baby/i_id_mapping.csv", "asin\tid\nB0\t0\n")
    with pytest.raises(DataError, match=r"i_id_mapping\.csv:1: no column 'itemID'"):
        prepared(folder, tmp_path, force=True)


def test_without_times_the_order_of_the_file_counts(write, tmp_path) -> None:
    rows = "1\t9\t0\n1\t8\t0\n2\t9\t1\n1\t7\t2\n1\t6\t1\n2\t8\t0\n"
    write("baby/baby.inter", "x_label\titemID\tuserID\n" + "\n".join(
        "\t".join((row.split("\t")[2], row.split("\t")[1], row.split("\t")[0]))
        for row in rows.splitlines()
    ))  # fmt: skip
    data = prepared(tmp_path / "baby", tmp_path)
    assert histories(data) == [[9, 8, 6, 7], [8, 9]]
    assert data.manifest["time"] == "position" and not data.features
    assert data.timestamps.tolist() == [0, 1, 4, 3, 5, 2]


def test_other_splits_of_the_same_source(folder, tmp_path) -> None:
    data = prepared(folder, tmp_path, split="leave-one-out")
    assert histories(data) == [[0, 1, 3, 5, 2], [2, 1, 3, 0], [0, 5]]  # in order of time
    names = pq.read_schema(data.path / "interactions.parquet").names
    assert "label" not in names and "interactions" not in split_of(data)
    assert len(data.manifest["notes"]) == 1  # of the rows, not of the labels


def test_a_source_without_labels_has_no_given_split(small_csv, tmp_path) -> None:
    columns = Columns(user="who", item="what", time="when")
    with pytest.raises(DataError, match="a given split needs a source that says what is held out"):
        prepare("csv", source=small_csv, out=tmp_path / "o", columns=columns, split="given")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0\t1\t5\t9\t3", r"x_label is '3', expected one of 0 \(training\), 1 \(validation\), 2"),
        ("0\t1\t5\t9\t-1", r"x_label is '-1', expected one of"),
        ("0\t1\t5\t9\t", r"x_label is '', expected one of"),
        ("0\t1\t5\t9\t0.5", r"x_label is '0\.5', expected one of"),
        ("0\t-1\t5\t9\t0", r"itemID is '-1', expected a whole number, 0 or more"),
        ("0\tB07\t5\t9\t0", r"itemID is 'B07', expected a whole number, 0 or more"),
        ("\t1\t5\t9\t0", r"userID is '', expected a whole number, 0 or more"),
        ("0\t1\t5\tsoon\t0", r"timestamp is 'soon', expected a number"),
        ("0\t1\t5\t9", r"4 fields, expected 5 \(userID, itemID, rating, timestamp, x_label\)"),
    ],
)
def test_a_bad_row_is_named(write, tmp_path, row, message) -> None:
    write("baby/baby.inter", HEADER + "0\t2\t5\t8\t0\n" + row + "\n")
    with pytest.raises(DataError, match=rf"baby\.inter:3: {message}"):
        read_mmrec(Source(tmp_path / "baby"), Columns())


def test_bad_folders(write, tmp_path) -> None:
    write("baby/baby.inter", "userID\titemID\ttimestamp\n0\t1\t2\n")
    with pytest.raises(DataError, match=r"baby\.inter:1: no column 'x_label'; columns: userID"):
        read_mmrec(Source(tmp_path / "baby"), Columns())
    write("baby/baby.inter", HEADER)
    with pytest.raises(DataError, match=r"baby\.inter: no interactions in it"):
        read_mmrec(Source(tmp_path / "baby"), Columns())
    write("baby/other.inter", HEADER)
    with pytest.raises(DataError, match=r"2 \.inter files"):
        read_mmrec(Source(tmp_path / "baby"), Columns())
    with zipfile.ZipFile(tmp_path / "baby.zip", "w") as archive:
        archive.writestr("baby.inter", HEADER)
    with pytest.raises(DataError, match=r"baby\.zip: unpack the archive and name the folder"):
        prepare("mmrec", source=tmp_path / "baby.zip", out=tmp_path / "o")


def test_the_same_again_does_nothing_and_changes_are_noticed(folder, tmp_path, capsys) -> None:
    prepared(folder, tmp_path)
    prepared(folder, tmp_path, progress=True)
    assert "nothing to do" in capsys.readouterr().out
    np.save(folder / "image_feat.npy", np.ones((6, 3)))
    with pytest.raises(DataError, match="the feature files are not the ones they were"):
        prepared(folder, tmp_path)


def rewrite(path, changes) -> None:
    """Another interactions.parquet, as if it had been prepared so."""
    table = pq.read_table(path)
    for name, values in changes.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, path)


def test_labels_of_an_older_folder_are_checked_on_reading(folder, tmp_path, older, vouch) -> None:
    path = older(prepared(folder, tmp_path).path) / "interactions.parquet"
    table = pq.read_table(path)
    for values, message in (
        (
            np.array([0, 1, 0, 1, 2, 0, 0, 1, 2, 0, 0], np.uint8),
            "user 0 has an interaction labelled training af",
        ),
        (
            np.array([0, 0, 1, 1, 9, 0, 0, 1, 2, 0, 0], np.uint8),
            "11 labels up to 9 for 11 interactions, expected",
        ),
        (np.zeros(11, dtype=np.int64), "label is int64 with 0 missing, expected uint8"),
    ):
        rewrite(path, {"label": values})
        vouch(path.parent)
        with pytest.raises(DataError, match=message):
            PreparedData.load(path.parent)
    pq.write_table(table.drop_columns("label"), path)
    vouch(path.parent)
    with pytest.raises(DataError, match=r"interactions\.parquet: cannot be read"):
        PreparedData.load(path.parent)


INTERACTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5), st.integers(0, 2)),
    min_size=1,
    max_size=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(INTERACTIONS)
def test_any_source_equals_a_plain_loop(write, tmp_path, rows) -> None:
    lines = [f"{user}\t{item}\t5\t{time}\t{label}\n" for user, item, time, label in rows]
    write("any/any.inter", HEADER + "".join(lines))
    data = prepared(tmp_path / "any", tmp_path, repeats="keep", force=True)
    reordered = 0
    for place, user in enumerate(sorted({row[0] for row in rows})):
        own = [row for row in rows if row[0] == user]
        ordered = sorted(own, key=lambda row: (row[3], row[2]))  # stable
        assert histories(data)[place] == [row[1] for row in ordered]
        labels = [row[3] for row in ordered]
        assert data.train_end[place] == labels.count(0)
        for label, positions in ((1, data.validation_position), (2, data.test_position)):
            places = [at for at, found in enumerate(labels) if found == label]
            assert positions[place] == (places[-1] if places and places[-1] > 0 else -1)
        reordered += any(a[2] < b[2] and a[3] > b[3] for a in own for b in own)
    assert split_of(data)["reordered_users"] == reordered


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.permutations([row for row in ROWS if row[3]]), st.sampled_from(["collapse", "keep"]))
def test_what_is_trained_on_does_not_depend_on_what_is_held_out(
    write, folder, tmp_path, held_out, repeats
) -> None:
    base = prepared(folder, tmp_path, repeats=repeats, force=True)
    items = iter(held_out)
    rows = [(u, next(items)[1], t, x) if x else (u, i, t, x) for u, i, t, x in ROWS]
    lines = [f"{user}\t{item}\t5\t{time}\t{label}\n" for user, item, time, label in rows]
    expected = [base.train_items(user).tolist() for user in range(3)]
    write("other/other.inter", HEADER + "".join(lines))
    data = prepared(tmp_path / "other", tmp_path, repeats=repeats, force=True)
    assert data.item_keys() == base.item_keys()
    assert [data.train_items(user).tolist() for user in range(3)] == expected
