"""Find and stop every process that carries one launcher's mark in its environment.

A mark is inherited by all descendants, whatever session or group they move to and whoever becomes
their parent, so it also finds what Flower and Ray start in sessions of their own. Linux only: where
there is no /proc, nothing is found and the launcher stops its direct children only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MARK = "FEDREC_RUN_ID"


def marked_processes(mark: str) -> list[int]:
    """Ids of the living processes, other than this one, that carry the mark or descend from one.

    Descent counts because a program may overwrite its environment, as Ray's agents do when they
    set their title.
    """
    wanted = f"{MARK}={mark}".encode()
    pids = [pid for pid in _process_ids() if pid != os.getpid()]
    found = {pid for pid in pids if wanted in _environment(pid).split(b"\0")}
    parents = {pid: _parent(pid) for pid in pids} if found else {}
    while born := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= born
    return sorted(found)


def stop_marked(mark: str, *, grace_s: float, kill_s: float = 5.0) -> list[int]:
    """Wait up to `grace_s` for all marked processes to end, then kill until none is left.

    Returns the ids of those that outlived `kill_s` seconds of killing (none, unless the kernel
    holds them or they belong to another user).
    """
    if not _wait(lambda: not marked_processes(mark), grace_s):
        _wait(lambda: _killed(mark), kill_s)
    return marked_processes(mark)


def _killed(mark: str) -> bool:
    """Whether nothing was left to kill, twice: in the midst of an exec a process has no mark."""
    if _kill(marked_processes(mark)):
        return False
    time.sleep(0.1)
    return not _kill(marked_processes(mark))


def _kill(pids: list[int]) -> list[int]:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return pids


def _wait(done: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _process_ids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:
        return []


def _environment(pid: int) -> bytes:
    """A process's environment; empty for one that has ended or belongs to somebody else."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    """A process's parent; 0 for one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
