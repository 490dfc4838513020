"""What the server app says about itself in OUT/status.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AppStatus:
    """state: running, finished or failed; error: why it failed. pid: of the app, 0 = unknown."""

    state: str
    error: str | None
    pid: int = field(default=0, compare=False)

    @property
    def alive(self) -> bool:
        """Whether the app's process runs, as far as this machine can tell."""
        if not self.pid or not Path("/proc/self").exists():
            return True
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"  # killed, and not yet noticed


class StatusFile:
    """Reads the status, ignoring what an earlier run left there before this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stale = self._version()

    def read(self) -> AppStatus | None:
        """The status of this run; None as long as its app has not written any."""
        version = self._version()
        if version is None or version == self._stale:
            return None
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None  # it is being written
        if not isinstance(content, dict):
            return None
        return AppStatus(
            state=str(content.get("state")),
            error=content.get("error"),
            pid=int(content.get("pid") or 0),
        )

    def _version(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino
