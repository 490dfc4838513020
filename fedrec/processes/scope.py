"""A scope that ends together with every process started inside it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import fedrec
from fedrec.processes.marked import MARK, stop_marked
from fedrec.processes.signals import leave

_LONGEST_FOLDER = 20  # characters; the paths of the sockets that Ray puts below may have 104


@dataclass
class Processes:
    """What one launcher has started. folder: its private temporary folder, removed at the end."""

    mark: str
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own (a Ctrl-C reaches only the launcher)."""
        process = subprocess.Popen(
            command,
            env={**environment, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def stop(self, grace_s: float = 0.0) -> None:
        """Ask the programs to end, and kill what is left of them and their kind after the grace."""
        if grace_s:
            for process in self.started:
                process.terminate()
        stop_marked(self.mark, grace_s=grace_s)
        for process in self.started:
            process.kill()  # has an effect only where marks cannot be seen
            process.wait()


@contextmanager
def process_scope(grace_s: float = 0.0) -> Iterator[Processes]:
    """Yield a `Processes`; whatever it started has ended when the block is left.

    Holds for a normal end, an exception, Ctrl-C, SIGTERM and SIGHUP (the last two raise SystemExit
    with 128 + signal inside the block). If this process is killed, a watchdog cleans up.
    grace_s: how long programs may take to say goodbye before they are killed.
    """
    mark = uuid.uuid4().hex
    folder = Path(tempfile.mkdtemp(prefix="fedrec-", dir=_temporary_folder()))
    watchdog = _start_watchdog(mark, folder)
    processes = Processes(mark=mark, folder=folder)
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _raise_on_signals()
        yield processes
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        processes.stop(grace_s)
        shutil.rmtree(folder, ignore_errors=True)
        watchdog.communicate()
        for number, handler in previous.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _raise_on_signals() -> None:
    """Also for SIGINT, which shells ignore in background jobs; not for a hangup under nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, leave)


def _start_watchdog(mark: str, folder: Path) -> subprocess.Popen[bytes]:
    root = str(Path(fedrec.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "fedrec.processes.watchdog", mark, str(folder)],
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _temporary_folder() -> str:
    """The system's temporary folder, or /tmp where its path is too long to hold sockets."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108
