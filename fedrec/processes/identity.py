"""Which process wrote something, and whether it still lives.

A process id is given away again, so the time at which the process began belongs to it; and it
means something on one machine between two starts of it only.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """pid on host since its start `boot`. started: clock ticks between that start and the
    process's; 0 where the system does not tell, and boot then empty."""

    host: str
    boot: str
    pid: int
    started: int


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = os.getpid()
    return ProcessIdentity(host=socket.gethostname(), boot=_boot(), pid=pid, started=_started(pid))


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether the process still runs; None where that cannot be seen from this machine."""
    if process.host != socket.gethostname():
        return None
    if process.boot != _boot():
        return False
    if process.started:
        return _started(process.pid) == process.started
    return _answers(process.pid)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Clock ticks from the machine's start to the process's; 0 for one that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, IndexError, ValueError):
        return 0


def _answers(pid: int) -> bool:
    """Where there is no /proc. Signal 0 asks and does nothing."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
