"""A `fedrec server` with its clients, in processes of their own: memory and work of both, by round.

Without TLS, on this machine: what is measured is the processes, not the network.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrec.processes import free_port, last_lines
from fedrec.processes.signals import stopped_by_exception
from fedrec.report import MetricsFile
from runs import MARK, marked

POLL_S, LOOK_S = 0.2, 1.0
STOPPING_S = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Held:
    """What processes hold together: proportional set sizes, and what of these is no page of a file.

    The latter is what a leak is made of; the former also changes with what other programs map.
    cpu_s: seconds of a core that they have used. parts: anonymous bytes and cpu_s by program.
    """

    bytes: int
    anonymous_bytes: int
    cpu_s: float
    parts: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Sample:
    """A round that has ended: its line of metrics.jsonl, and both sides right after it.

    lowest: of the server's anonymous bytes, asked for about every second of the round. What is in
    use for a moment, as the answers of many nodes, is not in it; a leak is.
    """

    line: dict[str, Any]
    server: Held
    clients: Held
    at_s: float
    lowest: int


@dataclass
class Deployed:
    """samples: a round each. server: its process."""

    server: subprocess.Popen[bytes]
    out: Path
    log: Path
    mark: str
    samples: list[Sample] = field(default_factory=list)

    def follow(self, rounds: int, show: Callable[[Sample], None], limit_s: float) -> float:
        """Seconds until the server's end; ends this program where it fails or takes too long."""
        metrics, began = MetricsFile(self.out / "metrics.jsonl"), time.monotonic()
        lowest, due = sys.maxsize, began
        while (ended := self.server.poll()) is None:
            now = time.monotonic()
            if now >= due:
                lowest, due = min(lowest, self._server().anonymous_bytes), now + LOOK_S
            for line in metrics.new_records():
                server, clients = self._server(), held(f"{self.mark}-client")
                low = min(lowest, server.anonymous_bytes)
                self.samples.append(Sample(line, server, clients, now - began, low))
                show(self.samples[-1])
                lowest = sys.maxsize
            if now - began > limit_s:
                raise SystemExit(f"{len(self.samples)} of {rounds} rounds in {limit_s:.0f} s")
            time.sleep(POLL_S)
        if ended:
            print(*last_lines(self.log), sep="\n", file=sys.stderr)
            raise SystemExit(f"fedrec server ended with code {ended}")
        return time.monotonic() - began

    def _server(self) -> Held:
        return held(f"{self.mark}-server")


@contextmanager
def deployed(
    settings: Sequence[str], clients: Callable[[str], Sequence[Sequence[str]]]
) -> Iterator[Deployed]:
    """A server and its clients; all have ended when the block is left.

    clients: address -> their command lines.
    """
    address, mark = f"127.0.0.1:{free_port()}", uuid.uuid4().hex
    with stopped_by_exception(), tempfile.TemporaryDirectory(prefix="fedrec-bench-") as place:
        folder, started = Path(place), list[subprocess.Popen[bytes]]()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["MALLOC_ARENA_MAX"] = "2"  # as launchers set it

        def start(command: Sequence[str], side: str, log: Path) -> subprocess.Popen[bytes]:
            env = {**environment, MARK: f"{mark}-{side}"}
            with log.open("wb") as output:
                started.append(
                    subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
                )
            return started[-1]

        try:
            out, port = folder / "run", address.rpartition(":")[2]
            command = [fedrec(), "server", *settings, f"out={out}", "--insecure", "--port", port]
            server = start(command, "server", folder / "server.txt")
            for number, words in enumerate(clients(address)):
                start(words, "client", folder / f"client-{number}.txt")
            yield Deployed(server, out, folder / "server.txt", mark)
        finally:
            _stop(started)


def fedrec() -> str:
    """The program, of the environment this runs in."""
    return str(Path(sys.executable).with_name("fedrec"))


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOPPING_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def held(mark: str) -> Held:
    """What the processes with a mark hold now."""
    total = anonymous = 0
    cpu_s, parts = 0.0, dict[str, tuple[int, float]]()
    for process in marked(mark):
        try:
            sizes = _sizes(process)
            name, used_s = _program(process), _cpu_s(process)
        except (OSError, IndexError):
            continue  # it has ended
        own = sizes.get("Pss_Anon", sizes.get("Pss", 0))
        total, anonymous, cpu_s = total + sizes.get("Pss", 0), anonymous + own, cpu_s + used_s
        before = parts.get(name, (0, 0.0))
        parts[name] = before[0] + own, before[1] + used_s
    return Held(total, anonymous, cpu_s, parts)


def _sizes(process: int) -> dict[str, int]:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def _program(process: int) -> str:
    words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    return next((Path(word).name for word in words[1:] if word[:1] not in ("-", "")), words[0])


def _cpu_s(process: int) -> float:
    """Of the process and of those children that have ended and were waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def slope(values: Sequence[float]) -> float:
    """Least squares over 0, 1, 2, ...; 0 of fewer than two values."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression(range(len(values)), values).slope


def progress(rounds: int) -> Callable[[Sample], None]:
    """Prints a line a round on a terminal, else about twenty in all."""
    every = 1 if sys.stdout.isatty() else max(1, rounds // 20)

    def show(sample: Sample) -> None:
        if sample.line["round"] % every == 0:
            print(
                f"round {sample.line['round']}/{rounds} at {sample.at_s:.0f} s: "
                f"{sample.line['users']} users in {sample.line['seconds']:.2f} s, "
                f"server {sample.server.anonymous_bytes / 2**20:.0f} MiB, "
                f"clients {sample.clients.anonymous_bytes / 2**20:.0f} MiB",
                flush=True,
            )

    return show
