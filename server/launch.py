"""Runs a federation to its end on this machine, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fedrec.deployment.folders import NODES
from fedrec.processes import Processes, flower_environment, process_scope
from fedrec.report import Live, MetricsFile, RoundLog
from server.launch_folder import METRICS, STATUS
from server.launch_status import StatusFile
from server.launch_superlink import Door, NotStarted, SuperLink, start_superlink

if TYPE_CHECKING:
    from server.launch_control import Control, Simulation
    from server.launch_watch import Outcome


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One run to launch.

    write_app: writes the Flower app into the folder that it is given. out: the run's folder; log:
    its open Flower log. simulated_nodes: how many nodes to simulate, None = real clients come in
    by the door. threads: per process, 0 = cores by workers.
    """

    write_app: Callable[[Path], Path]
    out: Path
    log: IO[bytes]
    simulated_nodes: int | None
    door: Door | None = None
    threads: int = 0


def launch(request: Launch, live: Live | RoundLog) -> Outcome:
    """Start a SuperLink, submit the run and follow it; everything has stopped on return.

    A SuperLink that does not take the run counts as killed. Raises FedrecError where something is
    wrong that stays so: a program or a list of nodes.
    """
    status = StatusFile(request.out / STATUS)
    metrics = MetricsFile(request.out / METRICS)
    with ExitStack() as at_last, process_scope() as processes, live:
        superlink = _superlink(request, processes)
        app = request.write_app(processes.folder / "app")
        return _submit_and_follow(request, superlink, app, metrics, status, live, at_last)


def _superlink(request: Launch, processes: Processes) -> SuperLink:
    return start_superlink(
        processes,
        door=request.door,
        environment=_environment(request, processes.folder),
        log=request.log,
    )


def _submit_and_follow(
    request: Launch,
    superlink: SuperLink,
    app: Path,
    metrics: MetricsFile,
    status: StatusFile,
    live: Live | RoundLog,
    at_last: ExitStack,
) -> Outcome:
    """at_last: is left when the SuperLink has ended, and with it the stream of its log."""
    # Flower's modules take half a second to import, which the SuperLink needs to start anyway.
    from server.launch_control import Control
    from server.launch_watch import LogCopy, Outcome, follow

    control = at_last.enter_context(closing(Control(superlink.address)))
    try:
        superlink.wait_until_ready()
        refresh = _known_nodes(request.door, control)
        run_id = control.submit(app, _simulation(request.simulated_nodes))
    except NotStarted as error:
        return Outcome(error=str(error), killed=True)
    copy = LogCopy(control, run_id, request.log)
    at_last.callback(copy.wait)
    return follow(
        run_id,
        control=control,
        superlink=superlink,
        metrics=metrics,
        status=status,
        copy=copy,
        show=live.show,
        refresh=refresh,
    )


def _known_nodes(door: Door | None, control: Control) -> Callable[[], None]:
    """Register the deployment's nodes; returns what keeps them those of its list."""
    from server.launch_nodes import NodeList

    if door is None or door.folder is None:
        return lambda: None
    return NodeList(control, door.folder.path / NODES).refresh


def _simulation(nodes: int | None) -> Simulation | None:
    from server.launch_control import Simulation

    return None if nodes is None else Simulation(nodes=nodes, workers=workers(nodes))


def _environment(request: Launch, folder: Path) -> Mapping[str, str]:
    count = 1 if request.simulated_nodes is None else workers(request.simulated_nodes)
    return flower_environment(folder, threads=request.threads or max(1, cores() // count))


def workers(nodes: int) -> int:
    """Processes that serve the simulated nodes: one a core, no more than nodes."""
    return min(nodes, cores())


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
