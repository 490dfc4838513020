"""Bombs: little that stands for very much."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fedrec.data import bounded
from fedrec.data.archive import Source
from fedrec.data.bounded import Bounded
from fedrec.errors import DataError


def test_what_is_in_proportion_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "HARMLESS_BYTES", 50)
    content = bytes(range(100)) * 3
    assert io.BufferedReader(Bounded(io.BytesIO(content), 3)).read() == content
    with pytest.raises(OSError, match="2 bytes stand for more than 100 times as much"):
        io.BufferedReader(Bounded(io.BytesIO(content), 2)).read()


def test_lines_are_as_they_are() -> None:
    content = b"a\nbb\r\n\nccc"
    assert list(io.BufferedReader(Bounded(io.BytesIO(content), 1))) == content.splitlines(True)


def gz(path: Path, content: bytes) -> Path:
    path = path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(content))
    return path


def archive(path: Path, content: bytes) -> Path:
    path = path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("bomb.csv", content)
    return path


@pytest.mark.parametrize("pack", [gz, archive])
def test_a_bomb_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[Path, bytes], Path]
) -> None:
    monkeypatch.setattr(bounded, "HARMLESS_BYTES", 1 << 16)
    path = pack(tmp_path, bytes(1 << 20))
    source = Source(path)
    name = source.chosen or "bomb.csv"
    refused = pytest.raises(DataError, match=rf"{path.name}.*damaged \(.* stand for more than 100")
    with refused, source.open(name) as stream:
        stream.read()
    sound = Source(pack(tmp_path, b"user,item\n" * 100))
    with sound.open(name) as stream:
        assert len(stream.read()) == 1000
