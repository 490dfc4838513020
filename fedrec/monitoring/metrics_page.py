"""A page of a run's metrics over HTTP, for Prometheus to read.

The launcher serves it out of the run's folder. So it outlives a server app that ends or is started
again, the app needs no port of its own, and no question that it gets can hold a round up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from fedrec.errors import ConfigError, FedrecError
from fedrec.monitoring.families import run_families
from fedrec.monitoring.run_state import read_state
from fedrec.monitoring.totals import RunTotals


class RunCollector(Collector):
    """Reads a run's folder whenever somebody asks; what it has read before it keeps as sums."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._totals = RunTotals(out / "metrics.jsonl")
        self._one_at_a_time = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        with self._one_at_a_time:
            self._totals.refresh()
            state = read_state(self._out / "status.json")
            families = list(run_families(self._out, state, self._totals.stages))
        yield from families


@contextmanager
def metrics_page(out: Path, address: str) -> Iterator[int]:
    """Serve the metrics of the run in `out` at http://`address`/metrics, HOST:PORT; the port.

    No TLS, no password: whoever reaches the address can read it. Port 0 is any free one. Raises
    ConfigError for what is no address, FedrecError where nobody can listen there.
    """
    host, port = split_address(address)
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(RunCollector(out))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise FedrecError(
            f"--metrics {address}: cannot listen there: {error.strerror or error}"
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT as its parts."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise ConfigError(f"--metrics {address}: must be HOST:PORT, such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)
