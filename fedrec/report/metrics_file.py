"""Reads OUT/metrics.jsonl while it is being written."""

from __future__ import annotations

from pathlib import Path

from fedrec.report.round_record import Record, round_record


class MetricsFile:
    """The rounds that are appended after this object was made, one JSON object a line."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        """from_start: what is there already counts as appended."""
        self._path, self._from_start = path, from_start
        self._file, size = self._seen()
        self._offset = 0 if from_start else size
        self.restarts = self.unreadable = 0

    def new_records(self) -> list[Record]:
        """The complete lines since the last call; those that are no rounds are left out and counted
        in `unreadable`.

        A line still being written waits for the next call. A file that became shorter or another
        one was cut back to what a run resumes from: `restarts` counts that, and what it kept is
        old, unless everything counts from the start.
        """
        file, size = self._seen()
        if self._file not in (None, file) or size < self._offset:
            self._offset, self.unreadable = 0 if self._from_start else size, 0
            self.restarts += 1
        self._file = file
        content = self._rest()
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        lines = [line for line in complete.splitlines() if line.strip()]
        records = [record for line in lines if (record := round_record(line)) is not None]
        self.unreadable += len(lines) - len(records)
        return records

    def _rest(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read()
        except FileNotFoundError:
            return b""

    def _seen(self) -> tuple[int | None, int]:
        """Which file has the name, and its size."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None, 0
        return stat.st_ino, stat.st_size
