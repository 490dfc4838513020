"""The file of rows that is being written, which survives its process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from features.locking import Say
from features.segments import Batch, encode_batch, encode_end, encode_header, read_segment
from fedrec.errors import DataError


class Journal:
    """Batches of one plan, appended as they come.

    header: of the plan, None before there is one. batches: those that were there when it was
    opened. Opening cuts off what was not written whole, and tells `say`.
    """

    def __init__(self, path: Path, say: Say) -> None:
        self.path = path
        self.header: dict[str, Any] | None = None
        self.batches: list[Batch] = []
        self._appended = 0
        self._stream: BinaryIO | None = None
        if path.exists():
            self._recover(say)

    def begin(self, header: Mapping[str, Any]) -> None:
        """Be ready for more batches of the plan with this header, the first that the file sees.

        Raises DataError where the file cannot be written.
        """
        with self._disk():
            if self.header is None:
                self.path.write_bytes(encode_header(header))
                self.header = dict(header)
            self._stream = self.path.open("ab", buffering=0)

    def append(self, batch: Batch) -> None:
        """Write a batch. Raises DataError, e.g. for a full disk; what was written is kept."""
        with self._disk():
            self._write(encode_batch(batch))
        self._appended += 1

    def finish(self, path: Path) -> bool:
        """Give the file its end and the name `path`; False, and no file, where it holds nothing."""
        batches = len(self.batches) + self._appended
        with self._disk():
            if batches:
                self._stream = self._stream or self.path.open("ab", buffering=0)
                self._write(encode_end(batches))
                os.fsync(self._stream.fileno())
                os.replace(self.path, path)
            else:
                self.path.unlink(missing_ok=True)
        self.close()
        return batches > 0

    def close(self) -> None:
        """Let go of the file; it stays as it is."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _recover(self, say: Say) -> None:
        segment, size = read_segment(self.path), self.path.stat().st_size
        if segment is None:
            self.path.unlink()
            return
        self.header, self.batches = segment.header, segment.batches
        # killed between the end and the name: take the end off again
        whole = segment.end - (len(encode_end(len(segment.batches))) if segment.finished else 0)
        if size > segment.end:
            say(f"{self.path}: cut off {size - segment.end:,} bytes that were not written whole")
        if size > whole:
            os.truncate(self.path, whole)

    def _write(self, content: bytes) -> None:
        """An unbuffered stream may take less than it is given."""
        view = memoryview(content)
        while view and self._stream is not None:
            view = view[self._stream.write(view) :]

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error}); what was encoded so far is kept: run "
                "the same command again to go on"
            ) from error
