"""Flower's SuperLink as a child process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from fedrec.errors import FedrecError
from fedrec.processes import Processes, flower_program, is_healthy

START_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class SuperLink:
    """address: host:port of all its APIs."""

    address: str
    process: subprocess.Popen[bytes]

    def wait_until_ready(self) -> None:
        """Raise FedrecError when it ends or does not answer within START_TIMEOUT_S."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_healthy(self.address):
            if self.process.poll() is not None:
                raise FedrecError(f"the SuperLink ended with code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise FedrecError(f"the SuperLink did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.05)


def start_superlink(
    processes: Processes,
    *,
    host: str,
    port: int,
    simulation: bool,
    environment: Mapping[str, str],
    log: IO[bytes],
) -> SuperLink:
    """Start a SuperLink without TLS, its state in memory. Returns before it is ready."""
    command = [flower_program("flower-superlink"), "--insecure", "--isolation", "subprocess"]
    command += ["--host", host, "--port", str(port)]
    if simulation:
        command.append("--simulation")
    process = processes.start(command, environment=environment, log=log)
    return SuperLink(address=f"{host}:{port}", process=process)
