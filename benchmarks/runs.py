"""A `fedrec run` in processes of its own: started, watched, read and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedrec.processes import last_lines
from fedrec.report import MetricsFile

MARK = "FEDREC_BENCHMARK"
GONE_S = 60.0
"""How long the last of a run's processes may take to go."""


class Run:
    """One run and what it has written so far.

    began: when the command was given, on the monotonic clock. peak_bytes: the most memory that all
    its processes have held together. rounds: the lines of its metrics.jsonl that `read` has seen.
    """

    def __init__(self, settings: Sequence[str], folder: Path, *, quiet: bool) -> None:
        self.out, self._mark, self._log = folder / "run", uuid.uuid4().hex, folder / "output.txt"
        self._metrics = MetricsFile(self.out / "metrics.jsonl")
        self.peak_bytes, self.rounds = 0, list[dict[str, Any]]()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch_memory, daemon=True)
        program = str(Path(sys.executable).with_name("fedrec"))
        self.began = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "run", *settings, f"out={self.out}"],
                env={**os.environ, MARK: self._mark},
                stdout=log if quiet else None,
                stderr=subprocess.STDOUT if quiet else None,
            )
        self._watcher.start()

    def read(self) -> list[dict[str, Any]]:
        """The rounds that have ended since the last call."""
        fresh = self._metrics.new_records()
        self.rounds += fresh
        return fresh

    def results(self) -> dict[str, Any]:
        """The run's results.json."""
        return dict(json.loads((self.out / "results.json").read_text()))

    def wait(self) -> float:
        """Seconds from the command to its end; ends this program where the run fails."""
        code = self.process.wait()
        seconds = time.monotonic() - self.began
        self.read()
        if code:
            print(*last_lines(self._log), sep="\n", file=sys.stderr)
            raise SystemExit(f"fedrec run ended with code {code}")
        return seconds

    def stop(self) -> list[int]:
        """End it as Ctrl-C does; the ids of its processes that are still there a minute later."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        self._done.set()
        self._watcher.join()
        deadline = time.monotonic() + GONE_S
        while (left := list(marked(self._mark))) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def _watch_memory(self) -> None:
        while not self._done.wait(1.0):
            held = sum(map(proportional_bytes, marked(self._mark)))
            self.peak_bytes = max(self.peak_bytes, held)


@contextmanager
def running(settings: Sequence[str], *, quiet: bool = False) -> Iterator[Run]:
    """A run in a folder of its own, which goes with it. quiet: its output only where it fails."""
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        run = Run(settings, Path(folder), quiet=quiet)
        try:
            yield run
        finally:
            if left := run.stop():
                print(f"processes {left} are left of {settings}", file=sys.stderr)


def marked(mark: str) -> Iterator[int]:
    """The ids of the living processes that inherited the mark."""
    wanted = f"{MARK}={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
        except OSError:
            continue  # it has ended


def proportional_bytes(process: int) -> int:
    """The proportional set size: memory that several share counts once in their sum."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
