from __future__ import annotations

import gzip
import zipfile

import pytest

from fedrec.data.archive import Source
from fedrec.errors import DataError


def make_zip(path, members) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def content_of(source, name) -> bytes:
    with source.open(name) as stream:
        return stream.read()


def test_a_single_top_folder_is_not_part_of_the_names(tmp_path) -> None:
    make_zip(tmp_path / "d.zip", {"ml/a.csv": "x", "ml/sub/b.csv": "y", "__MACOSX/._a.csv": "z"})
    source = Source(tmp_path / "d.zip")
    assert content_of(source, source.require("a.csv")) == b"x"
    assert source.find("sub/b.csv") == "sub/b.csv" and source.find("b.csv") is None
    assert source.label("a.csv") == f"{tmp_path / 'd.zip'}:a.csv"


def test_a_flat_archive_keeps_its_names(tmp_path) -> None:
    make_zip(tmp_path / "d.zip", {"a.csv": "x", "ml/b.csv": "y"})
    assert Source(tmp_path / "d.zip").require("ml/b.csv") == "ml/b.csv"


def test_gzipped_names_are_found_and_read(tmp_path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x"))
    source = Source(tmp_path)
    assert content_of(source, source.require("a.csv")) == b"x"


def test_a_file_stands_for_its_folder(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("x")
    source = Source(tmp_path / "a.csv")
    assert source.chosen == "a.csv" and source.path == tmp_path


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\evil", "C:/evil"])
def test_unsafe_paths_are_refused(tmp_path, name) -> None:
    make_zip(tmp_path / "d.zip", {"ok": "x", name: "y"})
    with pytest.raises(DataError, match="unsafe path"):
        Source(tmp_path / "d.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    with pytest.raises(DataError, match="holds a twice"):
        Source(tmp_path / "d.zip")


def test_damage(tmp_path) -> None:
    make_zip(tmp_path / "d.zip", {"a.csv": "sound content"})
    content = (tmp_path / "d.zip").read_bytes()
    (tmp_path / "d.zip").write_bytes(content.replace(b"sound content", b"other content", 1))
    with pytest.raises(DataError, match=r"d\.zip:a\.csv: the file is damaged"):
        content_of(Source(tmp_path / "d.zip"), "a.csv")
    (tmp_path / "e.zip").write_bytes(content[:20])
    with pytest.raises(DataError, match="not a sound zip archive"):
        Source(tmp_path / "e.zip")


def test_what_is_missing_is_named(tmp_path) -> None:
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(DataError, match=r"no a\.csv or b\.csv in it; it holds other\.txt"):
        Source(tmp_path).require("a.csv", "b.csv")
    with pytest.raises(DataError, match="no such file or folder"):
        Source(tmp_path / "nowhere")


def test_fingerprints_tell_what_was_asked_for(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"")
    source = Source(tmp_path)
    source.find("a")
    source.find("b")
    sha256_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert source.fingerprints() == {"a": sha256_of_nothing, "b": None, "b.gz": None}
    make_zip(tmp_path / "d.zip", {"a": "x"})
    zipped = Source(tmp_path / "d.zip")
    assert zipped.fingerprints() == {"d.zip": zipped.fingerprint("d.zip")}
    assert zipped.fingerprint("a") is None
