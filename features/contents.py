"""What the items of a prepared folder have for an encoder: a text, a picture, or nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.images import ImageFault, locate_image, read_image
from features.segments import DIGEST_BYTES
from features.texts import Template
from fedrec.data.arrow import pa, pq
from fedrec.data.folder import ITEMS, read_manifest
from fedrec.errors import DataError

MISSING = "missing"
_AT_ONCE = 1024  # pictures that wait for a thread


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why an item has no feature. path: of its picture, below the folder of pictures; may be ""."""

    item: int
    key: str
    path: str = ""
    kind: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What there is to encode.

    digests: by item, from 0, the first 16 bytes of the sha256 of its content, None without one.
    sources: digest -> the text, or a file with the picture. paths: by item, as in a Fault.
    """

    keys: Sequence[str]
    digests: Sequence[bytes | None]
    sources: Mapping[bytes, str | Path]
    paths: Sequence[str]
    faults: Sequence[Fault]

    def tensor(self, without: Callable[[bytes], object]) -> NDArray[np.uint8]:
        """uint8 [items + 1, 16]: the digests, zero without content and where `without` says so."""
        nothing = bytes(DIGEST_BYTES)
        kept = (nothing if d is None or without(d) else d for d in self.digests)
        return np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


class Items:
    """items.parquet of a prepared folder.

    Raises DataError where the folder is not a prepared one, or the file is damaged or not its own.
    """

    def __init__(self, folder: Path) -> None:
        expected = read_manifest(folder)["counts"]["items"]
        self._path = folder / ITEMS
        try:
            self._table: Any = pq.ParquetFile(self._path).read()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self._path}: cannot be read ({error})") from error
        self.columns: list[str] = self._table.column_names
        if "key" not in self.columns or len(self._table) != expected:
            raise DataError(f"{self._path}: not {expected} items with keys; prepare the data again")

    def column(self, name: str) -> list[str]:
        """Texts of a column by item, from 0; "" where it is empty, and for 0 and no such column.

        Genres are separated by commas; so are lists. Raises DataError for values without a text.
        """
        if name not in self.columns:
            return [""] * (len(self._table) + 1)
        texts = [self._cell(name, value) for value in self._table[name].to_pylist()]
        if name == "genres":
            texts = [", ".join(filter(None, text.split("|"))) for text in texts]
        return ["", *texts]

    def _cell(self, name: str, value: object) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, (list, tuple)):
            return ", ".join(filter(None, (self._cell(name, part) for part in value)))
        if isinstance(value, (bytes, dict)):
            raise DataError(
                f"{self._path}: column {name} holds {type(value).__name__}, expected texts, "
                "numbers or lists of them"
            )
        whole = isinstance(value, float) and value.is_integer()
        return str(int(value) if whole and isinstance(value, float) else value)


def text_contents(items: Items, template: Template) -> Contents:
    """The template's text of every item; an item is missing where that is empty."""
    columns = {name: items.column(name) for name in template.columns}
    keys = items.column("key")
    digests: list[bytes | None] = [None]
    sources: dict[bytes, str | Path] = {}
    faults: list[Fault] = []
    for item in range(1, len(keys)):
        text = template.render({name: texts[item] for name, texts in columns.items()})
        digest = _digest(text.encode()) if text else None
        digests.append(digest)
        if digest is None:
            detail = f"nothing in {', '.join(template.columns)}"
            faults.append(Fault(item=item, key=keys[item], kind=MISSING, detail=detail))
        else:
            sources.setdefault(digest, text)
    return Contents(
        keys=keys, digests=digests, sources=sources, paths=[""] * len(keys), faults=faults
    )


def image_contents(
    items: Items, root: Path, *, threads: int, advance: Callable[[int], object]
) -> Contents:
    """The picture of every item in the folder `root`, read once for its digest.

    advance: told how many more items were looked at. Raises DataError where `root` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"--images {root}: no such folder")
    keys, named = items.column("key"), items.column("image")
    looks: list[_Look] = [_Look()]
    with ThreadPoolExecutor(threads) as pool:
        for start in range(1, len(keys), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            looks += pool.map(lambda image, key: _look(root, image, key), named[part], keys[part])
            advance(len(keys[part]))
    return _contents_of(keys, looks)


@dataclass(frozen=True, slots=True)
class _Look:
    path: str = ""
    source: Path | None = None
    digest: bytes | None = None
    fault: tuple[str, str] | None = None


def _look(root: Path, image: str, key: str) -> _Look:
    path = image
    try:
        found = locate_image(root, image or None, key)
        path = _below(root, found)
        return _Look(path, found, _digest(read_image(found)))
    except ImageFault as fault:
        return _Look(path, fault=(fault.kind, fault.detail))


def _below(root: Path, found: Path) -> str:
    for base in (root, root.resolve()):
        if found.is_relative_to(base):
            return found.relative_to(base).as_posix()
    return found.name


def _contents_of(keys: Sequence[str], looks: Sequence[_Look]) -> Contents:
    sources: dict[bytes, str | Path] = {}
    faults = []
    for item, look in enumerate(looks):
        if look.digest is not None and look.source is not None:
            sources.setdefault(look.digest, look.source)
        elif look.fault is not None:
            kind, detail = look.fault
            faults.append(
                Fault(item=item, key=keys[item], path=look.path, kind=kind, detail=detail)
            )
    return Contents(
        keys=keys,
        digests=[look.digest for look in looks],
        sources=sources,
        paths=[look.path for look in looks],
        faults=faults,
    )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]
