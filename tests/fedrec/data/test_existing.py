from __future__ import annotations

import pytest

from fedrec.data import Columns, prepare
from fedrec.errors import DataError

COLUMNS = Columns(user="who", item="what", time="when")


def run(source, out, **options):
    options = {"min_interactions": 2, "columns": COLUMNS, **options}
    return prepare("csv", source=source, out=out, **options)


@pytest.fixture
def out(small_csv, tmp_path):
    return run(small_csv, tmp_path / "out")


def stamp(out) -> int:
    return (out / "manifest.json").stat().st_ino


def test_the_same_again_does_nothing(small_csv, out, capsys) -> None:
    before = stamp(out)
    assert run(small_csv, out, progress=True) == out and stamp(out) == before
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_interactions": 1}, "min_interactions: 2 then, 1 now"),
        ({"split": "global-time"}, "split: 'leave-one-out' then, 'global-time' now"),
        ({"columns": Columns(user="what", item="who", time="when")}, "columns: "),
    ],
)
def test_other_settings_are_refused_without_force(small_csv, out, options, message) -> None:
    before = stamp(out)
    with pytest.raises(DataError, match=f"prepared otherwise \\({message}.*--force"):
        run(small_csv, out, **options)
    assert stamp(out) == before
    run(small_csv, out, **options, force=True)
    assert stamp(out) != before


def test_a_changed_source_is_noticed(small_csv, out) -> None:
    small_csv.write_text(small_csv.read_text() + "ann,jam,99\n")
    with pytest.raises(DataError, match=r"shop\.csv is not the file it was"):
        run(small_csv, out)


def test_changed_features_and_items_are_noticed(small_csv, tmp_path, feature_arrays) -> None:
    feature_arrays(tmp_path / "f", "text", {"tea": [1]})
    items = tmp_path / "items.csv"
    items.write_text("what\ntea\n")
    columns = Columns(user="who", item="what", time="when", items=items)
    out = run(small_csv, tmp_path / "out", features=tmp_path / "f", columns=columns)
    run(small_csv, out, features=tmp_path / "f", columns=columns)
    feature_arrays(tmp_path / "f", "text", {"tea": [2]})
    with pytest.raises(DataError, match="the feature files are not the ones they were"):
        run(small_csv, out, features=tmp_path / "f", columns=columns)
    items.write_text("what\njam\n")
    with pytest.raises(DataError, match="columns: "):
        run(small_csv, out, features=tmp_path / "f", columns=columns)


def test_another_kind_of_source(tmp_path, small_csv, out) -> None:
    with pytest.raises(DataError, match="dataset: 'csv' then, 'ml-latest-small' now"):
        prepare("ml-latest-small", out=out)


def test_a_damaged_folder_is_not_called_prepared(small_csv, out) -> None:
    (out / "users.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"users\.parquet: sha256 .* \(--force\)"):
        run(small_csv, out)


def test_what_is_not_a_prepared_folder_is_never_replaced(small_csv, tmp_path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("x")
    for force in (False, True):
        with pytest.raises(DataError, match="exists and is not a prepared folder"):
            run(small_csv, tmp_path / "home", force=force)
    with pytest.raises(DataError, match="exists and is not a prepared folder"):
        run(small_csv, small_csv, force=True)
    assert (tmp_path / "home" / "letter").read_text() == "x"


def test_an_empty_folder_is_free(small_csv, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert (run(small_csv, tmp_path / "empty") / "manifest.json").is_file()
