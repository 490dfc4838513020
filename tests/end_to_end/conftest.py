"""The real program on a shop's data, as a user starts it, and what is left of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedrec.checkpoints import Checkpoint, load_checkpoint
from fedrec.config import from_flat, to_toml
from tests.loopback import SMALL, write_shop

MARK = "FEDREC_TEST_ID"
RAYS_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""They write their title over the start of their environment, now and then over the launcher's mark
as well; it then misses them after a SIGKILL. They notice the end of Ray and go within a minute."""
PROGRAM = str(Path(sys.executable).parent / "fedrec")
TIMEOUT_S = 240


class Program:
    """Starts `fedrec` with a mark in its environment that all its descendants inherit."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, on: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """on: words before the command, such as those that run it on another machine."""
        with (self.folder / f"output-{len(self.started)}.txt").open("wb") as output:
            process = subprocess.Popen(
                [*on, PROGRAM, *arguments],
                cwd=self.folder,
                env={**os.environ, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        name = f"output-{self.started.index(process)}.txt"
        return (self.folder / name).read_text(errors="replace")

    def finish(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for a program that must end well; what it printed."""
        code = process.wait(TIMEOUT_S)
        assert code == 0, self.output(process)
        return self.output(process)

    def run(self, *arguments: str) -> str:
        return self.finish(self.start(*arguments))

    def left(self) -> list[str]:
        """Command lines of the living processes that carry the mark, without Ray's agents."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [line for line in found if not line.startswith(RAYS_AGENTS)]

    def wait_until_gone(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.left() == []

    def stop(self) -> None:
        """End what a failed test has left: by its ids, the launchers first, then their kin."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program; when the module's tests are over, nothing of it may be left."""
    made = Program(tmp_path_factory.mktemp("program"))
    yield made
    made.stop()
    made.wait_until_gone(15)


@pytest.fixture(scope="module")
def configured(program: Program) -> Callable[..., str]:
    """A configuration file in the program's folder, for two nodes on a shop of 40 users."""
    data = write_shop(program.folder / "shop", users=40, items=30)

    def write(changes: dict[str, Any]) -> str:
        paths = {"run.data": str(data), "run.out": "runs/unnamed"}
        flat = {**SMALL, **paths, "federation.nodes": 2, "run.baselines": True, **changes}
        (program.folder / "small.toml").write_text(to_toml(from_flat(flat)))
        return "small.toml"

    return write


class Run:
    """A run's folder, read back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def json(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.path / name).read_text()))

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of `metrics.jsonl`, of which the last may be in the making."""
        try:
            text = (self.path / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def rounds(self) -> list[tuple[str, int]]:
        return [(line["stage"], line["round"]) for line in self.lines()]

    def checkpoint(self, stage: str) -> Checkpoint:
        return load_checkpoint(self.path / "checkpoints" / f"{stage}.safetensors")


@pytest.fixture(scope="module")
def run_at(program: Program) -> Callable[[str], Run]:
    """A run's folder by its name below the program's folder."""
    return lambda name: Run(program.folder / name)
