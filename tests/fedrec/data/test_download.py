"""Against a web server on this machine."""

from __future__ import annotations

import hashlib

import pytest

from fedrec.data.download import default_cache, fetch
from fedrec.errors import DataError

CONTENT = b"an archive" * 10_000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def site(website):
    (website[0] / "d.zip").write_bytes(CONTENT)
    return website


@pytest.mark.parametrize("progress", [True, False])
def test_download_and_cache(site, tmp_path, progress) -> None:
    folder, url = site
    target = fetch(f"{url}/d.zip", tmp_path / "cache", md5=MD5, progress=progress)
    assert target == tmp_path / "cache" / "d.zip" and target.read_bytes() == CONTENT
    (folder / "d.zip").unlink()
    assert fetch(f"{url}/d.zip", tmp_path / "cache", md5=MD5) == target


def test_a_damaged_copy_in_the_cache_is_fetched_again(site, tmp_path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "d.zip").write_bytes(b"half")
    fetch(f"{site[1]}/d.zip", tmp_path / "cache", md5=MD5)
    assert (tmp_path / "cache" / "d.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(site, tmp_path) -> None:
    with pytest.raises(DataError, match=f"md5 {MD5}, expected {'0' * 32}"):
        fetch(f"{site[1]}/d.zip", tmp_path / "cache", md5="0" * 32)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_checksum_beside_the_archive(site, tmp_path) -> None:
    folder, url = site
    (folder / "d.zip.md5").write_text(f"MD5 (d.zip) = {MD5.upper()}\n")
    assert fetch(f"{url}/d.zip", tmp_path / "cache").read_bytes() == CONTENT
    (folder / "d.zip.md5").write_text("not here")
    with pytest.raises(DataError, match="holds no md5 checksum"):
        fetch(f"{url}/d.zip", tmp_path / "other")


def test_where_it_cannot_it_says_what_to_put_where(tmp_path) -> None:
    closed = "http://127.0.0.1:9/ml-100k.zip"  # the discard port: nobody listens
    with pytest.raises(DataError) as caught:
        fetch(closed, tmp_path / "cache", md5=MD5)
    assert str(tmp_path / "cache" / "ml-100k.zip") in str(caught.value)
    assert "--source" in str(caught.value) and closed in str(caught.value)


def test_missing_on_the_server(site, tmp_path) -> None:
    with pytest.raises(DataError, match="404"):
        fetch(f"{site[1]}/gone.zip", tmp_path / "cache", md5=MD5)


def test_a_connection_that_breaks_off(site, tmp_path) -> None:
    (site[0] / "cut.zip").write_bytes(CONTENT)
    with pytest.raises(DataError, match="cannot download"):
        fetch(f"{site[1]}/cut.zip", tmp_path / "cache", md5=MD5)
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_folder_from_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("FEDREC_CACHE")
    assert default_cache().parts[-2:] == (".cache", "fedrec")
