"""Runs a SuperNode on this machine until its server is gone, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import typer

from fedrec.config.loading import format_scalar
from fedrec.errors import ConfigError, FedrecError
from fedrec.processes import (
    Processes,
    flower_environment,
    is_healthy,
    is_loopback,
    last_lines,
    process_scope,
)

WAIT_S = 60.0
"""How long a client waits for its server to appear."""
GONE_S = 10.0
"""How long a server must be out of reach to count as gone for good."""
GRACE_S = 3.0
"""How long the SuperNode may take to sign off at the server."""
POLL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Client:
    """data: a prepared folder. server: host:port. partition: `I/N`, None = all users of it."""

    data: Path
    server: str
    partition: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        _require_loopback(self.server)
        self.node_config()

    def node_config(self) -> str:
        """What the client app finds in its node-config: data, device, partition-id and
        num-partitions. Raises ConfigError for values it cannot hold."""
        settings = [
            f"data={_quoted(str(self.data.expanduser().absolute()))}",
            f"device={_quoted(self.device)}",
        ]
        if self.partition is not None:
            index, count = parse_partition(self.partition)
            settings += [f"partition-id={index}", f"num-partitions={count}"]
        return " ".join(settings)


def run_client(client: Client, log_path: Path | None = None) -> None:
    """Join the server and serve it until it has been gone for GONE_S seconds.

    Raises FedrecError when the data cannot be read, the server does not appear within WAIT_S, or
    the SuperNode ends by itself.
    """
    _check_data(client.data)
    with process_scope(GRACE_S) as processes:
        path = log_path or processes.folder / "flower.log"
        wait_for_server(client.server, WAIT_S)
        with path.open("ab") as log:
            node = _start_supernode(client, processes, log)
            typer.echo(f"joined {client.server} with the users of {client.data}; Ctrl-C leaves")
            code = _serve(client.server, node)
        if code is not None:
            _echo_end(path)
            raise FedrecError(f"the SuperNode ended with code {code}")
    typer.echo(f"{client.server} has ended or is out of reach: leaving")


def parse_partition(text: str) -> tuple[int, int]:
    """`I/N` as two numbers; raises ConfigError unless 0 <= I < N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(f"--partition {text}: must be I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def wait_for_server(address: str, timeout_s: float) -> None:
    """Raise FedrecError unless the server answers within the time."""
    deadline = time.monotonic() + timeout_s
    while not is_healthy(address):
        if time.monotonic() > deadline:
            raise FedrecError(f"no server at {address} within {timeout_s:.0f} s")
        time.sleep(0.2)


def _start_supernode(
    client: Client, processes: Processes, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "client.supernode", "--insecure"]
    command += ["--superlink", client.server, "--node-config", client.node_config()]
    return processes.start(command, environment=flower_environment(processes.folder), log=log)


def _serve(address: str, node: subprocess.Popen[bytes]) -> int | None:
    """Wait for the server's end: None. Or the SuperNode's, which should not end first: its code."""
    seen = time.monotonic()
    while time.monotonic() - seen < GONE_S:
        healthy = is_healthy(address, timeout_s=GONE_S)
        if healthy:
            seen = time.monotonic()
        if (code := node.poll()) is not None:
            return code if healthy else None
        time.sleep(POLL_S)
    return None


def _check_data(data: Path) -> None:
    from fedrec.data import PreparedData

    PreparedData.load(data)


def _quoted(text: str) -> str:
    """A TOML string that Flower's node-config parser, which knows no escaped quotes, can find."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return format_scalar(text)
    raise ConfigError(f"{text}: must not contain both kinds of quotation marks")


def _require_loopback(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not is_loopback(host) or not port.isdigit():
        raise ConfigError(
            f"--server {address}: must be HOST:PORT, HOST localhost or such as 127.0.0.1; "
            f"connections are not encrypted, so the server must be on this machine"
        )


def _echo_end(log: Path) -> None:
    for line in last_lines(log):
        typer.echo(f"  {line}", err=True)
