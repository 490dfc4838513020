"""A federation of programs, watched while it runs, and what a killed one must end in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WAIT_S = 200.0


class Federation:
    """A server and its clients. run: the folder that it writes. client: starts one, by number."""

    def __init__(
        self, program: Any, run: Any, server: Any, client: Callable[[int], Any], nodes: int
    ) -> None:
        self.program, self.run, self.server, self.client = program, run, server, client
        self.clients = [client(index) for index in range(nodes)]

    def wait_for_round(self, number: int) -> None:
        """Until the run's folder tells of that round."""
        self.wait_for_line(lambda line: bool(line["round"] >= number))

    def wait_for_line(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first round of which `wanted` is true, when it has ended."""
        deadline = time.monotonic() + WAIT_S
        while not (found := [line for line in self.run.lines() if wanted(line)]):
            assert self.server.poll() is None, self.program.output(self.server)
            assert time.monotonic() < deadline, self.program.output(self.server)
            time.sleep(0.1)
        return dict(found[0])

    def supernode(self, index: int) -> int:
        """The process that trains for a client."""
        return descendants(self.clients[index].pid, "client.supernode")[0]

    def superlink(self) -> int:
        """The process that the server's nodes talk to."""
        return descendants(self.server.pid, "gated_superlink")[0]

    def end(self) -> str:
        """Wait for the run's end; what the server printed."""
        said = str(self.program.finish(self.server))
        for client in self.clients:
            if client.poll() is None:
                client.terminate()
                client.wait(60)
        return said

    def warnings(self) -> str:
        return " ".join(text for line in self.run.lines() for text in line["warnings"])


def descendants(pid: int, word: str) -> list[int]:
    """Ids of the processes below one that have a word in their command line, oldest first."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        parents[int(folder.name)] = parent
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    found = []
    for one in sorted(below - {pid}):
        try:
            if word in (Path("/proc") / str(one) / "cmdline").read_text().replace("\0", " "):
                found.append(one)
        except OSError:
            continue
    return found


def assert_same_end(ours: Federation, theirs: Federation) -> None:
    found, expected = (one.run.json("results.json")["stages"] for one in (ours, theirs))
    for key in ("rounds", "best_round", "validation", "test"):
        assert found["backbone"][key] == expected["backbone"][key]
    arrays = ours.run.checkpoint("backbone").arrays
    for name, value in theirs.run.checkpoint("backbone").arrays.items():
        np.testing.assert_array_equal(arrays[name], value)
