"""Small sources on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fedrec.data.checksum import digest_file
from fedrec.data.folder import (
    HISTORIES,
    MANIFEST,
    SPLIT,
    read_json,
    read_manifest,
    record_files,
)

# user, item, time: every user and item has two interactions or more
SMALL_ROWS = [
    ("ann", "tea", 30),
    ("ann", "jam", 10),
    ("ann", "rye", 20),
    ("bob", "jam", 40),
    ("bob", "tea", 50),
    ("bob", "rye", 60),
    ("cy", "tea", 15),
    ("cy", "jam", 90),
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file below the test's folder and return its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def small_csv(write: Callable[[str, str | bytes], Path]) -> Path:
    """SMALL_ROWS as shop.csv with the columns who, what, when."""
    lines = ["who,what,when", *(f"{user},{item},{time}" for user, item, time in SMALL_ROWS)]
    return write("shop.csv", "\n".join(lines) + "\n")


def write_feature_arrays(folder: Path, modality: str, rows: dict[str, list[float]]) -> None:
    """MODALITY.npy and MODALITY_index.csv, one row a key."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{modality}.npy", np.array(list(rows.values()), dtype=np.float32))
    index = "\n".join(f"{row},{key}" for row, key in enumerate(rows))
    (folder / f"{modality}_index.csv").write_text(f"row,key\n{index}\n")


@pytest.fixture
def feature_arrays() -> Callable[[Path, str, dict[str, list[float]]], None]:
    """See `write_feature_arrays`."""
    return write_feature_arrays


def without_histories(folder: Path) -> Path:
    """Take the mapped histories out of a prepared folder, as it was before there were any."""
    for name, key in ((MANIFEST, "files"), (SPLIT, "sha256")):
        content = json.loads((folder / name).read_text())
        del content[key][HISTORIES]
        content.pop("checksum", None)
        (folder / name).write_text(json.dumps(content))
    record_files(folder, [SPLIT])
    (folder / HISTORIES).unlink()
    return folder


@pytest.fixture
def older() -> Callable[[Path], Path]:
    """See `without_histories`."""
    return without_histories


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        if self.path.startswith("/cut"):
            self.close_connection = True
        super().end_headers()

    def send_header(self, keyword: str, value: str) -> None:
        longer = keyword == "Content-Length" and self.path.startswith("/cut")
        super().send_header(keyword, str(int(value) + 5) if longer else value)


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a web server on this machine shows it.

    What is asked for at /cut... ends before its announced length.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def vouch_for(folder: Path) -> None:
    """Make split and manifest vouch for what a prepared folder holds now."""
    split, manifest = read_json(folder / SPLIT), read_manifest(folder)
    held = {name: digest_file(folder / name) for name in split["sha256"]}
    (folder / SPLIT).write_text(json.dumps({**split, "sha256": held}))
    record_files(folder, manifest["files"])


@pytest.fixture
def vouch() -> Callable[[Path], None]:
    """See `vouch_for`."""
    return vouch_for
