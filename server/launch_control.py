"""The few calls of Flower's Control API that a launcher needs.

The same calls that `flwr run`, `flwr log` and `flwr ls` make, without starting those programs (two
seconds each) and with the answers as values. This is the one file that knows that API.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.cli.build import build_fab_from_disk
from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StreamLogsRequest,
)
from flwr.proto.federation_config_pb2 import SimulationConfig
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab

from server.launch_superlink import NotStarted


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """nodes: simulated SuperNodes. workers: processes that serve them, one CPU each."""

    nodes: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How Flower says that a run stands; details: why it failed, else empty."""

    finished: bool
    completed: bool
    details: str


class Control:
    """A SuperLink's Control API at `address` (host:port, on this machine, without TLS)."""

    def __init__(self, address: str) -> None:
        _bypass_proxies()
        self._client = ControlHttpClient.from_server_address(
            address,
            insecure=True,
            root_certificates=None,
            interceptors=[CliClientHttpInterceptor()],
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def submit(self, app: Path, simulation: Simulation | None) -> int:
        """Bundle the app folder and start it; returns the run's id. Raises NotStarted."""
        content = build_fab_from_disk(app)
        fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
        request = StartRunRequest(
            fab=fab_to_proto(fab), override_federation_config=_federation(simulation)
        )
        try:
            reply = self._client.StartRun(request)
        except httpx.HTTPError as error:
            raise NotStarted(f"the SuperLink refused the run: {error}") from error
        if not reply.HasField("run_id"):
            raise NotStarted(f"the SuperLink refused the run: {reply.note or 'no reason given'}")
        return int(reply.run_id)

    def node_keys(self) -> set[bytes]:
        """The public keys of the registered nodes, as PEM. Raises NotStarted."""
        try:
            nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
        except httpx.HTTPError as error:
            raise NotStarted(f"the SuperLink does not list its nodes: {error}") from error
        return {bytes(node.public_key) for node in nodes}

    def register_node(self, name: str, public_key: bytes) -> None:
        """Let the node with this public key (PEM) join. Raises NotStarted."""
        try:
            self._client.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name))
        except httpx.HTTPError as error:
            raise NotStarted(f"the SuperLink refused the key of {name}: {error}") from error

    def logs(self, run_id: int) -> Iterator[str]:
        """What the apps print and log, until the run has ended or the SuperLink is gone.

        Where one that many nodes ask at once takes too long, it is asked again for the rest.
        """
        after = 0.0
        while True:
            request = StreamLogsRequest(run_id=run_id, after_timestamp=after)
            try:
                for reply in self._client.StreamLogs(request):
                    after = max(after, reply.latest_timestamp)
                    yield reply.log_output
                return
            except httpx.TimeoutException:
                continue
            except httpx.HTTPError:
                return

    def state(self, run_id: int) -> RunState:
        """Raises httpx.HTTPError when the SuperLink does not answer."""
        runs = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict
        status = runs[run_id].status
        return RunState(
            finished=status.status == "finished",
            completed=status.sub_status == "completed",
            details=status.details,
        )


def _federation(simulation: Simulation | None) -> SimulationConfig | None:
    if simulation is None:
        return None
    return SimulationConfig(
        num_supernodes=simulation.nodes,
        backend="ray",
        client_resources_num_cpus=1,
        client_resources_num_gpus=0.0,
        init_args_num_cpus=simulation.workers,
    )


def _bypass_proxies() -> None:
    """Keep a proxy that the user's environment names from being asked for this machine."""
    for key in ("NO_PROXY", "no_proxy"):
        os.environ[key] = ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get(key)]))
