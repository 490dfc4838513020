"""Runs a SuperNode on this machine until its server is gone, and leaves nothing behind."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from client.greeting import Apart, Unreachable, greet
from fedrec.config.loading import format_scalar
from fedrec.deployment import NodeFolder
from fedrec.errors import ConfigError
from fedrec.monitoring.logs import announce
from fedrec.processes import (
    Processes,
    flower_environment,
    last_lines,
    process_scope,
)
from fedrec.processes.addresses import split_address

WAIT_S = 60.0
"""How long a client waits for its server to appear."""
GONE_S = 10.0
"""How long a server must be out of reach to count as gone for good."""
GREET_S = 5.0
"""How long an answer may take, but so that more than one is asked for while a client is patient."""
GRACE_S = 3.0
"""How long the SuperNode may take to sign off at the server."""
POLL_S = 1.0
REJOIN_S = 60.0
"""A SuperNode that ends so soon after its server was out of reach is started again."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """data: a prepared folder. server: host:port. folder: the node's key and the server's CA; None
    = without TLS. partition: `I/N`, None = all users of it. patience_s: how long the server must be
    out of reach to count as gone for good."""

    data: Path
    server: str
    folder: NodeFolder | None = None
    partition: str | None = None
    device: str = "cpu"
    patience_s: float = GONE_S

    def __post_init__(self) -> None:
        split_address(self.server)
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
    """Join the server and serve it until it has been gone for as long as the client is patient.

    Raises DataError when the data cannot be read, Apart when the server does not appear within
    WAIT_S or does not let this node in, or the SuperNode ends by itself.
    """
    _check_data(client.data)
    with process_scope(GRACE_S) as processes:
        path = log_path or processes.folder / "flower.log"
        wait_for_server(client, WAIT_S)
        with path.open("ab") as log:
            start = partial(_start_supernode, client, processes, log)
            node = start()
            announce(f"joined {client.server} with the users of {client.data}; Ctrl-C leaves")
            code = _serve(client, node, start)
        if code is not None:
            _echo_end(path)
            raise Apart(f"the SuperNode ended with code {code}")
    announce(f"{client.server} has ended or is out of reach: leaving")


def parse_partition(text: str) -> tuple[int, int]:
    """`I/N` as two numbers; raises ConfigError unless 0 <= I < N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(f"--partition {text}: must be I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def wait_for_server(client: Client, timeout_s: float) -> None:
    """Raise Apart unless the server answers within the time and lets this node in."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            greet(client.server, client.folder)
            return
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"no server at {client.server} within {timeout_s:.0f} s ({error})"
                ) from error
        time.sleep(0.2)


def _start_supernode(
    client: Client, processes: Processes, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "client.supernode", *_credentials(client.folder)]
    command += ["--superlink", client.server, "--node-config", client.node_config()]
    environment = flower_environment(processes.folder)
    for key in ("NO_PROXY", "no_proxy"):  # the server was asked without a proxy, too
        environment[key] += "," + split_address(client.server)[0]
    return processes.start(command, environment=environment, log=log)


def _credentials(folder: NodeFolder | None) -> list[str]:
    if folder is None:
        return ["--insecure"]
    options = {"--root-certificates": folder.ca, "--auth-supernode-private-key": folder.key}
    return [word for option, path in options.items() for word in (option, str(path))]


def _serve(
    client: Client, node: subprocess.Popen[bytes], start: Callable[[], subprocess.Popen[bytes]]
) -> int | None:
    """Wait for the server's end: None. Or the SuperNode's, which should not end first: its code.

    A node without a key joins anew, through `start`, when its server was out of reach: if that was
    begun anew it does not know the node, and never says so. One with a key is refused until the
    server has registered the list of nodes, and ends: within REJOIN_S it joins anew, too. Raises
    Rejected when the server does not let this node in any more.
    """
    seen, missed, healthy = time.monotonic(), -math.inf, True
    while time.monotonic() - seen < client.patience_s:
        was_away, healthy = not healthy, _answers(client)
        if not healthy:
            missed = time.monotonic()
        else:
            seen = time.monotonic()
            if was_away and client.folder is None:
                node.kill()
                node.wait()
                node = start()
        if (code := node.poll()) is not None:
            if not healthy:
                return None
            if time.monotonic() - missed > REJOIN_S:
                return code
            node = start()
        time.sleep(POLL_S)
    return None


def _answers(client: Client) -> bool:
    try:
        greet(client.server, client.folder, timeout_s=min(GREET_S, client.patience_s / 3))
    except Unreachable:
        return False
    return True


def _check_data(data: Path) -> None:
    from fedrec.data import PreparedData

    PreparedData.load(data, verify=True)


def _quoted(text: str) -> str:
    """A TOML string that Flower's node-config parser, which knows no escaped quotes, can find."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return format_scalar(text)
    raise ConfigError(f"{text}: must not contain both kinds of quotation marks")


def _echo_end(log: Path) -> None:
    for line in last_lines(log):
        announce(f"  {line}", logging.ERROR)
