"""Flower's SuperLink as a child process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fedrec.deployment import ServerFolder
from fedrec.deployment.folders import NODES
from fedrec.errors import FedrecError
from fedrec.processes import Processes, flower_program, free_port, is_healthy

START_TIMEOUT_S = 60.0
LOOPBACK = "127.0.0.1"


class NotStarted(FedrecError):
    """A SuperLink did not come up, or did not take a run: another try may go well."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where clients come in.

    host, port: to listen on. folder: certificate and allowed nodes; None = no TLS, and anybody is a
    node. database: where Flower keeps its state; None = in memory.
    """

    host: str
    port: int
    folder: ServerFolder | None = None
    database: Path | None = None


@dataclass(frozen=True, kw_only=True)
class SuperLink:
    """address: host:port of all its APIs, which this machine alone can reach."""

    address: str
    process: subprocess.Popen[bytes]

    def wait_until_ready(self) -> None:
        """Raise NotStarted when it ends or does not answer within START_TIMEOUT_S."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_healthy(self.address):
            if self.process.poll() is not None:
                raise NotStarted(f"the SuperLink ended with code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise NotStarted(f"the SuperLink did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.05)


def start_superlink(
    processes: Processes, *, door: Door | None, environment: Mapping[str, str], log: IO[bytes]
) -> SuperLink:
    """Start a SuperLink, for a simulation where there is no door. Returns before it is ready."""
    port = free_port()
    inner = ["--isolation", "subprocess", "--host", LOOPBACK, "--port", str(port)]
    if door is None:
        command = [flower_program("flower-superlink"), *inner, "--insecure", "--simulation"]
    else:
        command = [sys.executable, "-P", "-m", "server.gated_superlink", *_options(door), *inner]
    process = processes.start(command, environment=environment, log=log)
    return SuperLink(address=f"{LOOPBACK}:{port}", process=process)


def _options(door: Door) -> list[str]:
    words = ["--listen-host", door.host, "--listen-port", str(door.port)]
    if door.database is not None:
        words += ["--database", str(door.database)]
    if (folder := door.folder) is None:
        return [*words, "--insecure"]
    words += ["--ssl-certfile", str(folder.certificate), "--ssl-keyfile", str(folder.key)]
    words += ["--ssl-ca-certfile", str(folder.ca), "--enable-supernode-auth"]
    return [*words, "--nodes", str(folder.path / NODES)]
