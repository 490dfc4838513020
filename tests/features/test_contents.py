from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from features.contents import Items, image_contents, text_contents
from features.texts import parse_template
from fedrec.data.arrow import pa, pq
from fedrec.data.atomic import write_json
from fedrec.data.folder import FORMAT
from fedrec.errors import DataError

Prepare = Callable[[Mapping[str, Sequence[Any]]], Path]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """A folder with only what is read here: a manifest and items.parquet."""

    def write(columns: Mapping[str, Sequence[Any]]) -> Path:
        count = len(next(iter(columns.values())))
        rest = {key: {} for key in ("name", "files", "settings", "source")}
        manifest = {"format": FORMAT, "counts": {"items": count}, **rest}
        write_json(tmp_path / "manifest.json", manifest)
        pq.write_table(pa.table(dict(columns)), tmp_path / "items.parquet")
        return tmp_path

    return write


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def test_values_of_every_kind_of_column_as_texts(prepared) -> None:
    columns = {
        "key": ["a", "b"],
        "genres": ["Crime|Drama", None],
        "year": [1995.0, float("nan")],
        "price": [2.5, None],
        "count": [3, None],
        "sold": [True, None],
        "tags": [["old", None, "good"], []],
        "raw": [b"x", None],
    }
    items = Items(prepared(columns))
    expected = {
        "genres": "Crime, Drama",
        "year": "1995",
        "price": "2.5",
        "count": "3",
        "sold": "True",
        "tags": "old, good",
    }
    for name, text in expected.items():
        assert items.column(name) == ["", text, ""], name
    assert items.column("plot") == ["", "", ""]
    with pytest.raises(DataError, match="column raw holds bytes, expected texts"):
        items.column("raw")


def test_texts_by_content_and_who_has_none(prepared) -> None:
    columns = {
        "key": ["a", "b", "c", "d"],
        "title": ["x", " ", "x", None],
        "plot": ["", "", "", "y"],
    }
    items = Items(prepared(columns))
    contents = text_contents(items, parse_template("{title}. {plot}", items.columns))
    same = digest(b"x.")
    assert contents.digests == [None, same, None, same, digest(b"y")]
    assert contents.sources == {same: "x.", digest(b"y"): "y"}
    [fault] = contents.faults
    assert (fault.item, fault.key, fault.kind) == (2, "b", "missing")
    tensor = contents.tensor(without=lambda found: found == digest(b"y"))
    assert tensor.shape == (5, 16) and tensor.any(axis=1).tolist() == [0, 1, 0, 1, 0]
    assert tensor[1].tobytes() == same


def test_pictures_by_content_and_what_is_wrong_with_the_others(prepared, tmp_path) -> None:
    columns = {"key": ["1", "2", "3", "4"], "image": ["p/1.jpg", "p/2.jpg", None, "p/4.jpg"]}
    items = Items(prepared(columns))
    root = tmp_path / "pictures"
    (root / "p").mkdir(parents=True)
    (root / "p" / "1.jpg").write_bytes(b"one")  # what it holds is looked at by the encoder
    (root / "3.png").write_bytes(b"one")
    (root / "p" / "4.jpg").write_bytes(b"")
    seen: list[int] = []
    contents = image_contents(items, root, threads=2, advance=seen.append)
    one = digest(b"one")
    assert contents.digests == [None, one, None, one, None] and sum(seen) == 4
    assert list(contents.sources) == [one] and contents.paths[1] == "p/1.jpg"
    assert contents.paths[3] == "3.png"
    found = [(fault.item, fault.path, fault.kind) for fault in contents.faults]
    assert found == [(2, "p/2.jpg", "missing"), (4, "p/4.jpg", "empty")]


def test_what_is_not_a_prepared_folder(prepared, tmp_path) -> None:
    with pytest.raises(DataError, match="`fedrec prepare` makes one"):
        Items(tmp_path / "none")
    folder = prepared({"key": ["a"]})
    with pytest.raises(DataError, match=r"--images .*: no such folder"):
        image_contents(Items(folder), tmp_path / "none", threads=1, advance=print)
    (folder / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        Items(folder)
    pq.write_table(pa.table({"key": ["a", "b"]}), folder / "items.parquet")
    with pytest.raises(DataError, match="not 1 items"):
        Items(folder)
