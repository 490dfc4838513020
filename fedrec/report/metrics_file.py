"""Reads OUT/metrics.jsonl while it is being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class MetricsFile:
    """The rounds that are appended after this object was made, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._size()

    def new_records(self) -> list[dict[str, Any]]:
        """The complete lines since the last call.

        A line still being written waits for the next call. A file that became shorter was cut back
        to the checkpoint that a run resumes from: what it kept is old.
        """
        if self._size() < self._offset:
            self._offset = self._size()
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [record for line in complete.splitlines() for record in _records(line)]

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _records(line: bytes) -> list[dict[str, Any]]:
    """The record of a line; none where it is blank or was damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return [record] if isinstance(record, dict) else []
