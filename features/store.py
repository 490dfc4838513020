"""Encoded contents, kept where every data set finds them: nothing is encoded twice.

One folder an encoder: `rows-000001.bin`, ... are finished, `rows.journal` is being written. A
content is known by its digest, whatever file or item it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.journal import Journal
from features.locking import Say, locked
from features.segments import Batch, Segment, read_segment
from features.specs import EncoderSpec
from fedrec.data.atomic import write_json
from fedrec.data.download import default_cache
from fedrec.data.folder import read_json
from fedrec.errors import DataError

JOURNAL = "rows.journal"
IDENTITY = "encoder.json"
_NUMBERED = re.compile(r"rows-(\d{6})\.bin(\.damaged)?")


def store_folder(spec: EncoderSpec, weights_sha256: str | None) -> Path:
    """Where the rows of an encoder are kept, below $FEDREC_CACHE or ~/.cache/fedrec.

    weights_sha256: of a local file; None for weights from a hub, which only loading tells.
    """
    identity = json.dumps([spec.modality, spec.name, weights_sha256])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return default_cache() / "embeddings" / f"{spec.slug}-{digest}"


@contextmanager
def open_store(folder: Path, say: Say) -> Iterator[Store]:
    """The store in `folder`, which is made if need be, for one process at a time."""
    with locked(folder, say):
        store = Store(folder, say)
        try:
            yield store
        finally:
            store.journal.close()


class Store:
    """Rows and faults by the digest of a content. Made by `open_store`.

    identity: what is known of the encoder since it was loaded: weights_sha256, preprocessing, dim.
    Opening checks every checksum: a finished file that is damaged is set aside, and `say` hears
    of it.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self._say = say
        self._batches: list[tuple[Batch, Mapping[str, str]]] = []
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._faults: dict[bytes, tuple[str, str]] = {}
        self._first_frames: set[bytes] = set()
        path = folder / IDENTITY
        self.identity: dict[str, Any] = read_json(path) if path.exists() else {}
        try:
            for path in self._numbered():
                if path.suffix == ".bin":
                    self._add(path)
            self.journal = Journal(folder / JOURNAL, say)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error})") from error

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Say which encoder is going to write: modality, encoder, weights_sha256, ...

        Raises DataError where the rows that are here came from another one.
        """
        for name, value in self.identity.items():
            if identity.get(name) != value:
                raise DataError(
                    f"{self.folder}: the rows here were made with {name} {value!r}, the encoder "
                    f"loaded now has {identity.get(name)!r}; nothing was mixed. Name the weights "
                    "by a local file, or remove the folder to encode everything anew"
                )
        if not self.identity:
            write_json(self.folder / IDENTITY, identity)
            self.identity = dict(identity)

    def knows(self, digest: bytes) -> bool:
        """Whether a finished file has a row or a fault for a content."""
        return digest in self._rows or digest in self._faults

    def fault(self, digest: bytes) -> tuple[str, str] | None:
        """Kind and detail of what is wrong with a content, if it is."""
        return self._faults.get(digest)

    def is_first_frame(self, digest: bytes) -> bool:
        """Whether the row of a content is that of an animated picture's first frame."""
        return digest in self._first_frames

    def rows(self, digests: Sequence[bytes]) -> NDArray[np.float16]:
        """float16 [digests, dim]. Raises KeyError for a content without a row."""
        found = np.empty((len(digests), self.identity["dim"]), dtype=np.float16)
        for at, digest in enumerate(digests):
            batch, row = self._rows[digest]
            found[at] = self._batches[batch][0].rows[row]
        return found

    def versions(self, digests: Sequence[bytes]) -> dict[str, str]:
        """Versions by library of what made these rows; several are joined by a comma."""
        found: dict[str, set[str]] = {}
        for batch in {self._rows[digest][0] for digest in digests}:
            for library, version in self._batches[batch][1].items():
                found.setdefault(library, set()).add(version)
        return {library: ", ".join(sorted(found[library])) for library in sorted(found)}

    def journalled(self) -> set[bytes]:
        """The contents that were in the journal when it was opened."""
        return {digest for batch in self.journal.batches for digest in batch.digests}

    def resume(self, header: Mapping[str, Any]) -> set[int] | None:
        """Begin or go on with the journal of a plan: which of its batches are there already.

        header: `dim`, `versions`, and `plan`, which tells one plan from another. None where the
        journal was another plan's: what it holds is finished as it is, and one must plan again.
        """
        if self.journal.header not in (None, header):
            self.finish()
            return None
        self.journal.begin(header)
        return {batch.index for batch in self.journal.batches}

    def finish(self) -> None:
        """Make a finished file of the journal, if there is one, and know what it holds."""
        taken = [int(path.name[5:11]) for path in self._numbered()]
        path = self.folder / f"rows-{max(taken, default=0) + 1:06}.bin"
        if self.journal.finish(path):
            self._add(path)
        self.journal = Journal(self.folder / JOURNAL, self._say)

    def _numbered(self) -> list[Path]:
        """Finished files, sound or set aside, in the order they were made."""
        return sorted(path for path in self.folder.iterdir() if _NUMBERED.fullmatch(path.name))

    def _add(self, path: Path) -> None:
        segment = read_segment(path)
        if segment is None or not segment.finished or not self._is_ours(segment):
            os.replace(path, path.with_name(f"{path.name}.damaged"))
            self._say(f"{path} is damaged and was set aside; what it held is encoded again")
            return
        for batch in segment.batches:
            self._batches.append((batch, segment.header["versions"]))
            at = len(self._batches) - 1
            for row, position in enumerate(batch.kept):
                self._rows.setdefault(batch.digests[position], (at, row))
            for position, fault in batch.faults.items():
                self._faults.setdefault(batch.digests[position], fault)
            self._first_frames.update(batch.digests[position] for position in batch.first_frames)

    def _is_ours(self, segment: Segment) -> bool:
        return bool(segment.header["dim"] == self.identity.get("dim"))
