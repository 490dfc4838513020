"""What the server app says about itself in OUT/status.json, as its launcher reads it."""

from __future__ import annotations

from pathlib import Path

from fedrec.monitoring.run_state import NOT_STARTED, RunState, read_state


class StatusFile:
    """Reads the status, ignoring what an earlier run left there before this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stale = self._version()

    def read(self) -> RunState | None:
        """The status of this run; None as long as its app has not written any."""
        version = self._version()
        if version is None or version == self._stale:
            return None
        found = read_state(self._path)
        return None if found == NOT_STARTED else found

    def _version(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino
